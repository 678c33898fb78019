"""Demonstrations from kept judgments: the judge prompt, then the judgment, as chat messages.

The prompt may differ from the one the judgments were sampled with: a long plan-style prompt can be
distilled into a short one.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from pairgen.prompts import Prompt, shipped
from pairgen.records import Demonstration, Drop, Judged, Judgment, Message, content_id
from pairgen.stage import RowStage
from pairgen.stages.judge import JUDGE_HOLES, judge_messages


class ExportSft(RowStage):
    """One demonstration per kept judgment, and verdict-only twins for a share of the pairs.

    A twin asks the `verdict_prompt` and answers with the bare verdict: it concentrates the loss on
    the tokens that decide (SFR-Judge trains on 15 % of them).
    """

    reads: ClassVar[type] = Judged
    writes: ClassVar[type] = Demonstration
    fills: ClassVar[frozenset[str]] = JUDGE_HOLES
    parts: ClassVar[frozenset[str]] = frozenset({"verdict"})
    version: ClassVar[int] = 2

    prompt: Prompt = shipped("judge.md")
    verdict_only: float = Field(default=0.0, ge=0, le=1)
    verdict_prompt: Prompt = shipped("judge_verdict_only.md")

    def run(self, rows: Iterator[Judged]) -> Iterator[Demonstration | Drop]:
        for row in rows:
            kept = [j for j in row.judgments if j.kept]
            if not kept:
                yield Drop(row.id, self.id, "nothing_kept", failed=False)
            for judgment in kept:
                yield self._demonstration(row, judgment, "judgment", judgment.text)
                if is_twin(self.seed, row.id, self.verdict_only):
                    yield self._demonstration(row, judgment, "verdict-only", f"[[{judgment.verdict}]]")

    def _demonstration(self, row: Judged, judgment: Judgment, kind: str, reply: str) -> Demonstration:
        prompt = self.verdict_prompt if kind == "verdict-only" else self.prompt
        messages = (*judge_messages(prompt, row.pair, judgment.order), Message("assistant", reply))
        return Demonstration(
            content_id(row.id, judgment.order, kind, reply), messages, kind, row.pair.id, judgment.order
        )


def is_twin(seed: int, row_id: str, share: float) -> bool:
    """Whether a seeded draw gives a pair's judgments verdict-only twins: in both orders or in neither."""
    return int(content_id(str(seed), "twin", row_id), 16) < share * 16**16


STAGE = ExportSft
