"""What is trained on: a prompt and the branches that may follow it, as token ids.

An example has four sides in a fixed order, each there or not: chosen, rejected, a stranger (a completion
of another prompt, for objectives that estimate the KL) and a gold answer. A demonstration or a desirable
completion has a chosen side only, an undesirable completion a rejected one only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pairgen.errors import UsageError
from pairgen.records import Demonstration, Labelled, Preference
from pairgen.train.render import Ids

Mask = NDArray[np.bool_]
TrainRow = Demonstration | Preference | Labelled

CHOSEN, REJECTED, STRANGER, GOLD = range(4)
"""Places of the sides of an example."""
SIDES = (CHOSEN, REJECTED, STRANGER, GOLD)


@dataclass(frozen=True, slots=True)
class Branch:
    """What follows a prompt: token ids, and which of them are targets. The first one always is."""

    ids: Ids
    targets: Mask

    def first(self, tokens: int) -> "Branch":
        """Its first tokens."""
        return self if len(self.ids) <= tokens else Branch(self.ids[:tokens], self.targets[:tokens])


Sides = tuple[Branch | None, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A row ready to train on. `sides` are at CHOSEN, REJECTED, STRANGER, GOLD; `scores` those of the
    chosen side, the rejected side and the policy's own answer."""

    id: str
    weight: float
    prompt: Ids
    sides: Sides
    scores: tuple[float | None, float | None, float | None] = (None, None, None)

    @property
    def chosen(self) -> Branch | None:
        """The chosen, demonstrated or desirable completion."""
        return self.sides[CHOSEN]

    @property
    def rejected(self) -> Branch | None:
        """The rejected or undesirable completion."""
        return self.sides[REJECTED]


def with_strangers(examples: list[Example], total: int, term: str) -> list[Example]:
    """Give each example a completion of the next example (the first after the last) with another prompt.

    An example at an even place lends its chosen side first, one at an odd place its rejected, so that
    strangers are good and bad answers alike. One that makes more than `total` tokens here is cut at its
    end. Raises UsageError naming `term` when there is no other prompt.
    """
    keys = [example.prompt.tobytes() for example in examples]
    if len(set(keys)) == 1:
        raise UsageError(f"{term} compares completions with those of other prompts, but all rows have one prompt")
    lender = [0] * len(examples)
    for i in reversed(range(-len(examples), len(examples))):  # twice, so that the last rows see the first
        after = (i + 1) % len(examples)
        lender[i] = after if keys[after] != keys[i] else lender[after]
    lent = [e.rejected if i % 2 and e.rejected else e.chosen or e.rejected for i, e in enumerate(examples)]
    return [_with_stranger(e, lent[lender[i]], total) for i, e in enumerate(examples)]


def _with_stranger(example: Example, stranger: Branch | None, total: int) -> Example:
    assert stranger is not None
    stranger = stranger.first(total - len(example.prompt))
    return replace(example, sides=(*example.sides[:STRANGER], stranger, *example.sides[STRANGER + 1 :]))


def digest(examples: Sequence[Example]) -> str:
    """Of every token, target, side, score and weight, in order."""
    hasher = sha256()
    for example in examples:
        hasher.update(repr((example.weight, example.scores)).encode())
        for branch in example.sides:
            arrays = (branch.ids, np.packbits(branch.targets)) if branch else ()
            hasher.update(bytes([len(arrays)]))
            for array in arrays:
                hasher.update(len(array).to_bytes(8, "little") + array.tobytes())
        hasher.update(len(example.prompt).to_bytes(8, "little") + example.prompt.tobytes())
    return hasher.hexdigest()
