"""Losses as pure functions of log-probabilities: one value per row, nothing averaged, nothing kept.

The trainer owns the reduction: it divides by the rows (or target tokens) of the whole optimizer step,
so no loss here knows of micro-batches. Adding an objective is one function and one line in OBJECTIVES;
its keyword arguments are its YAML parameters, with their defaults and limits. This module needs torch
only for the tensors it is given, so that a config can be checked where torch is not installed.

Letters of the formulas, all [B]: c and j are the log-ratios policy/reference of chosen and rejected,
h = c - j, s the sigmoid, nl(z) = -log s(z). Log-probs are sums over target tokens, natural log, fp32.
Names: B rows of a batch. Formulas are those of the papers named; `tests/train/golden_losses.json` holds
values of the authors' or TRL's code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Real = Annotated[float, Field(allow_inf_nan=False)]
FlipRate = Annotated[float, Field(ge=0, lt=0.5)]
LabelNoise = Annotated[float, Field(gt=0, lt=0.5)]
Norm = Literal["token", "example", "sum"]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of B rows, [B] each: summed log-probs under policy and reference, and target tokens.

    Without a reference `ref_B` is zeros, so that `beta * ratio_B` is still the implicit reward. The rest
    is None unless an objective's `needs` names it: `tail_B` and `ref_tail_B` are the log-probs of the
    tokens beyond the shorter side's length (LD-DPO), `certainty_B` the mean over tokens of
    log p_t - log sum_v p_v^2 (WPO, no gradient), `score_B` an outside score of the completion.
    """

    logps_B: "Tensor"
    ref_B: "Tensor"
    tokens_B: "Tensor"
    tail_B: "Tensor | None" = None
    ref_tail_B: "Tensor | None" = None
    certainty_B: "Tensor | None" = None
    score_B: "Tensor | None" = None

    @property
    def ratio_B(self) -> "Tensor":
        """The log-ratio policy/reference."""
        return self.logps_B - self.ref_B

    @property
    def mean_B(self) -> "Tensor":
        """The log-prob per token."""
        return self.logps_B / self.tokens_B


@dataclass(frozen=True, slots=True)
class Pairs:
    """B preference pairs. `policy_score_B` rates what the policy would write itself, on the scale of the
    sides' scores; `embedding_BE` is the prompt's, of length 1."""

    chosen: Side
    rejected: Side
    policy_score_B: "Tensor | None" = None
    embedding_BE: "Tensor | None" = None

    @property
    def c(self) -> "Tensor":
        """Log-ratio of the chosen side."""
        return self.chosen.ratio_B

    @property
    def j(self) -> "Tensor":
        """Log-ratio of the rejected side."""
        return self.rejected.ratio_B

    @property
    def h(self) -> "Tensor":
        """The margin c - j."""
        return self.c - self.j


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Desirable and undesirable completions, numbers of their own: a pair gives one of each.

    `stranger_ratio_B` are log-ratios of completions under prompts they were not written for, which
    estimate KL(policy || reference); None unless needed. `delta` is the running mean of rewards.
    """

    desirable: Side
    undesirable: Side
    stranger_ratio_B: "Tensor | None" = None
    desirable_embedding_BE: "Tensor | None" = None
    undesirable_embedding_BE: "Tensor | None" = None
    delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a reward head gives the two sides of B pairs, and by how much they should differ."""

    chosen_B: "Tensor"
    rejected_B: "Tensor"
    margin_B: "Tensor | None" = None


def nl(z: "Tensor") -> "Tensor":
    """-log sigmoid(z), exact for any z: log(1 + exp(-z)) without overflow."""
    return (-z).logaddexp(z.new_zeros(()))


def nll(x: Targets, *, norm: Norm = "token") -> "Tensor":
    """Negative log-likelihood of demonstrations and chosen sides.

    `token`: mean over the step's target tokens (the trainer divides); `example`: mean over tokens
    within each completion, then over completions; `sum`: whole completions, then their mean.
    """
    return -x.logps_B / x.tokens_B if norm == "example" else -x.logps_B


