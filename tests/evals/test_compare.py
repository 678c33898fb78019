"""Two judges on the same items: exact tests against brute force, intervals against the plain bootstrap."""

import itertools
import random
from dataclasses import replace

import pytest

from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem, bootstrap_difference
from pairgen.evals.compare import compare, mcnemar


def rows(values: list[float | None], clusters: list[str | None] | None = None) -> list[EvalItem]:
    """Rows whose score is their only score."""
    names = clusters or [None] * len(values)
    return [
        EvalItem(str(i), "", "", ("a", "b"), (), scores=(value,), cluster=name)
        for i, (value, name) in enumerate(zip(values, names, strict=True))
    ]


def first(row: EvalItem) -> float | None:
    return row.scores[0]


@pytest.mark.parametrize(("gained", "lost"), list(itertools.product(range(6), range(6))))
def test_mcnemar_by_all_coins(gained: int, lost: int) -> None:
    """The share of all sequences of coins that are as uneven or more so."""
    total = gained + lost
    uneven = sum(abs(2 * sum(coins) - total) >= abs(gained - lost) for coins in itertools.product((0, 1), repeat=total))
    assert mcnemar(gained, lost) == pytest.approx(uneven / 2**total)


def test_mcnemar_is_scipys_for_many() -> None:
    stats = pytest.importorskip("scipy.stats")
    for gained, lost in ((40, 60), (900, 1010), (3, 400)):
        assert mcnemar(gained, lost) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue, rel=1e-9)


def test_without_clusters_it_is_the_bootstrap_of_the_loop() -> None:
    rng = random.Random(2)
    old, new = ([float(rng.random() < p) for _ in range(200)] for p in (0.5, 0.7))
    found = compare(rows(old), rows(new), first, seed=4, rounds=800)
    expected = bootstrap_difference(
        {str(i): v for i, v in enumerate(new)}, {str(i): v for i, v in enumerate(old)}, seed=4, rounds=800
    )
    assert (found.diff, found.low, found.high) == pytest.approx((expected.diff, expected.low, expected.high))
    both = list(zip(old, new, strict=True))
    assert (found.gained, found.lost) == (both.count((0, 1)), both.count((1, 0)))


def test_copies_of_a_prompt_tell_no_more_than_one() -> None:
    """Ten pairs of each prompt that go the same way: the interval is that of the prompts."""
    rng = random.Random(6)
    gaps = [rng.choice([-1.0, 0.0, 1.0, 1.0]) for _ in range(40)]
    names = [str(i) for i in range(40)]
    one = compare(rows([0.0] * 40, names), rows(gaps, names), first, rounds=500)
    tenfold = [name for name in names for _ in range(10)]
    ten = compare(
        rows([0.0] * 400, tenfold), rows([gap for gap in gaps for _ in range(10)], tenfold), first, rounds=500
    )
    assert (ten.low, ten.high, ten.clusters, ten.n) == (pytest.approx(one.low), pytest.approx(one.high), 40, 400)


def test_half_right_items_count_for_the_one_that_is_better() -> None:
    """Right in one order of two against none is a gain; -1 point off against -3 is one too."""
    found = compare(rows([0.0, 0.5, 1.0, -3.0]), rows([0.5, 1.0, 0.5, -1.0]), first, rounds=10)
    assert (found.gained, found.lost, found.p_value) == (3, 1, mcnemar(3, 1))


def test_what_is_not_in_both_is_counted_and_left_out() -> None:
    old, new = rows([1.0, None, 0.0]), rows([1.0, 1.0, 1.0, 1.0])
    found = compare(old, new, first, rounds=10)
    assert (found.n, found.unscored, found.unmatched, found.gained) == (2, 1, 1, 1)


def test_results_of_two_benchmarks_are_refused() -> None:
    old, new = rows([1.0]), rows([1.0])
    with pytest.raises(UsageError, match="item 0 has other answers"):
        compare(old, [replace(new[0], answers=("x", "y"))], first)
    with pytest.raises(UsageError, match="share no scored item"):
        compare(old, rows([None]), first)
    with pytest.raises(UsageError, match="item 0 stands there twice"):
        compare([*old, *old], new, first)
