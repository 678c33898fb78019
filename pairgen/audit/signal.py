"""What the label says about the form of a text: which side has more of a feature, and how well form alone tells it.

Chance is one half everywhere, and ties count half: a coin would decide them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Named, Numbers
from pairgen.audit.scan import mixed
from pairgen.audit.stats import bootstrap_mean, wilson
from pairgen.audit.style import FEATURES
from pairgen.audit.summary import Bias, Predictability

Bools = NDArray[np.bool_]

COUNTED = {"chars": "characters"} | FEATURES
"""Everything that is compared between the sides, with what a table calls it."""
AS_THEY_ARE = frozenset({"refusal", "avg_word", "newline_share"})
"""Features that are no counts: of the others the classifier sees log(1 + count)."""

SAMPLE = 50_000
"""Pairs that the classifier learns from at most: its accuracy is then known to ± 0.4 points."""
FOLDS = 5
FEWEST = 50
"""Pairs below which a classifier of some 17 features has nothing to say."""
RIDGE = 1.0
"""Penalty on standardised weights: half its square sum times this is added to the loss."""
_TABLE = 1 << 16


def biases(table: Named) -> tuple[Bias, ...]:
    """For the length in characters (`chars`, first) and every feature: which side has more of it.

    Rows where the feature has no value on one side (the word length of an empty text) are left out.
    """
    return tuple(
        bias(name, label, _side(table, "chosen", name), _side(table, "rejected", name))
        for name, label in COUNTED.items()
    )


def bias(name: str, label: str, chosen: Numbers, rejected: Numbers) -> Bias:
    """One feature on both sides, `[N]` each.

    `auc` is the Mann-Whitney statistic over n²: every chosen text against every rejected one, not only its own
    (the pairs as such are in `chosen_more`, `rejected_more` and `equal`). Its interval is a bootstrap over pairs
    of the statistic's linear part (Hájek's projection): a pair contributes the share of rejected texts below its
    chosen one plus the share of chosen ones above its rejected one, and the mean of those is resampled. What
    this leaves out shrinks with 1/n, and n² comparisons are never made.
    """
    known = np.isfinite(chosen) & np.isfinite(rejected)
    chosen, rejected = chosen[known], rejected[known]
    more, less = int((chosen > rejected).sum()), int((chosen < rejected).sum())
    equal = len(chosen) - more - less
    if not len(chosen):
        return Bias(name, label, 0, 0, 0, *(float("nan"),) * 3)
    parts = below(chosen, rejected) + 1 - below(rejected, chosen)
    auc = float(parts.mean()) / 2
    interval = bootstrap_mean(np.sort(parts - auc))
    low, high = np.clip((interval.low, interval.high), 0.0, 1.0).tolist()
    return Bias(name, label, more, less, equal, auc, low, high)


def pick_more(found: Bias) -> float:
    """How often the side with more of a feature is the chosen one, ties half: the accuracy of the simplest judge.

    For `chars` this is the pick-the-longer baseline, in code points. nan where there are no pairs.
    """
    n = found.chosen_more + found.rejected_more + found.equal
    return (found.chosen_more + found.equal / 2) / n if n else float("nan")


def below(values: Numbers, others: Numbers) -> Numbers:
    """For each value the share of `others` that is smaller, equal ones half. `[N]`, `[M]` -> `[N]`; no nan.

    Counts are looked up in a table of cumulated frequencies, other numbers among the sorted others.
    """
    if len(others) and _small_counts(values) and _small_counts(others):
        frequency = np.bincount(others.astype(np.int64), minlength=_TABLE)
        twice = 2 * np.cumsum(frequency) - frequency
        return np.asarray(twice[values.astype(np.int64)] / (2 * len(others)))
    ordered = np.sort(others)
    by_value = np.argsort(values)
    lined_up = values[by_value]  # neighbours look at neighbouring places: the cache's way
    found = np.searchsorted(ordered, lined_up, "left") + np.searchsorted(ordered, lined_up, "right")
    shares = np.empty(len(values))
    shares[by_value] = found / (2 * len(others))
    return shares


def _small_counts(values: Numbers) -> bool:
    return bool(((values >= 0) & (values < _TABLE) & (values == np.floor(values))).all())


def _side(table: Named, side: str, name: str) -> Numbers:
    return table.column(f"{side}_{name}").astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Heldout:
    """Scores of pairs by a model that had not seen their prompt: above 0 it takes the chosen side. `[N]`."""

    scores: Numbers
    folds: int


def predictability(table: Named, seed: int = 0) -> Predictability | None:
    """How well style alone tells chosen from rejected; None for too few pairs or prompts.

    A logistic regression on feature differences, chosen less rejected, without intercept, so that showing the
    pair the other way round turns the answer round. Pairs of one prompt are in one fold. The AUC is over each
    pair in both directions: the chance that a pair the right way round scores above one the wrong way round.
    """
    rows = _sample(len(table), seed)
    if len(rows) < FEWEST:
        return None
    folds = _folds(table.column("prompt_hash")[rows].astype(np.uint64), seed)
    if folds.max() == 0:
        return None
    x = _differences(table, rows)
    held = _held_out(x, folds)
    n = len(x)
    right = float((held.scores > 0).sum() + (held.scores == 0).sum() / 2)
    interval = wilson(right, n)
    auc = float(below(held.scores, -held.scores).mean())
    fitted = fit(x / _scale(x))
    weights = sorted(zip(COUNTED, fitted.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    return Predictability(right / n, interval.low, interval.high, auc, n, held.folds, tuple(weights))


def _sample(n: int, seed: int) -> NDArray[np.int64]:
    """All rows, or `SAMPLE` of them, in their order."""
    if n <= SAMPLE:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))


def _folds(prompts: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
    """The fold of each row: whole prompts, dealt out in an order of chance. All 0 for one prompt."""
    _, index = np.unique(mixed(prompts + np.uint64(seed)), return_inverse=True)
    return np.asarray(index % FOLDS)


def _differences(table: Named, rows: NDArray[np.int64]) -> Numbers:
    """Feature differences, chosen less rejected, `[N, F]`. Where a side has no value there is no difference."""
    columns = []
    for name in COUNTED:
        chosen, rejected = (_side(table, side, name)[rows] for side in ("chosen", "rejected"))
        if name not in AS_THEY_ARE:
            chosen, rejected = np.log1p(chosen), np.log1p(rejected)
        columns.append(np.nan_to_num(chosen - rejected, nan=0.0))
    return np.column_stack(columns)


def _held_out(x: Numbers, folds: NDArray[np.int64]) -> _Heldout:
    scores = np.zeros(len(x))
    parts = np.unique(folds)
    for part in parts:
        test = folds == part
        scale = _scale(x[~test])
        scores[test] = (x[test] / scale) @ fit(x[~test] / scale)
    return _Heldout(scores, len(parts))


def _scale(x: Numbers) -> Numbers:
    """Root mean squares, `[F]`: the spread around nothing, since either side may come first."""
    spread = np.sqrt(np.mean(x**2, axis=0))
    return np.where(spread > 0, spread, 1.0)


def fit(x: Numbers, ridge: float = RIDGE, steps: int = 100) -> Numbers:
    """Weights `[F]` that minimise the sum of log(1 + exp(-x·w)) + ridge/2 |w|², by Newton's method with halving.

    Every row of `x` `[N, F]` is a case won; with no intercept its mirror image would add nothing. The loss is
    strictly convex, so there is one answer, also where features repeat each other or separate the rows.
    """
    weights = np.zeros(x.shape[1])
    value = _loss(x, weights, ridge)
    for _ in range(steps):
        lost = 0.5 * (1 - np.tanh((x @ weights) / 2))  # the chance of losing, 1 - sigmoid
        gradient = ridge * weights - x.T @ lost
        curvature = (x * (lost * (1 - lost))[:, None]).T @ x + ridge * np.eye(x.shape[1])
        step = np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < 1e-12 * (1 + value):
            break
        length = 1.0
        while (new := _loss(x, weights - length * step, ridge)) > value and length > 1e-8:
            length /= 2
        weights, value = weights - length * step, new
    return weights


def _loss(x: Numbers, weights: Numbers, ridge: float) -> float:
    return float(np.logaddexp(0, -(x @ weights)).sum() + ridge / 2 * (weights @ weights))
