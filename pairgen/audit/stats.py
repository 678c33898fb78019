"""Columns of numbers summed up: means with bootstrap intervals, rates with Wilson's, histograms.

A bootstrap of the mean needs the values' counts only, so a long column is first cut, by rank, into bins whose
sizes depend on nothing but its length. The draws are therefore made once for a length and serve every column.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Numbers
from pairgen.audit.summary import Histogram, Rate, Stat

ROUNDS = 2000
"""Resamples: an end of the interval is then off by 3 % of the interval's half, from resampling alone."""

PLAIN = 1000
"""Rows up to which every single value is drawn."""

BINS, SINGLE = 256, 32
"""Bins of a longer column. The outermost values are bins of their own: they are what a mean moves by."""

Z95 = 1.959964
FIXED: dict[str, tuple[float, float]] = dict.fromkeys(
    ("jaccard", "lev_norm", "prefix_share", "suffix_share", "word_diff"), (0.0, 1.0)
)
"""Measures that lie in a known range, which their histograms show in full."""

RATIOS = frozenset({"len_ratio"})
"""Measures where half and double are equally far from equal: their bins are equally wide in log2."""

RATIO_REACH = 3.0
"""A histogram of ratios goes from an eighth to eight."""

TAIL = 0.01
"""The share of rows that the last bin of an open-ended histogram may gather from beyond its edge."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval; nan where there is too little to say."""

    low: float
    high: float


def stat(name: str, label: str, values: NDArray[np.generic]) -> Stat:
    """A column summed up. Values that are not finite are missing; quantiles are numpy's linear ones.

    One value has no interval (nan), no value has no number at all.
    """
    every = np.asarray(values, dtype=np.float64)
    known = np.sort(every[np.isfinite(every)])
    n, missing = len(known), len(every) - len(known)
    if n == 0:
        return Stat(name, label, *(float("nan"),) * 6, n=0, missing=missing)
    p10, median, p90 = np.quantile(known, (0.1, 0.5, 0.9)).tolist()
    interval = bootstrap_mean(known)
    mean = float(np.clip(known.mean(), known[0], known[-1]))
    return Stat(
        name, label, mean, interval.low, interval.high, median, p10, p90, n=n, missing=missing
    )


def bootstrap_mean(ordered: Numbers) -> Interval:
    """The 95 % percentile interval of the mean of sorted values, from `ROUNDS` resamples with a fixed seed.

    Up to `PLAIN` values this is plain resampling. Beyond, whole bins are drawn (multinomial), and what varies
    inside a bin is added as a normal of the same variance, so that mean and variance of the resampled means
    are exactly those of plain resampling.
    """
    n = len(ordered)
    if n < 2:
        return Interval(float("nan"), float("nan"))
    means = _draws(n, n) @ ordered / n if n <= PLAIN else _binned_means(ordered)
    means = np.clip(means, ordered[0], ordered[-1])  # the mean of equal values leaves them by a rounding error
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return Interval(low, high)


def _binned_means(ordered: Numbers) -> Numbers:
    n = len(ordered)
    starts, sizes = _bins(n)
    centre = ordered.mean()
    moved = ordered - centre  # so that squares do not cancel
    means = np.add.reduceat(moved, starts) / sizes
    spread = np.maximum(np.add.reduceat(moved**2, starts) / sizes - means**2, 0.0)
    draws = _draws(n, len(sizes))
    noise = np.random.default_rng(1).standard_normal(ROUNDS) * np.sqrt(draws @ spread)
    result: Numbers = centre + (draws @ means + noise) / n
    return result


def _bins(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and sizes of the bins of `n` sorted values, `[K]` each."""
    inner = np.linspace(SINGLE, n - SINGLE, BINS - 2 * SINGLE + 1).astype(np.int64)[:-1]
    starts = np.concatenate([np.arange(SINGLE), inner, np.arange(n - SINGLE, n)])
    return starts, np.diff(starts, append=n)


@lru_cache(maxsize=4)
def _draws(n: int, bins: int) -> Numbers:
    """How often each bin is drawn in each resample of `n` values, `[ROUNDS, bins]`; every row sums to n."""
    rng = np.random.default_rng(0)
    if bins < n:
        return rng.multinomial(n, _bins(n)[1] / n, size=ROUNDS).astype(np.float64)
    drawn = rng.integers(n, size=(ROUNDS, n)) + n * np.arange(ROUNDS)[:, None]
    return np.bincount(drawn.ravel(), minlength=ROUNDS * n).reshape(ROUNDS, n).astype(np.float64)


def wilson(count: float, n: int) -> Interval:
    """The 95 % score interval of a share (Wilson 1927), which is sensible at 0 and at `n` too."""
    if n == 0:
        return Interval(float("nan"), float("nan"))
    p, z2 = count / n, Z95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * float(np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)))
    return Interval(0.0 if count == 0 else middle - half, 1.0 if count == n else middle + half)


def rate(name: str, label: str, count: int, n: int, rows: tuple[int, ...] = ()) -> Rate:
    """How often something is so, with its interval; `rows` are some row numbers to look at."""
    interval = wilson(count, n)
    return Rate(name, label, count, n, interval.low, interval.high, rows)


def histogram(name: str, label: str, values: NDArray[np.generic], bins: int = 40) -> Histogram:
    """At most about `bins` bins. What lies beyond the outer edges is gathered in the outer bins and counted.

    Known ranges are shown in full. Elsewhere widths are powers of two and edges multiples of them, so that
    the bins of two datasets nest and a report can bring them to the same ones exactly.
    """
    every = np.asarray(values, dtype=np.float64)
    known = every[np.isfinite(every)]
    edges = _edges(name, known, bins)
    below, above = int((known < edges[0]).sum()), int((known > edges[-1]).sum())
    counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), edges)
    return Histogram(name, label, tuple(edges.tolist()), tuple(counts.tolist()), below, above)


def _edges(name: str, known: Numbers, bins: int) -> Numbers:
    if name in FIXED:
        return np.linspace(*FIXED[name], bins + 1)
    if name in RATIOS:
        edges: Numbers = 2.0 ** np.linspace(-RATIO_REACH, RATIO_REACH, bins + 1)
        return edges
    if len(known) == 0:
        return np.array([0.0, 1.0])
    low, high = _reach(known)
    span = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-9)  # never narrower than floats can tell apart
    width = 2.0 ** np.ceil(np.log2(span / bins))
    if bool((known == np.round(known)).all()):
        width = max(width, 1.0)  # a bin narrower than the step of whole numbers is a comb
    first, last = np.floor(low / width), np.floor(high / width) + 1
    multiples: Numbers = np.arange(first, last + 1) * width
    return multiples


def _reach(known: Numbers) -> NDArray[np.float64]:
    """From where to where most values lie: all but `TAIL`, on the sides that have a tail."""
    low, high = float(known.min()), float(known.max())
    inner_low, inner_high = np.quantile(known, (TAIL / 2, 1 - TAIL / 2)).tolist()
    reach = max(inner_high - inner_low, 1e-9)
    return np.array([
        low if inner_low - low < reach / 4 else inner_low, high if high - inner_high < reach / 4 else inner_high
    ])
