"""Does a judge know when it is right? From the probabilities of its verdicts, its votes or its margins.

A pair's confidence is, in this order: the probability of its pick averaged over both orders (logits); the
share of its leading pick among all samples of both orders (votes); the logistic of the margin between its
scores (a scoring model's, as Bradley and Terry read it). Pairs labelled a tie are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairgen.evals.benchmark import Estimate, EvalItem, estimate_rows
from pairgen.evals.slices import averaged_odds, p_chosen
from pairgen.evals.verdicts import marks, pick_of, replies_of, scores_of, vote, vote_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 10
COVERAGES = (0.5, 0.8)


@dataclass(frozen=True, slots=True)
class Point:
    """A pair's confidence in its pick, and whether that is right: 1, 0, or 0.5 where two picks are level."""

    confidence: float
    right: float
    cluster: object


def calibration(rows: Sequence[EvalItem], bins: int = BINS) -> dict[str, Estimate]:
    """ECE, Brier score, AUROC and accuracy at coverage; {} where rows hold no confidence.

    Where both orders were asked, also the accuracy of the pairs whose orders agree, and their share.
    """
    points = points_of(rows)
    found = _agreeing(rows)
    if not points:
        return found
    unscored = sum(bool(row.right) for row in rows) - len(points)
    found |= {
        "ece": Estimate(ece(points, bins), None, len(points), unscored),
        "brier": _mean(points, [(point.confidence - point.right) ** 2 for point in points], unscored),
        "confidence": _mean(points, [point.confidence for point in points], unscored),
        "auroc": auroc(points),
    }
    return found | {
        f"accuracy_at_{coverage:.0%}".rstrip("%"): Estimate(
            accuracy_at(points, coverage), None, math.ceil(coverage * len(points)), unscored
        )
        for coverage in COVERAGES
    }


def points_of(rows: Sequence[EvalItem]) -> list[Point]:
    """A point for each pair with a confidence; items of more answers or of one have none."""
    found = []
    for place, row in enumerate(rows):
        known = _known(row) if row.right and len(row.answers) == 2 else None
        if known is not None:
            found.append(Point(*known, place if row.cluster is None else row.cluster))
    return found


def _known(row: EvalItem) -> tuple[float, float] | None:
    """(confidence, right) of a row, None where it has none."""
    if row.scores:
        chosen, rejected = scores_of(row)
        (mark,) = marks(row)
        if chosen is None or rejected is None or mark is None:
            return None
        return logistic(abs(chosen - rejected)), mark
    odds = [odd for reply in replies_of(row, "greedy") if (odd := p_chosen(reply)) is not None]
    if odds:
        mean, right = math.fsum(odds) / len(odds), averaged_odds(row)
        return None if right is None else (max(mean, 1 - mean), right)
    share, right = vote_share(row), vote(row)
    return None if share is None or right is None else (share, right)


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)) for x >= 0."""
    return 1 / (1 + math.exp(-x))


def ece(points: Sequence[Point], bins: int = BINS) -> float:
    """The expected calibration error over bins of equal mass; equal confidences are never in two bins."""
    import numpy as np

    confidence_N = np.array([point.confidence for point in points])
    off_N = confidence_N - np.array([point.right for point in points])
    edges = np.quantile(confidence_N, np.arange(1, bins) / bins, method="inverted_cdf")
    place_N = np.searchsorted(edges, confidence_N, side="left")
    return float(np.abs(np.bincount(place_N, weights=off_N)).sum() / len(points))


def auroc(points: Sequence[Point]) -> Estimate:
    """The chance that a right pick has more confidence than a wrong one, equal ones half (Mann and Whitney).

    Its standard error is DeLong's, with the placements of a prompt's pairs added up. Level picks are left out.
    """
    import numpy as np

    right = [point for point in points if point.right == 1]
    wrong = [point for point in points if point.right == 0]
    if not right or not wrong:
        return Estimate(None, None, 0, len(points) - len(right) - len(wrong))
    above_R = _placed(right, wrong)
    above_W = 1 - _placed(wrong, right)
    value = float(above_R.mean())
    pulls: dict[object, float] = {}
    for group, above in ((right, above_R), (wrong, above_W)):
        for point, place in zip(group, above.tolist(), strict=True):
            pulls[point.cluster] = pulls.get(point.cluster, 0.0) + (place - value) / len(group)
    units = len(pulls)
    error = math.sqrt(float(np.square(list(pulls.values())).sum()) * units / (units - 1)) if units > 1 else None
    return Estimate(value, error, units, len(points) - len(right) - len(wrong))


def _placed(group: Sequence[Point], others: Sequence[Point]) -> "NDArray[np.float64]":
    """For each point the share of the others with less confidence, equal ones half."""
    import numpy as np

    of = np.array([point.confidence for point in group])
    sorted_others = np.sort([point.confidence for point in others])
    below = np.searchsorted(sorted_others, of, side="left") + np.searchsorted(sorted_others, of, side="right")
    share: NDArray[np.float64] = below / (2 * len(others))
    return share


def accuracy_at(points: Sequence[Point], coverage: float) -> float:
    """The accuracy of the most confident share of the pairs.

    Where the limit falls among equal confidences, all of them count with the same part of one.
    """
    left = coverage * len(points)
    groups: dict[float, list[float]] = {}
    for point in points:
        groups.setdefault(point.confidence, []).append(point.right)
    won = 0.0
    for confidence in sorted(groups, reverse=True):
        rights = groups[confidence]
        taken = min(left, len(rights))
        won += taken * math.fsum(rights) / len(rights)
        left -= taken
    return won / (coverage * len(points))


def _agreeing(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """A judge that abstains where its orders disagree: how often it speaks, and how right it then is."""
    both = [row for row in rows if {r.order for r in replies_of(row, "greedy")} == {"chosen_first", "rejected_first"}]
    if not both:
        return {}
    kept = [row for row in both if _agrees(row)]
    return {
        "accuracy_when_consistent": estimate_rows(kept, lambda row: [float(replies_of(row, "greedy")[0].right)]),
        "coverage_when_consistent": estimate_rows(both, lambda row: [float(_agrees(row))]),
    }


def _agrees(row: EvalItem) -> bool:
    named = {pick_of(reply) for reply in replies_of(row, "greedy")}
    return len(named) == 1 and None not in named


def _mean(points: Sequence[Point], values: Sequence[float], unscored: int) -> Estimate:
    rows = [EvalItem(str(i), "", "", (), (), cluster=str(point.cluster)) for i, point in enumerate(points)]
    found = estimate_rows(rows, lambda row: [values[int(row.id)]])
    return Estimate(found.mean, found.stderr, found.n, unscored)
