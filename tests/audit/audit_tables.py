"""Chunks and tables made from plain pairs, for tests of measures."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns, Measure, Measured


def columns(pairs: Sequence[tuple[str, str, str]]) -> Columns:
    """A chunk of (prompt, chosen, rejected)."""
    n = len(pairs)
    nothing = np.full(n, np.nan)
    return Columns(
        rows=np.arange(1, n + 1), prompts=[p for p, _, _ in pairs], chosen=[c for _, c, _ in pairs],
        rejected=[r for _, _, r in pairs], groups=[""] * n, chosen_scores=nothing, rejected_scores=nothing,
    )


class Kept:
    """The least that a table is: named columns of one length."""

    def __init__(self, named: dict[str, NDArray[np.generic]]) -> None:
        self.named = named

    def __len__(self) -> int:
        return len(next(iter(self.named.values()), ()))

    def column(self, name: str) -> NDArray[np.generic]:
        return self.named[name]


def measured(pairs: Sequence[tuple[str, str, str]], measures: Iterable[Measure]) -> Kept:
    """The columns that measures give for these pairs, and their row numbers."""
    chunk = columns(pairs)
    named: dict[str, NDArray[np.generic]] = {"row": chunk.rows}
    for measure in measures:
        named |= measure(chunk)
    return Kept(named)


def lengths(chunk: Columns) -> Measured:
    """The lengths in characters, which another measure makes in an audit."""
    sides = {"chosen": chunk.chosen, "rejected": chunk.rejected}
    return {f"{side}_chars": np.array([len(text) for text in texts], float) for side, texts in sides.items()}
