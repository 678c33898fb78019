"""Losses on one pair without a reference: the policy's own log-probs, summed or per token."""

from typing import TYPE_CHECKING, Literal

from pairgen.train.objectives.maths import (
    FlipRate,
    NotNegative,
    Positive,
    Real,
    below_zero,
    log1mexp,
    nl,
    room,
)
from pairgen.train.objectives.views import Pairs, Side

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["sigmoid", "hinge", "ipo"]


def simpo(x: Pairs, *, beta: Positive = 2.0, gamma: Real = 1.0) -> "Tensor":
    """nl(beta (difference of log-probs per token) - gamma). Meng et al. 2405.14734."""
    return nl(beta * (x.chosen.mean_B - x.rejected.mean_B) - gamma)


def alphapo(x: Pairs, *, beta: Positive = 2.5, gamma: Real = 0.1, alpha: Real = 0.25) -> "Tensor":
    """SimPO on `alpha_rewards_B`. Gupta et al. 2501.03884."""
    return nl(beta * (alpha_rewards_B(x.chosen, alpha) - alpha_rewards_B(x.rejected, alpha)) - gamma)


def alpha_rewards_B(side: Side, alpha: float) -> "Tensor":
    """(1 - p^-alpha) / alpha of the mean token probability p: its logarithm at alpha 0, as in SimPO.

    The exponent stops where the power leaves no room for a beta: at 80 in fp32.
    """
    if not alpha:
        return side.mean_B
    return -(-alpha * side.mean_B).clamp(max=room(side.mean_B, 80.0)).expm1() / alpha


def cpo(x: Pairs, *, beta: Positive = 0.1, flip: FlipRate = 0.0, form: Form = "sigmoid") -> "Tensor":
    """DPO, hinge or averaged IPO with a uniform reference: the preference term only. Xu et al. 2401.08417.

    `flip` is the share of labels believed wrong: that much of the loss is the swapped pair's.
    """
    h_B = x.chosen.mean_B - x.rejected.mean_B if form == "ipo" else x.chosen.logps_B - x.rejected.logps_B
    return (1 - flip) * _preferred(h_B, beta, form) + flip * _preferred(-h_B, beta, form)


def _preferred(h_B: "Tensor", beta: float, form: Form) -> "Tensor":
    if form == "ipo":
        return (h_B - 1 / (2 * beta)) ** 2
    return nl(beta * h_B) if form == "sigmoid" else (1 - beta * h_B).relu()


def orpo(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """beta nl(log odds ratio) of probabilities per token: the odds term only. Hong et al. 2403.07691."""
    return beta * nl(log_odds_B(x))


def log_odds_B(x: Pairs) -> "Tensor":
    """Log of the odds p/(1 - p) of the chosen side's mean token probability over the rejected side's."""
    chosen_B, rejected_B = below_zero(x.chosen.mean_B), below_zero(x.rejected.mean_B)
    return (chosen_B - rejected_B) - (log1mexp(chosen_B) - log1mexp(rejected_B))


def slic(x: Pairs, *, delta: NotNegative = 1.0, imitate: NotNegative = 0.1) -> "Tensor":
    """max(0, delta - (chosen - rejected)) - imitate * chosen, of summed log-probs. Zhao et al. 2305.10425.

    `imitate` is the paper's lambda, with the chosen side as the target of its regulariser (HALOs).
    """
    chosen_B = x.chosen.logps_B
    return (delta - chosen_B + x.rejected.logps_B).relu() - imitate * chosen_B
