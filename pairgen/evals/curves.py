"""Accuracy along an axis: items of one kind beside each other, cut into bins of about equal size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pairgen.evals.benchmark import Estimate, EvalItem, estimate, estimate_rows
from pairgen.evals.calibration import points_of
from pairgen.evals.slices import log_ratio
from pairgen.evals.verdicts import marks

T = TypeVar("T")
BINS = 7
LEAST = 10
"""Items of a bin, at the least."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A bin: the mean of its items along the axis, and their accuracy."""

    at: float
    accuracy: Estimate


def by_length(rows: Sequence[EvalItem], bins: int = BINS) -> list[Slice]:
    """Accuracy by the log2 of the better answer's length over the worse one's, in characters. Ties are left out."""
    pairs = [row for row in rows if row.right == 1 and len(row.answers) == 2]
    return [
        Slice(math.fsum(map(_doublings, some)) / len(some), estimate_rows(some, marks))
        for some in cut(pairs, _doublings, bins)
    ]


def by_confidence(rows: Sequence[EvalItem], bins: int = BINS) -> list[Slice]:
    """The share of right picks by confidence (see `evals.calibration`); nothing where rows hold none."""
    points = points_of([row for row in rows if len(row.answers) == 2])
    return [
        Slice(math.fsum(point.confidence for point in some) / len(some), estimate(point.right for point in some))
        for some in cut(points, lambda point: point.confidence, bins)
    ]


def cut(things: Sequence[T], at: Callable[[T], float], bins: int) -> list[list[T]]:
    """Things in bins of about equal size along an axis; those at one place are never in two bins."""
    size = max(LEAST, math.ceil(len(things) / bins))
    found: list[list[T]] = []
    for thing in sorted(things, key=at):
        if not found or (len(found[-1]) >= size and at(thing) != at(found[-1][-1])):
            found.append([])
        found[-1].append(thing)
    return found


def _doublings(row: EvalItem) -> float:
    return log_ratio(row) / math.log(2)
