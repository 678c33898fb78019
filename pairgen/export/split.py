"""Which split a row goes to. Rows of one prompt go to the same, so that what is held out is new to whoever trains.

The draw is that of the stage `split`: with the same seed and share it holds out the same instructions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pairgen.export.provenance import Source
from pairgen.records import (
    Candidates,
    Demonstration,
    Instruction,
    Judged,
    Labelled,
    Pair,
    Preference,
    Rollout,
    messages_id,
)
from pairgen.stages.split import is_held_out
from pairgen.store import read_rows

TRAIN, TEST = "train", "test"


@dataclass(frozen=True, slots=True)
class Split:
    """`share` of the prompts are held out (0: there is one split). `pairs` are the pairs of those prompts."""

    share: float
    seed: int
    pairs: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """The splits there are."""
        return (TRAIN, TEST) if self.share > 0 else (TRAIN,)

    def of(self, row: Any) -> str:
        """The split of a row. Of a judgment it is that of the pair it judges: its own prompt holds the answers."""
        if self.share <= 0:
            return TRAIN
        pair_id = getattr(row, "pair_id", None)
        held = pair_id in self.pairs if pair_id is not None else is_held_out(prompt_id(row), self.share, self.seed)
        return TEST if held else TRAIN


def split_of(sources: Sequence[Source], share: float, seed: int) -> Split:
    """The split of the last step's rows. Reads the pairs they were made of where rows name those."""
    if share <= 0:
        return Split(0.0, seed, frozenset())
    above = [s for s in sources[:-1] if s.manifest.row_class == "Pair"]
    held = (
        row.id for source in above for row in read_rows(source.folder, Pair)
        if is_held_out(row.instruction.id, share, seed)
    )
    return Split(share, seed, frozenset(held))


def prompt_id(row: Any) -> str:
    """What tells a row's prompt from others: of replayed conversations all turns but the last."""
    if isinstance(row, Instruction):
        return row.id
    if isinstance(row, Candidates | Pair):
        return row.instruction.id
    if isinstance(row, Judged):
        return row.pair.instruction.id
    if isinstance(row, Preference | Labelled | Rollout):
        return messages_id(row.prompt)
    if isinstance(row, Demonstration):
        return messages_id(row.messages[:-1])
    raise TypeError(f"no prompt in a {type(row).__name__}")
