"""How much likelier a prompt is among the desirable rows than among the undesirable: BCO's weights.

A logistic classifier on prompt embeddings tells the two apart; the odds it gives a prompt are the ratio
of the two densities, since the classes count equally however many rows each has. It is fitted once, before
training. Jung et al. 2404.04656, section 4.3, with the constants of TRL's BCO trainer.
Names: M rows of the training set, N rows of a class, E numbers of an embedding.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pairgen.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

SAMPLE = 1024
LEAST, GREATEST = 0.5, 10.0
ENOUGH = 1e-10


@dataclass(frozen=True, slots=True)
class Density:
    """The fitted classifier: log-odds of being desirable are `slope_E` times the embedding, plus `bias`."""

    slope_E: Array
    bias: float

    def log_ratio_N(self, embedding_NE: Array) -> Array:
        """[N]: log of desirable over undesirable density at each prompt."""
        found: Array = np.asarray(embedding_NE, dtype=np.float64) @ self.slope_E + self.bias
        return found

    def weight_N(self, embedding_NE: Array) -> Array:
        """[N]: the density ratio p/(1 - p), kept within [0.5, 10]: what an undesirable row's loss is multiplied by."""
        return np.exp(np.clip(self.log_ratio_N(embedding_NE), np.log(LEAST), np.log(GREATEST)))


def density_ratio(
    embedding_ME: "Tensor", desirable_M: "Tensor", undesirable_M: "Tensor | None" = None, seed: int = 0
) -> "Tensor":
    """[M]: the weight of every row were it undesirable, by its prompt.

    The flags say which classes a row has a completion of; a pair has one of each. Without the second,
    rows that are not desirable are undesirable. Raises UsageError where a class is empty.
    """
    from torch import from_numpy

    if undesirable_M is None:
        undesirable_M = ~desirable_M
    rows_ME = embedding_ME.double().cpu()
    fitted = fit_density(rows_ME[desirable_M].numpy(), rows_ME[undesirable_M].numpy(), seed)
    return from_numpy(fitted.weight_N(rows_ME.numpy())).to(embedding_ME)


def fit_density(desirable_NE: Array, undesirable_NE: Array, seed: int = 0, sample: int = SAMPLE) -> Density:
    """Fit on at most `sample` prompts of each class, drawn by `seed`.

    Minimises |slope|^2 / 2 plus the logistic loss with each class weighted to half the rows, by Newton's
    method. Raises UsageError where a class is empty: there is nothing to tell apart.
    """
    draw = np.random.default_rng(seed)
    classes = [_sampled(np.asarray(x, dtype=np.float64), draw, sample) for x in (desirable_NE, undesirable_NE)]
    if not all(len(x) for x in classes):
        found = f"{len(classes[0])} desirable and {len(classes[1])} undesirable"
        raise UsageError(f"density weights compare prompts of two classes, found {found}; use bco without them")
    rows_NE = np.concatenate(classes)
    inputs_NF = np.concatenate([rows_NE, np.ones((len(rows_NE), 1))], axis=1)
    label_N = np.repeat([1.0, 0.0], [len(x) for x in classes])
    weight_N = np.repeat([len(rows_NE) / (2 * len(x)) for x in classes], [len(x) for x in classes])
    found_F = _newton(inputs_NF, label_N, weight_N)
    return Density(found_F[:-1], float(found_F[-1]))


def _sampled(rows_NE: Array, draw: np.random.Generator, sample: int) -> Array:
    return rows_NE if len(rows_NE) <= sample else rows_NE[np.sort(draw.choice(len(rows_NE), sample, replace=False))]


def _newton(inputs_NF: Array, label_N: Array, weight_N: Array) -> Array:
    """Coefficients [F], the last being the bias, which has no penalty. The loss is convex: halved steps always end."""
    penalty_F = np.ones(inputs_NF.shape[1])
    penalty_F[-1] = 0.0
    sign_N = 2 * label_N - 1

    def loss(at_F: Array) -> float:
        return float(weight_N @ np.logaddexp(0, -sign_N * (inputs_NF @ at_F)) + 0.5 * penalty_F @ at_F**2)

    at_F = np.zeros(inputs_NF.shape[1])
    for _ in range(100):
        chance_N = np.exp(-np.logaddexp(0, -(inputs_NF @ at_F)))
        slope_F = inputs_NF.T @ (weight_N * (chance_N - label_N)) + penalty_F * at_F
        curve_N = weight_N * chance_N * (1 - chance_N)
        step_F = np.linalg.solve((inputs_NF.T * curve_N) @ inputs_NF + np.diag(penalty_F), slope_F)
        promised = float(slope_F @ step_F)
        if promised < ENOUGH:
            break
        scale = 1.0
        while scale > 1e-8 and loss(at_F - scale * step_F) > loss(at_F) - 1e-4 * scale * promised:
            scale /= 2
        at_F = at_F - scale * step_F
    return at_F
