"""Means, intervals, shares and histograms, against textbook values, plain resampling and counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pairgen.audit.stats import PLAIN, bootstrap_mean, histogram, rate, stat, wilson

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
DRAWS = {
    "normal": lambda rng, n: rng.normal(3, 2, n),
    "lengths": lambda rng, n: np.floor(rng.lognormal(6, 1, n)),
    "flags": lambda rng, n: (rng.random(n) < 0.03).astype(float),
    "heavy": lambda rng, n: rng.pareto(2.5, n),
}


def resampled(values: NDArray[np.float64], rounds: int = 4000) -> NDArray[np.float64]:
    """The textbook bootstrap: draw rows with replacement, take the mean, again and again."""
    rng = np.random.default_rng(7)
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(rounds)])


def test_the_numbers_of_a_column() -> None:
    found = stat("x", "X", np.array([4.0, 1.0, np.nan, 3.0, 2.0, 10.0]))
    assert (found.mean, found.median, found.n, found.missing) == (4.0, 3.0, 5, 1)
    assert (found.p10, found.p90) == pytest.approx((1.4, 7.6))  # linear between order statistics
    assert found.low < 4 < found.high


def test_nothing_known_and_one_value_have_no_interval() -> None:
    none, one = stat("x", "X", np.array([np.nan, np.inf])), stat("x", "X", np.array([2.0]))
    assert np.isnan(none.mean)
    assert (none.n, none.missing) == (0, 2)
    assert (one.mean, one.median, one.p10, one.n) == (2, 2, 2, 1)
    assert np.isnan([one.low, one.high]).all()


@pytest.mark.parametrize("n", [30, PLAIN, PLAIN + 1, 5000])
@pytest.mark.parametrize("kind", DRAWS)
def test_the_interval_is_that_of_plain_resampling(kind: str, n: int) -> None:
    """Both ends lie within a tenth of the interval's half of where 4,000 textbook resamples put them."""
    values = DRAWS[kind](np.random.default_rng(n), n)
    found, expected = bootstrap_mean(np.sort(values)), np.quantile(resampled(values), (0.025, 0.975))
    slack = 0.1 * (expected[1] - expected[0])
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=max(slack, 1e-9))


@pytest.mark.parametrize("n", [400, 20_000, 1_000_000])
def test_the_interval_has_the_width_of_the_standard_error(n: int) -> None:
    values = np.random.default_rng(n).lognormal(6, 1, n)
    found = stat("x", "X", values)
    error = values.std() / np.sqrt(n)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert (found.low + found.high) / 2 == pytest.approx(found.mean, abs=0.3 * error)


def test_an_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    """400 samples of 200 values of a known mean: 95 % ± three standard errors of that share."""
    rng = np.random.default_rng(3)
    inside = sum(
        (i := bootstrap_mean(np.sort(rng.exponential(2, 200)))).low <= 2 <= i.high for _ in range(400)
    )
    assert 0.917 < inside / 400 < 0.98


@given(VALUES)
def test_quantiles_and_interval_lie_within_the_values(values: list[float]) -> None:
    found = stat("x", "X", np.array(values))
    assert min(values) <= found.p10 <= found.median <= found.p90 <= max(values)
    if len(values) > 1:
        assert min(values) <= found.low <= found.high <= max(values)
        assert min(values) <= found.mean <= max(values)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_shares_have_the_intervals_of_newcombe(count: int, n: int, low: float, high: float) -> None:
    """Method 3, the score interval, in table I of Newcombe, Statistics in Medicine 17 (1998) 857-872."""
    found = wilson(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nothing_is_unknown() -> None:
    assert np.isnan(rate("r", "R", 0, 0).low)
    assert (wilson(7, 7).high, wilson(0, 7).low) == (1.0, 0.0)


@given(st.lists(st.one_of(st.floats(-1e7, 1e7), st.just(float("nan"))), max_size=80), st.integers(1, 50))
def test_every_value_is_in_one_bin(values: list[float], bins: int) -> None:
    found = histogram("x", "X", np.array(values), bins)
    known = [v for v in values if v == v]
    assert sum(found.counts) == len(known)
    assert len(found.edges) == len(found.counts) + 1
    assert list(found.edges) == sorted(set(found.edges))
    assert found.above == sum(v > found.edges[-1] for v in known)
    assert found.below == sum(v < found.edges[0] for v in known)
    assert found.below + found.above <= 0.011 * len(known) + 1


def test_outliers_are_gathered_in_the_last_bin_and_counted() -> None:
    values = np.concatenate([np.arange(1000.0), [1e6, 2e6]])
    found = histogram("levenshtein", "Levenshtein", values, 40)
    assert found.edges[-1] <= 1024
    assert found.above == 2
    assert found.below == 0
    assert sum(found.counts) == 1002


def test_bins_of_two_datasets_nest() -> None:
    """Widths are powers of two at multiples of themselves: the wider bins are unions of the narrower."""
    rng = np.random.default_rng(0)
    wide, narrow = (set(histogram("x", "X", rng.lognormal(m, 1, 5000)).edges) for m in (7, 5))
    assert {edge for edge in wide if edge <= max(narrow)} <= narrow


def test_known_ranges_are_shown_in_full_and_ratios_by_their_logarithm() -> None:
    assert histogram("jaccard", "J", np.array([0.5, 0.6]), 4).edges == (0, 0.25, 0.5, 0.75, 1)
    ratios = histogram("len_ratio", "R", np.array([0.01, 1.0, 1.0, 99.0]), 6)
    assert ratios.edges == pytest.approx((1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8))
    assert ratios.counts == (1, 0, 0, 2, 0, 1)
    assert (ratios.below, ratios.above) == (1, 1)


def test_whole_numbers_get_no_bins_narrower_than_one() -> None:
    assert histogram("list_items", "L", np.array([0.0, 1, 1, 2, 3]), 40).edges == (0, 1, 2, 3, 4)
