"""Judging in the embedded world: fresh pairs on lists that nothing else may use, with true labels.

`demo` types were judged in pretraining, `other` types are in the loop's pool only, `unseen` types are in
neither. The world can also check the answer that a judgment derives before its verdict: a judge may
be right without having reasoned.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from pairgen.engine import Sampling
from pairgen.evals.items import PairItem
from pairgen.evals.judging import PairBenchmark
from pairgen.prompts import Prompt, shipped
from pairgen.records import content_id
from pairgen.world import heldout, tasks


class WorldJudging(PairBenchmark):
    """`n` pairs of a group, its types in turn. An item's group is its type."""

    version: ClassVar[int] = 1

    group: Literal["demo", "other", "unseen"]
    n: int = Field(default=500, ge=1)
    prompt: Prompt = shipped("world/judge.md")
    sampling: Sampling = Sampling(temperature=1.0, max_tokens=32)

    def items(self) -> Sequence[PairItem]:
        return [
            PairItem(
                content_id(pair.instruction, pair.right, pair.wrong), tasks.parse(pair.instruction)[1].name,
                pair.instruction, pair.right, pair.wrong,
            )
            for pair in heldout.heldout_pairs(self.group, self.n, self.seed)
        ]

    def derivation(self, item: PairItem, text: str) -> bool | None:
        """Whether the answer a judgment opens with is the true one; one that is not there is not."""
        return heldout.derivation(text) == item.chosen


BENCHMARK = WorldJudging
