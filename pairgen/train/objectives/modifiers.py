"""What can be done to pairs before their loss, or to its values after: any loss whose `fits` names it takes it.

f-DPO changes how far a log-ratio counts, LD-DPO how much the longer side's tail does, WPO how much a
pair does by how likely the policy finds its words.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pairgen.train.objectives.maths import room
from pairgen.train.objectives.views import Pairs, Side, needed

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal["reverse-kl", "forward-kl", "js", "alpha"]
DivergenceAlpha = Annotated[float, Field(ge=0, lt=1)]

SQUARABLE = 36.0
"""The greatest exponent in fp32: a loss may square what it gives, and a small beta or alpha enlarge it."""

STEEPEST = 80.0
"""Where the alpha divergence's exponent stops in any precision, as in TRL."""


def with_divergence(x: Pairs, kind: Divergence, alpha: float = 0.5) -> Pairs:
    """The pairs with f'(u) for every log-ratio u. Wang et al. 2309.16240.

    reverse-kl: u; forward-kl: 1 - e^-u; js: log 2 + log s(u); alpha: (e^((alpha-1)u) - 1)/(alpha - 1),
    which is forward-kl at 0 and goes to reverse-kl at 1. Right only for losses that take the difference
    of the two sides, where the constant the derivation leaves out cancels.
    """
    if kind == "reverse-kl":
        return x
    return replace(x, chosen=_scored(x.chosen, kind, alpha), rejected=_scored(x.rejected, kind, alpha))


def _scored(side: Side, kind: Divergence, alpha: float) -> Side:
    """The side with f'(ratio) as its log-ratio: what it was made of is no longer told apart."""
    u_B = side.ratio_B
    if kind == "js":
        score_B = math.log(2) - (-u_B).logaddexp(u_B.new_zeros(()))
    elif kind == "forward-kl":
        score_B = 1 - (-u_B).clamp(max=room(u_B, SQUARABLE)).exp()
    else:
        score_B = ((alpha - 1) * u_B).clamp(max=min(STEEPEST, room(u_B, SQUARABLE))).expm1() / (alpha - 1)
    return replace(side, logps_B=score_B, ref_B=score_B.new_zeros(()).expand_as(score_B))


def with_ld(x: Pairs, alpha: float) -> Pairs:
    """The pairs with log-probs beyond the shorter side's length counted `alpha` times. Liu et al. 2409.06411.

    The reference's too, as in TRL 1.x; token counts stay.
    """
    return replace(x, chosen=_desensitised(x.chosen, alpha), rejected=_desensitised(x.rejected, alpha))


def _desensitised(side: Side, alpha: float) -> Side:
    logps_B = side.logps_B - (1 - alpha) * needed(side.tail_B, "tail log-probs")
    return replace(side, logps_B=logps_B, ref_B=side.ref_B - (1 - alpha) * needed(side.ref_tail_B, "reference tails"))


def wpo_weight(x: Pairs, clamp: bool = False) -> "Tensor":
    """[B]: what to multiply each pair's loss by, without gradient. Zhou et al. 2406.11827, Eq. 2, aligned by sampling.

    e^(certainty chosen + certainty rejected); `clamp` keeps it at most 1, as TRL did up to 0.28.
    """
    certainty_B = needed(x.chosen.certainty_B, "certainty") + needed(x.rejected.certainty_B, "certainty")
    weight_B = certainty_B.detach().exp()
    return weight_B.clamp(max=1) if clamp else weight_B
