"""Accuracy along an axis: items of one kind beside each other, cut into bins of about equal size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pairgen.evals.benchmark import Estimate, EvalItem, estimate_rows
from pairgen.evals.slices import log_ratio
from pairgen.evals.verdicts import marks

BINS = 7
LEAST = 10
"""Items of a bin, at the least."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A bin: the mean of its items along the axis, and their accuracy."""

    at: float
    accuracy: Estimate


def by_length(rows: Sequence[EvalItem], bins: int = BINS) -> list[Slice]:
    """Accuracy by the log2 of the better answer's length over the worse one's, in characters.

    Ties are left out. Items of one length ratio are never in two bins.
    """
    pairs = sorted(
        ((log_ratio(row) / math.log(2), row) for row in rows if row.right == 1 and len(row.answers) == 2),
        key=lambda pair: pair[0],
    )
    size = max(LEAST, math.ceil(len(pairs) / bins))
    found: list[list[tuple[float, EvalItem]]] = []
    for at, row in pairs:
        if not found or (len(found[-1]) >= size and at != found[-1][-1][0]):
            found.append([])
        found[-1].append((at, row))
    return [_slice(some) for some in found]


def _slice(some: Sequence[tuple[float, EvalItem]]) -> Slice:
    middle = math.fsum(at for at, _ in some) / len(some)
    return Slice(middle, estimate_rows([row for _, row in some], marks))
