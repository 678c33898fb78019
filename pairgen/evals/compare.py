"""Two judges on the same items: how much better one is, how sure that is, and where they differ.

Compared are the items both have scored, matched by id; a prompt's items are resampled together. The exact sign
test asks of the items on which one of the two is better whether which one that is could be a coin: where an
item is right or wrong, that is McNemar's test. It takes items for independent, the interval does not.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem
from pairgen.fingerprint import JSON

Score = Callable[[EvalItem], float | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`after` minus `before` on `n` items of `clusters` prompts, with the 95 % interval of the paired bootstrap.

    `after` scores higher on `gained` items and lower on `lost` ones; `p_value` is the sign test's (McNemar's), exact
    and two-sided. `unmatched` items are in one of the two only, `unscored` in both but without a score in one.
    """

    before: float
    after: float
    diff: float
    low: float
    high: float
    n: int
    clusters: int
    gained: int
    lost: int
    p_value: float
    unmatched: int
    unscored: int

    def to_json(self) -> dict[str, JSON]:
        """The comparison as it is written to disk."""
        return asdict(self)


def compare(
    before: Sequence[EvalItem], after: Sequence[EvalItem], score: Score, *, seed: int = 0, rounds: int = 10_000,
) -> Comparison:
    """`after` against `before` by a benchmark's `score`.

    Raises UsageError when they share no scored item, or when an id stands for other answers in the two.
    """
    old, new = _by_id(before, "before"), _by_id(after, "after")
    shared = sorted(old.keys() & new.keys())
    for key in shared:
        _check_same(old[key], new[key])
    values = [(key, score(old[key]), score(new[key])) for key in shared]
    scored = [(key, was, now) for key, was, now in values if was is not None and now is not None]
    if not scored:
        raise UsageError("nothing to compare: the two results share no scored item")
    clusters = [old[key].cluster or new[key].cluster or key for key, _, _ in scored]
    low, high = interval([now - was for _, was, now in scored], clusters, seed, rounds)
    gained = sum(now > was for _, was, now in scored)
    lost = sum(now < was for _, was, now in scored)
    was, now = (math.fsum(part) / len(scored) for part in list(zip(*scored, strict=True))[1:])
    return Comparison(
        was, now, now - was, low, high, len(scored), len(set(clusters)), gained, lost, mcnemar(gained, lost),
        len(old.keys() ^ new.keys()), len(shared) - len(scored),
    )


def _by_id(rows: Sequence[EvalItem], name: str) -> dict[str, EvalItem]:
    found = {row.id: row for row in rows}
    if len(found) < len(rows):
        twice = Counter(row.id for row in rows).most_common(1)[0][0]
        raise UsageError(f"{name}: item {twice} stands there twice; a comparison needs one row per item")
    return found


def _check_same(old: EvalItem, new: EvalItem) -> None:
    """A row that failed holds no answers and is unscored anyway."""
    if old.error is None and new.error is None and (old.answers, old.right) != (new.answers, new.right):
        raise UsageError(f"item {old.id} has other answers in the two results; they are not of the same benchmark")


def interval(gaps: Sequence[float], clusters: Sequence[object], seed: int, rounds: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean gap over resampled clusters. Does not depend on their order."""
    import numpy as np

    sums: dict[str, list[float]] = {}
    for gap, cluster in zip(gaps, clusters, strict=True):
        sums.setdefault(str(cluster), []).append(gap)
    groups = [sums[key] for key in sorted(sums)]
    totals_C = np.array([math.fsum(group) for group in groups])
    sizes_C = np.array([len(group) for group in groups])
    rng, block = np.random.default_rng(seed), max(1, 2_000_000 // len(groups))
    means = []
    for start in range(0, rounds, block):
        drawn = rng.integers(len(groups), size=(min(block, rounds - start), len(groups)))
        means.append(totals_C[drawn].sum(axis=1) / sizes_C[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value of so many discordant items under a fair coin; 1 where there are none."""
    total = gained + lost
    tail = sum(math.comb(total, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << total))
