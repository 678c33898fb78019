"""Pearson, Spearman and Kendall (tau-b) between what a judge gave and what was given, by prompt.

Standard errors are the delete-one-prompt jackknife's; more than 500 prompts are left out in 500 groups.
A coefficient is undefined where one side does not vary:
then it has no mean, and is never a zero.

Shapes: N rated answers, of I different ratings on one side and J on the other.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from pairgen.evals.agreement import jackknife_error
from pairgen.evals.benchmark import Estimate, EvalItem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUPS = 500
"""Parts left out in turn, at most."""


def correlations(rows: Sequence[EvalItem], given: Mapping[int, float | None]) -> dict[str, Estimate]:
    """The three coefficients of `given` (by `id(row)`) with each row's first gold rating."""
    import numpy as np

    kept = [(row, value) for row in rows if row.ratings and (value := given[id(row)]) is not None]
    x_N = np.array([value for _, value in kept], dtype=float)
    y_N = np.array([row.ratings[0] for row, _ in kept], dtype=float)
    clusters = _clusters([row for row, _ in kept])
    groups = [list(chain(*clusters[start::GROUPS])) for start in range(min(GROUPS, len(clusters)))]
    unscored = len(rows) - len(kept)

    def number(value: float | None, left_out: list[float | None]) -> Estimate:
        error = None if value is None else jackknife_error(left_out)
        return Estimate(value, error, 0 if value is None else len(clusters), unscored)

    ranks = (ranked(x_N), ranked(y_N))
    rest = [np.delete(np.arange(len(kept)), group) for group in groups]
    return {
        "pearson": number(pearson(x_N, y_N), [pearson(x_N[i], y_N[i]) for i in rest]),
        "spearman": number(pearson(*ranks), [pearson(ranked(x_N[i]), ranked(y_N[i])) for i in rest]),
        "kendall": number(*kendall(x_N, y_N, groups)),
    }


def _clusters(rows: Sequence[EvalItem]) -> "list[list[int]]":
    """The places of the rows of each prompt."""
    places: dict[object, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(place if row.cluster is None else row.cluster, []).append(place)
    return list(places.values())


def pearson(x_N: "NDArray[np.float64]", y_N: "NDArray[np.float64]") -> float | None:
    """The product-moment correlation; None where a side does not vary."""
    if len(x_N) < 2 or (x_N == x_N[0]).all() or (y_N == y_N[0]).all():
        return None
    dx_N, dy_N = x_N - x_N.mean(), y_N - y_N.mean()
    return float(dx_N @ dy_N / math.sqrt(float(dx_N @ dx_N) * float(dy_N @ dy_N)))


def ranked(x_N: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Ranks from 1, equal values sharing the mean of theirs."""
    import numpy as np

    values, inverse_N, counts = np.unique(x_N, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    means: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse_N] if len(values) else x_N
    return means


def kendall(
    x_N: "NDArray[np.float64]", y_N: "NDArray[np.float64]", clusters: Sequence[Sequence[int]] = (),
) -> tuple[float | None, list[float | None]]:
    """Kendall's tau-b, and tau-b without each cluster in turn.

    Sums over pairs of the product of signs and of the untied pairs of each side are kept by row, so that
    leaving out a cluster takes its rows' sums away and gives the pairs within it back once.
    """
    import numpy as np

    sums_N3 = _sums(x_N, y_N)
    total_3 = sums_N3.sum(axis=0)
    left_out = []
    for cluster in clusters:
        inside = np.asarray(cluster)
        own_3 = _sums(x_N[inside], y_N[inside]).sum(axis=0)
        left_out.append(_tau(total_3 - 2 * sums_N3[inside].sum(axis=0) + own_3))
    return _tau(total_3), left_out


def _sums(x_N: "NDArray[np.float64]", y_N: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """For each row over all others: concordant minus discordant, those untied in x, those untied in y.

    Counted in the table of different values: four corners of cumulative sums around each cell.
    """
    import numpy as np

    x_I, i_N = np.unique(x_N, return_inverse=True)
    y_J, j_N = np.unique(y_N, return_inverse=True)
    upto = np.zeros((len(x_I) + 1, len(y_J) + 1))
    np.add.at(upto, (i_N + 1, j_N + 1), 1)
    upto = upto.cumsum(axis=0).cumsum(axis=1)  # rows with x below i and y below j
    below_N, above_N = upto[i_N, j_N], len(x_N) - upto[i_N + 1, -1] - upto[-1, j_N + 1] + upto[i_N + 1, j_N + 1]
    left_N, right_N = upto[i_N, -1] - upto[i_N, j_N + 1], upto[-1, j_N] - upto[i_N + 1, j_N]
    tied_x_N, tied_y_N = upto[i_N + 1, -1] - upto[i_N, -1], upto[-1, j_N + 1] - upto[-1, j_N]
    return np.stack([below_N + above_N - left_N - right_N, len(x_N) - tied_x_N, len(x_N) - tied_y_N], axis=1)


def _tau(sums_3: "NDArray[np.float64]") -> float | None:
    concordance, untied_x, untied_y = map(float, sums_3)
    return concordance / math.sqrt(untied_x * untied_y) if untied_x and untied_y else None
