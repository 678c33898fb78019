"""The processes of one training. Alone by default; under torchrun each computes its share of a step.

Every rank plans the same micro-batches and takes every `size`-th one; what they found is gathered, so
that each rank knows the whole step and objectives that mix rows are exact across ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> list[T]:
        """This rank's share of a list that all ranks hold."""
        return list(items[self.rank :: self.size])

    def gathered(self, items: list[T]) -> list[T]:
        """The shares of all ranks, rank by rank."""
        if self.size == 1:
            return items
        import torch.distributed as dist

        shares: list[Any] = [None] * self.size
        dist.all_gather_object(shares, items)
        return [item for share in shares for item in share]


ALONE = Ranks()
