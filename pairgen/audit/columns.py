"""A chunk of pairs, column by column: what every measure of the audit gets.

A measure is a pure function of a chunk: it returns named arrays with one number per row (flags are 0 or 1,
nan where there is no value). It runs in worker processes, so it holds no state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Measured = dict[str, NDArray[np.generic]]
"""Columns of one chunk by name, `[N]` each. float64, or uint64 for hashes."""


@dataclass(frozen=True, slots=True)
class Columns:
    """`N` pairs as parallel lists. `rows` are 1-based row numbers in the source, as a user counts them.

    A multi-turn prompt is one text, its turns joined as a reader would see them. `groups` is the row's own
    source, category or subset, empty where there is none. Scores are nan where a row has none.
    """

    rows: NDArray[np.int64]
    prompts: list[str]
    chosen: list[str]
    rejected: list[str]
    groups: list[str]
    chosen_scores: Numbers
    rejected_scores: Numbers

    def __len__(self) -> int:
        return len(self.chosen)


Measure = Callable[[Columns], Measured]


class Named(Protocol):
    """What summaries read: the columns of all rows, one at a time. `row` is the row number in the source."""

    def column(self, name: str) -> NDArray[np.generic]: ...

    def __len__(self) -> int: ...
