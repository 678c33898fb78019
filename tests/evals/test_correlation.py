"""Correlations against scipy, slow pair counting and the textbook; their errors against leaving out by hand."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pairgen.evals.benchmark import EvalItem
from pairgen.evals.correlation import correlations, kendall, pearson, ranked

grades = st.integers(1, 5).map(float)
samples = st.lists(st.tuples(grades, grades), min_size=3, max_size=25)


def slow_tau(x: list[float], y: list[float]) -> float | None:
    """Kendall's tau-b by its definition, pair by pair."""
    score, untied_x, untied_y = 0, 0, 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = (x[i] > x[j]) - (x[i] < x[j]), (y[i] > y[j]) - (y[i] < y[j])
        score, untied_x, untied_y = score + a * b, untied_x + abs(a), untied_y + abs(b)
    return score / math.sqrt(untied_x * untied_y) if untied_x and untied_y else None


def slow_r(x: list[float], y: list[float]) -> float | None:
    return statistics.correlation(x, y) if len(set(x)) > 1 and len(set(y)) > 1 else None


def slow_ranks(x: list[float]) -> list[float]:
    return [sum(b < a for b in x) + (sum(b == a for b in x) + 1) / 2 for a in x]


def rated(pairs: list[tuple[float, float]], clusters: list[int] | None = None) -> dict[str, object]:
    rows = [
        EvalItem(str(i), "", "", ("",), (), ratings=(gold,), cluster=None if clusters is None else str(clusters[i]))
        for i, (_, gold) in enumerate(pairs)
    ]
    return correlations(rows, {id(row): x for row, (x, _) in zip(rows, pairs, strict=True)})


@given(samples)
def test_coefficients_by_their_definitions(pairs: list[tuple[float, float]]) -> None:
    x, y = (list(side) for side in zip(*pairs, strict=True))
    found = rated(pairs)
    expected = {"pearson": slow_r(x, y), "spearman": slow_r(slow_ranks(x), slow_ranks(y)), "kendall": slow_tau(x, y)}
    for name, value in expected.items():
        assert found[name].mean == (None if value is None else pytest.approx(value, abs=1e-9)), name
        assert found[name].n == (0 if value is None else len(pairs))


@given(samples)
def test_coefficients_are_scipys(pairs: list[tuple[float, float]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    x, y = (list(side) for side in zip(*pairs, strict=True))
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    found = rated(pairs)
    for name, peer in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        assert found[name].mean == pytest.approx(peer(x, y).statistic, abs=1e-9)


@given(st.lists(st.tuples(grades, grades, st.integers(0, 4)), min_size=4, max_size=20))
def test_errors_leave_out_one_prompt_at_a_time(triples: list[tuple[float, float, int]]) -> None:
    pairs, clusters = [(x, y) for x, y, _ in triples], [c for _, _, c in triples]
    found = rated(pairs, clusters)
    for name, number in (("pearson", slow_r), ("kendall", slow_tau)):
        rest = [
            number(*(list(side) for side in zip(*kept, strict=True))) if kept else None
            for out in sorted(set(clusters))
            if (kept := [pair for pair, c in zip(pairs, clusters, strict=True) if c != out]) or True
        ]
        if found[name].mean is None or None in rest or len(rest) < 2:
            assert found[name].stderr is None
            continue
        mean = statistics.fmean(rest)
        error = math.sqrt((len(rest) - 1) / len(rest) * sum((r - mean) ** 2 for r in rest))
        assert found[name].stderr == pytest.approx(error, abs=1e-9), name


def test_the_error_of_r_is_the_textbooks() -> None:
    """For normal variates (1 - r^2) / sqrt(n - 1)."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=800)
    y = 0.6 * x + 0.8 * rng.normal(size=800)
    found = rated(list(zip(x.tolist(), y.tolist(), strict=True)))["pearson"]
    assert found.stderr == pytest.approx((1 - found.mean**2) / math.sqrt(799), rel=0.1)


def test_a_side_that_does_not_vary_has_no_coefficient() -> None:
    found = rated([(3.0, 1.0), (3.0, 5.0), (3.0, 2.0)])
    assert {(value.mean, value.n) for value in found.values()} == {(None, 0)}


def test_equal_values_share_their_rank() -> None:
    assert ranked(np.array([10.0, 20.0, 20.0, 5.0])).tolist() == [2, 3.5, 3.5, 1]
    assert pearson(np.array([1.0]), np.array([1.0])) is None
    assert kendall(np.array([1.0, 2.0]), np.array([2.0, 1.0]), [[0], [1]]) == (-1.0, [None, None])
