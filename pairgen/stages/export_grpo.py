"""Prompts with a verifiable answer for online RL (J1): both orders of a pair stand side by side."""

from collections.abc import Iterator
from typing import ClassVar

from pairgen.prompts import Prompt, shipped
from pairgen.records import ORDERS, Drop, Judged, Rollout, content_id, gold_label
from pairgen.stage import RowStage
from pairgen.stages.judge import JUDGE_HOLES, judge_messages


class ExportGrpo(RowStage):
    """Two rows per pair: the judge prompt in each order and the label that earns the reward."""

    reads: ClassVar[type] = Judged
    writes: ClassVar[type] = Rollout
    fills: ClassVar[frozenset[str]] = JUDGE_HOLES
    parts: ClassVar[frozenset[str]] = frozenset({"verdict"})

    prompt: Prompt = shipped("judge.md")

    def run(self, rows: Iterator[Judged]) -> Iterator[Rollout | Drop]:
        for row in rows:
            for order in ORDERS:
                messages = judge_messages(self.prompt, row.pair, order)
                yield Rollout(content_id(row.id, order), messages, gold_label(order), row.pair.id, order)


STAGE = ExportGrpo
