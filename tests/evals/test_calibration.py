"""Calibration against slow counting, scikit-learn where it is installed, and cases worked by hand."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.calibration import Point, accuracy_at, auroc, calibration, ece, points_of
from pairgen.records import ORDERS, gold_label

confidences = st.sampled_from([0.5, 0.6, 0.7, 0.7, 0.8, 0.9, 0.95, 1.0])
points = st.lists(st.tuples(confidences, st.sampled_from([0.0, 1.0])), min_size=2, max_size=40).map(
    lambda pairs: [Point(c, r, i) for i, (c, r) in enumerate(pairs)]
)


def judged(key: str, *said: tuple[str | None, float | None], mode: str = "greedy") -> EvalItem:
    """One verdict in each order, with its confidence."""
    replies = [
        EvalReply(mode, order, i // 2, "", answer, "ok", gold_label(order), 1, confidence=confidence)
        for i, (order, (answer, confidence)) in enumerate(zip(ORDERS * (len(said) // 2), said, strict=True))
    ]
    return EvalItem(key, "g", "q", ("c", "r"), tuple(replies))


@given(points)
def test_auroc_counts_pairs_of_right_and_wrong(found: list[Point]) -> None:
    right = [p.confidence for p in found if p.right]
    wrong = [p.confidence for p in found if not p.right]
    value = auroc(found).mean
    if not right or not wrong:
        assert value is None
        return
    wins = sum((a > b) + (a == b) / 2 for a in right for b in wrong)
    assert value == pytest.approx(wins / len(right) / len(wrong))


@given(points)
def test_auroc_is_scikit_learns(found: list[Point]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rights = [p.right for p in found]
    if len(set(rights)) == 2:
        assert auroc(found).mean == pytest.approx(metrics.roc_auc_score(rights, [p.confidence for p in found]))


def test_the_error_of_an_auroc_is_that_of_many_samples() -> None:
    """DeLong's error of one sample is near the spread over many."""
    rng = random.Random(1)

    def sample() -> list[Point]:
        return [Point(rng.gauss(0.8 * (i % 3 > 0), 1), float(i % 3 > 0), i) for i in range(150)]

    one = statistics.fmean(auroc(sample()).stderr for _ in range(30))
    many = statistics.stdev(auroc(sample()).mean for _ in range(300))
    assert one == pytest.approx(many, rel=0.15)


@given(points, st.integers(1, 12))
def test_ece_by_slow_bins(found: list[Point], bins: int) -> None:
    """Bins end at the quantiles' own values, so equal confidences stay together."""
    ordered = sorted(p.confidence for p in found)
    edges = [ordered[max(0, math.ceil(k * len(ordered) / bins) - 1)] for k in range(1, bins)]
    total = 0.0
    groups: dict[int, list[Point]] = {}
    for point in found:
        groups.setdefault(sum(edge < point.confidence for edge in edges), []).append(point)
    for group in groups.values():
        gap = statistics.fmean(p.confidence for p in group) - statistics.fmean(p.right for p in group)
        total += len(group) / len(found) * abs(gap)
    assert ece(found, bins) == pytest.approx(total, abs=1e-12)


def test_ece_by_hand() -> None:
    """Two bins: 0.6 said and half right, 0.9 said and all right: 0.5 * 0.1 + 0.5 * 0.1."""
    found = [Point(0.6, 1, 0), Point(0.6, 0, 1), Point(0.9, 1, 2), Point(0.9, 1, 3)]
    assert ece(found, 2) == pytest.approx(0.1)


def test_accuracy_at_a_coverage_shares_what_falls_on_the_limit() -> None:
    """Of four, the surest one and half of the two that come next: (1 + 0.5) / 2."""
    found = [Point(0.9, 1, 0), Point(0.8, 1, 1), Point(0.8, 0, 2), Point(0.6, 0, 3)]
    assert accuracy_at(found, 0.5) == 0.75
    assert accuracy_at(found, 1.0) == 0.5


def test_probabilities_are_averaged_over_the_orders() -> None:
    """0.9 for the right answer and 0.7 for the wrong one: 0.6 on average, and right."""
    rows = [judged("x", ("A", 0.9), ("A", 0.7)), judged("y", ("B", 0.8), ("A", 0.6))]
    found = points_of(rows)
    assert [(round(p.confidence, 9), p.right) for p in found] == [(0.6, 1), (0.7, 0)]
    metrics = calibration(rows)
    assert metrics["brier"].mean == pytest.approx((0.4**2 + 0.7**2) / 2)
    assert metrics["auroc"].mean == 0
    assert metrics["accuracy_when_consistent"].mean == 0
    assert metrics["coverage_when_consistent"].mean == 0.5


def test_votes_are_shares_of_the_leading_answer() -> None:
    said = [("A", None), ("B", None), ("A", None), ("A", None)]
    (point,) = points_of([judged("x", *said, mode="sampled")])
    assert (point.confidence, point.right) == (0.75, 1)


def test_margins_are_read_as_bradley_and_terry_do() -> None:
    rows = [EvalItem(key, "", "", ("c", "r"), (), scores=pair) for key, pair in (("x", (2.0, 0.0)), ("y", (1, 1)))]
    assert [(p.confidence, p.right) for p in points_of(rows)] == [(1 / (1 + math.exp(-2)), 1), (0.5, 0.5)]


def test_no_confidence_no_numbers() -> None:
    assert "ece" not in calibration([judged("x", ("A", None), ("B", None))])
    assert calibration([EvalItem("x", "", "", ("a", "b", "c"), (), scores=(1.0, 0.0, 2.0))]) == {}
