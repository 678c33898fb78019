"""Losses on single completions known to be desirable or not; values of the desirable ones come first.

Letters: c and j are the log-ratios of desirable and undesirable completions, s the sigmoid.
"""

from typing import TYPE_CHECKING

from pairgen.train.objectives.maths import NotNegative, Positive, joined, nl
from pairgen.train.objectives.views import Unpaired, needed

if TYPE_CHECKING:
    from torch import Tensor


def kto(
    x: Unpaired, *, beta: Positive = 0.1, desirable_weight: NotNegative = 1.0, undesirable_weight: NotNegative = 1.0
) -> "Tensor":
    """1 - s(beta (c - z)) and 1 - s(beta (z - j)), each times its class's weight. 2402.01306, Eq. 8.

    z is the step's KL from the reference, without gradient and never below 0. The paper keeps
    desirable_weight * desirable / (undesirable_weight * undesirable) between 1 and 4/3.
    """
    z = needed(x.stranger_ratio_B, "log-probs under strangers' prompts").mean().clamp(min=0).detach()
    desirable_B = (beta * (z - x.desirable.ratio_B)).sigmoid()
    return joined(desirable_weight * desirable_B, undesirable_weight * (beta * (x.undesirable.ratio_B - z)).sigmoid())


def apo_zero_unpaired(x: Unpaired, *, beta: Positive = 0.1) -> "Tensor":
    """1 - s(beta c) and s(beta j): KTO with the KL taken as zero, so that rows need not meet. 2408.06266."""
    return joined((-beta * x.desirable.ratio_B).sigmoid(), (beta * x.undesirable.ratio_B).sigmoid())


def bco(x: Unpaired, *, beta: Positive = 0.1) -> "Tensor":
    """nl(beta c - d) and nl(d - beta j), d the mean of all rewards up to this step. Jung et al. 2404.04656."""
    return joined(nl(beta * x.desirable.ratio_B - x.delta), nl(x.delta - beta * x.undesirable.ratio_B))


def bco_matched(x: Unpaired, *, beta: Positive = 0.1) -> "Tensor":
    """BCO with undesirable rows weighted as if their prompts were those of the desirable. 2404.04656, 4.3."""
    weight_B = needed(x.undesirable_weight_B, "weights of undesirable rows")
    values_B, desirable = bco(x, beta=beta), len(x.desirable.logps_B)
    return joined(values_B[:desirable], weight_B * values_B[desirable:])
