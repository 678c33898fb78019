"""One part of a split by instruction: all pairs of an instruction are on the same side."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pairgen.records import Drop, Pair, content_id
from pairgen.stage import RowStage


class Split(RowStage):
    """Keep the `train` or the `heldout` part; `share` of the instructions are held out.

    The side depends on the instruction's content and the seed alone, so adding rows moves none, and
    fresh pairs of a later iteration never train on an instruction that was held out before.
    """

    reads: ClassVar[type] = Pair
    writes: ClassVar[type] = Pair
    settled: ClassVar[bool] = True

    part: Literal["train", "heldout"]
    share: float = Field(default=0.1, gt=0, lt=1)

    def run(self, rows: Iterator[Pair]) -> Iterator[Pair | Drop]:
        for row in rows:
            if is_held_out(row.instruction.id, self.share, self.seed) == (self.part == "heldout"):
                yield row
            else:
                yield Drop(row.id, self.id, "other_part", failed=False)


def is_held_out(instruction_id: str, share: float, seed: int) -> bool:
    """Whether an instruction is among the `share` that is held out, by its content and the seed alone."""
    return int(content_id(str(seed), "split", instruction_id), 16) < share * 16**16


STAGE = Split
