"""Losses on one pair that read outside scores of its sides, from a reward model or a judge."""

from typing import TYPE_CHECKING

from pairgen.train.objectives.maths import Positive, Real, nl
from pairgen.train.objectives.pairwise import apo_down, apo_zero
from pairgen.train.objectives.views import Pairs, needed

if TYPE_CHECKING:
    from torch import Tensor


def reward_aware_po_bwd(x: Pairs, *, beta: Positive = 0.2, eta: Positive = 1.0) -> "Tensor":
    """KL(scores || policy) of who wins: DPO with soft labels, less their entropy. Sun et al. 2502.00203."""
    return _kl_of_winning(score_gap(x, eta), beta * x.h)


def reward_aware_po_fwd(x: Pairs, *, beta: Positive = 0.2, eta: Positive = 1.0) -> "Tensor":
    """KL(policy || scores) of who wins: EXO with the pair's own label noise. Sun et al. 2502.00203."""
    return _kl_of_winning(beta * x.h, score_gap(x, eta))


def reward_aware_po_sq(x: Pairs, *, beta: Positive = 0.2, eta: Positive = 1.0) -> "Tensor":
    """Squared distance of the implicit from the scored margin. Sun et al. 2502.00203."""
    return (beta * x.h - score_gap(x, eta)) ** 2


def score_gap(x: Pairs, eta: float) -> "Tensor":
    """eta (chosen score - rejected score)."""
    return eta * (needed(x.chosen.score_B, "chosen_score") - needed(x.rejected.score_B, "rejected_score"))


def _kl_of_winning(z: "Tensor", y: "Tensor") -> "Tensor":
    """KL between coins that land heads with s(z) and s(y)."""
    return z.sigmoid() * (nl(y) - nl(z)) + (-z).sigmoid() * (nl(-y) - nl(-z))


def apo_auto(x: Pairs, *, beta: Positive = 0.1, margin: Real = 0.0) -> "Tensor":
    """APO-zero for pairs whose winner is at least `margin` better than what the policy would write, else APO-down.

    The choice per pair that 2408.06266 (5.3.2) makes per data set, and leaves to future work.
    """
    return apo_zero(x, beta=beta).where(apo_auto_mask(x, margin=margin), apo_down(x, beta=beta))


def apo_auto_mask(x: Pairs, *, margin: Real = 0.0, beta: Positive = 0.1) -> "Tensor":
    """[B] bool: where the winner is as good as the policy's own answer or better, so that `apo-auto` is APO-zero.

    A winner that ties is not lowered: it is what the policy should write. Takes the parameters of the
    loss as they stand; beta has no part in the choice.
    """
    return needed(x.chosen.score_B, "chosen_score") >= needed(x.policy_score_B, "policy_score") + margin
