"""Losses on one pair against a reference.

Letters: c and j are the log-ratios policy/reference of chosen and rejected, h = c - j, s the sigmoid,
nl(z) = -log s(z). Formulas are those of the papers named.
"""

import math
from typing import TYPE_CHECKING

from pairgen.train.objectives.maths import FlipRate, LabelNoise, Positive, Real, nl, smoothed_nl
from pairgen.train.objectives.views import Pairs

if TYPE_CHECKING:
    from torch import Tensor


def dpo(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """nl(beta h). Rafailov et al. 2305.18290, Eq. 7."""
    return nl(beta * x.h)


def cdpo(x: Pairs, *, beta: Positive = 0.1, flip: FlipRate = 0.1) -> "Tensor":
    """DPO with labels believed flipped at rate `flip`. Mitchell, "A note on DPO with noisy preferences", Eq. 3."""
    return smoothed_nl(beta * x.h, flip)


def robust(x: Pairs, *, beta: Positive = 0.1, flip: FlipRate = 0.1) -> "Tensor":
    """DPO unbiased under flips; unbounded below. Chowdhury et al. 2403.00409."""
    return ((1 - flip) * nl(beta * x.h) - flip * nl(-beta * x.h)) / (1 - 2 * flip)


def ipo(x: Pairs, *, beta: Positive = 0.1, average: bool = True) -> "Tensor":
    """(h - 1/(2 beta))^2, log-ratios per token unless `average` is off. Azar et al. 2310.12036, Eq. 17."""
    h = x.chosen.mean_ratio_B - x.rejected.mean_ratio_B if average else x.h
    return (h - 1 / (2 * beta)) ** 2


def hinge(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """max(0, 1 - beta h): SLiC in the form of Liu et al. 2309.06657; 1/beta is the margin."""
    return (1 - beta * x.h).relu()


def sigmoid_norm(x: Pairs, *, beta: Positive = 5.0) -> "Tensor":
    """DPO on log-ratios per token. Tulu 3, 2411.15124 (beta 5)."""
    return nl(beta * (x.chosen.mean_ratio_B - x.rejected.mean_ratio_B))


def exo(x: Pairs, *, beta: Positive = 0.1, noise: LabelNoise = 1e-3) -> "Tensor":
    """Reverse KL between the pair's policy and its smoothed label. Ji et al. 2402.00856, Eq. 16."""
    log_p, log_q = -nl(beta * x.h), -nl(-beta * x.h)
    return log_p.exp() * (log_p - math.log1p(-noise)) + log_q.exp() * (log_q - math.log(noise))


def nca(x: Pairs, *, beta: Positive = 0.01) -> "Tensor":
    """nl(beta c) + nl(-beta c)/2 + nl(-beta j)/2. Chen et al. 2402.05369."""
    return nl(beta * x.c) + 0.5 * nl(-beta * x.c) + 0.5 * nl(-beta * x.j)


def bco_pair(x: Pairs, *, beta: Positive = 0.01, delta: Real = 0.0) -> "Tensor":
    """nl(beta c - delta) + nl(-(beta j - delta)), the reward shift fixed. Jung et al. 2404.04656."""
    return nl(beta * x.c - delta) + nl(delta - beta * x.j)


def bco_pair_running(x: Pairs, *, beta: Positive = 0.01) -> "Tensor":
    """BCO with the shift of the paper: the mean of all rewards up to this step, which `x.delta` holds."""
    return bco_pair(x, beta=beta, delta=x.delta)


def sppo_hard(x: Pairs, *, beta: Positive = 0.001) -> "Tensor":
    """(c - 1/(2 beta))^2 + (j + 1/(2 beta))^2. Wu et al. 2405.00675, hard labels."""
    return (x.c - 0.5 / beta) ** 2 + (x.j + 0.5 / beta) ** 2


def apo_zero(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """(1 - s(beta c)) + s(beta j): chosen up, rejected down. 2408.06266, Eq. 7 plus 1."""
    return (-beta * x.c).sigmoid() + (beta * x.j).sigmoid()


def apo_down(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """s(beta c) + (1 - s(beta h)): both down, rejected more. 2408.06266, Eq. 8 plus 1."""
    return (beta * x.c).sigmoid() + (-beta * x.h).sigmoid()


def discopop(x: Pairs, *, beta: Positive = 0.05, tau: Positive = 0.05) -> "Tensor":
    """nl(x)(1 - m) + exp(-x) m with m = s(x / tau). Lu et al. 2406.08414, Eq. 5.

    Not convex: at x = 0 its gradient lowers the chosen side.
    """
    z = beta * x.h
    # exp(-z) alone overflows where m vanishes, so the two are multiplied as exponents
    return nl(z) * (-z / tau).sigmoid() + (-z - nl(z / tau)).exp()
