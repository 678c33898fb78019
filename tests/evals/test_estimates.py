"""Means, standard errors and bootstrap intervals against hand-worked cases and plain-Python oracles."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.errors import UsageError
from pairgen.evals.benchmark import (
    Estimate,
    EvalItem,
    bootstrap_difference,
    estimate,
    estimate_clustered,
    estimate_rows,
)

finite = st.floats(-100, 100)


def test_a_mean_by_hand() -> None:
    """1, 0, 1, 1: mean 3/4, sample variance 1/4, standard error sqrt(1/16)."""
    assert estimate([1, 0, 1, 1]) == Estimate(0.75, 0.25, 4, 0)


def test_unscored_is_counted_and_never_a_zero() -> None:
    assert estimate([1, None, 1, None]) == Estimate(1.0, 0.0, 2, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Estimate(None, None, 0, 0)),
        ([None], Estimate(None, None, 0, 1)),
        ([0.5], Estimate(0.5, None, 1, 0)),
    ],
)
def test_too_few_values_have_no_error_bar(values: list[float | None], expected: Estimate) -> None:
    assert estimate(values) == expected


@given(st.lists(finite, min_size=2, max_size=40))
def test_the_standard_error_is_the_textbook_one(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert found.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), abs=1e-9)


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=30))
def test_both_orders_of_a_pair_count_as_one_unit(pairs: list[tuple[float, float]]) -> None:
    """With two values a pair the clustered error is that of the pairs' means, whatever the order effect."""
    found = estimate_clustered(pairs)
    means = [sum(pair) / 2 for pair in pairs]
    assert found.n == len(pairs)
    assert found.stderr == pytest.approx(statistics.stdev(means) / math.sqrt(len(means)), abs=1e-9)


def test_unequal_clusters_by_hand() -> None:
    """(1, 1) and (0): mean 2/3, residuals 2/3 and -2/3, error sqrt(2 * 8/9) / 3 = 4/9."""
    found = estimate_clustered([[1, 1], [0], [None, None]])
    assert found.mean == pytest.approx(2 / 3)
    assert found.stderr == pytest.approx(4 / 9)
    assert (found.n, found.unscored) == (2, 1)


def test_copies_of_an_answer_do_not_shrink_the_error() -> None:
    """Ten identical samples of each item tell no more than one."""
    values = [random.Random(3).random() for _ in range(20)]
    once, ten = estimate(values), estimate_clustered([[value] * 10 for value in values])
    assert ten.stderr == pytest.approx(once.stderr)


def test_bootstrap_agrees_with_the_normal_interval_of_the_paired_gaps() -> None:
    rng = random.Random(7)
    before = {str(i): float(rng.random() < 0.6) for i in range(400)}
    after = {key: 1.0 if rng.random() < 0.3 else value for key, value in before.items()}
    gaps = [after[key] - before[key] for key in before]
    found = bootstrap_difference(after, before, seed=1)
    half = 1.96 * statistics.stdev(gaps) / math.sqrt(400)
    assert found.diff == pytest.approx(statistics.fmean(gaps))
    assert found.low == pytest.approx(found.diff - half, abs=0.006)
    assert found.high == pytest.approx(found.diff + half, abs=0.006)


def test_bootstrap_is_paired() -> None:
    """Two judges that differ by a constant have an interval of no width, however hard the items vary."""
    before = {str(i): float(i % 2) for i in range(50)}
    found = bootstrap_difference({key: value + 0.25 for key, value in before.items()}, before)
    assert (found.diff, found.low, found.high, found.n) == (0.25, 0.25, 0.25, 50)


def test_bootstrap_leaves_out_what_either_side_could_not_score() -> None:
    found = bootstrap_difference({"a": 1, "b": None, "c": 1, "d": 1}, {"a": 0, "b": 0, "c": None, "e": 0})
    assert (found.diff, found.n) == (1.0, 1)


def test_bootstrap_does_not_depend_on_the_order_of_items_but_on_the_seed() -> None:
    rng = random.Random(5)
    after = {str(i): rng.random() for i in range(30)}
    before = {str(i): rng.random() for i in range(30)}
    shuffled = dict(reversed(after.items()))
    one = bootstrap_difference(after, before, seed=1, rounds=500)
    assert one == bootstrap_difference(shuffled, before, seed=1, rounds=500)
    assert one != bootstrap_difference(after, before, seed=2, rounds=500)


def test_bootstrap_of_nothing_says_so() -> None:
    with pytest.raises(UsageError, match="share no scored item"):
        bootstrap_difference({"a": 1}, {"b": 1})


def test_pairs_of_a_prompt_are_a_unit_and_the_unscored_are_counted_one_by_one() -> None:
    """Prompt p has 1 and nothing, q has 0 and 1: two units of mean 2/3, and one row without a value."""
    rows = [EvalItem(str(i), "", "", (), (), cluster=name) for i, name in enumerate("ppqq")]
    values = {"0": 1.0, "1": None, "2": 0.0, "3": 1.0}
    found = estimate_rows(rows, lambda row: [values[row.id]])
    assert (found.mean, found.n, found.unscored) == (pytest.approx(2 / 3), 2, 1)


@given(st.lists(st.one_of(st.none(), finite), max_size=20))
def test_rows_without_a_prompt_are_units_of_their_own(values: list[float | None]) -> None:
    rows = [EvalItem("same id", "", "", (), ()) for _ in values]
    given_values = iter(values)
    assert estimate_rows(rows, lambda row: [next(given_values)]) == estimate(values)