def dpo(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """nl(beta h). Rafailov et al. 2305.18290, Eq. 7."""
    return nl(beta * x.h)


def cdpo(x: Pairs, *, beta: Positive = 0.1, flip: FlipRate = 0.1) -> "Tensor":
    """DPO with labels believed flipped at rate `flip`. Mitchell, "A note on DPO with noisy preferences", Eq. 3."""
    return (1 - flip) * nl(beta * x.h) + flip * nl(-beta * x.h)


def robust(x: Pairs, *, beta: Positive = 0.1, flip: FlipRate = 0.1) -> "Tensor":
    """DPO unbiased under flips; unbounded below. Chowdhury et al. 2403.00409."""
    return ((1 - flip) * nl(beta * x.h) - flip * nl(-beta * x.h)) / (1 - 2 * flip)


def ipo(x: Pairs, *, beta: Positive = 0.1, average: bool = True) -> "Tensor":
    """(h - 1/(2 beta))^2, log-ratios per token unless `average` is off. Azar et al. 2310.12036, Eq. 17."""
    h = x.c / x.chosen_tokens_B - x.j / x.rejected_tokens_B if average else x.h
    return (h - 1 / (2 * beta)) ** 2


def hinge(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """max(0, 1 - beta h): SLiC in the form of Liu et al. 2309.06657; 1/beta is the margin."""
    return (1 - beta * x.h).relu()


def sigmoid_norm(x: Pairs, *, beta: Positive = 5.0) -> "Tensor":
    """DPO on log-ratios per token. Tulu 3, 2411.15124 (beta 5)."""
    return nl(beta * (x.c / x.chosen_tokens_B - x.j / x.rejected_tokens_B))


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


def simpo(x: Pairs, *, beta: Positive = 2.0, gamma: Real = 1.0) -> "Tensor":
    """nl(beta (difference of log-probs per token) - gamma), no reference. Meng et al. 2405.14734."""
    return nl(beta * (x.mean_chosen_B - x.mean_rejected_B) - gamma)


def cpo(x: Pairs, *, beta: Positive = 0.1, flip: FlipRate = 0.0) -> "Tensor":
    """nl(beta (chosen - rejected)), no reference: the preference term only. Xu et al. 2401.08417."""
    z = beta * (x.chosen_B - x.rejected_B)
    return (1 - flip) * nl(z) + flip * nl(-z)


def orpo(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """beta nl(log odds ratio) of probabilities per token: the odds term only. Hong et al. 2403.07691."""
    chosen, rejected = (_below_zero(a) for a in (x.mean_chosen_B, x.mean_rejected_B))
    return beta * nl((chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected)))


def _below_zero(logps_B: "Tensor") -> "Tensor":
    """A certain token (log-prob 0) has infinite odds: keep a distance that fp32 can represent."""
    return logps_B.clamp(max=-1e-6)


def _log1mexp(a: "Tensor") -> "Tensor":
    """log(1 - exp(a)) for a < 0, by the branch that keeps its digits. Maechler 2012."""
    return (-a.expm1()).log().where(a > -math.log(2), (-a.exp()).log1p())


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss and what it needs: which rows it reads, and whether it compares with a reference model."""

    loss: "Callable[..., Tensor]"
    on: Literal["targets", "pairs"] = "pairs"
    needs_reference: bool = True


OBJECTIVES: dict[str, Objective] = {
    "nll": Objective(nll, on="targets", needs_reference=False),
    "dpo": Objective(dpo),
    "cdpo": Objective(cdpo),
    "robust": Objective(robust),
    "ipo": Objective(ipo),
    "hinge": Objective(hinge),
    "sigmoid-norm": Objective(sigmoid_norm),
    "exo": Objective(exo),
    "nca": Objective(nca),
    "bco-pair": Objective(bco_pair),
    "sppo-hard": Objective(sppo_hard),
    "apo-zero": Objective(apo_zero),
    "apo-down": Objective(apo_down),
    "discopop": Objective(discopop),
    "simpo": Objective(simpo, needs_reference=False),
    "cpo": Objective(cpo, needs_reference=False),
    "orpo": Objective(orpo, needs_reference=False),
}
