"""Losses on the scalar a reward head gives each side."""

from typing import TYPE_CHECKING

from pairgen.train.objectives.maths import NotNegative, nl
from pairgen.train.objectives.views import Rewards, needed

if TYPE_CHECKING:
    from torch import Tensor


def bt(x: Rewards, *, center: NotNegative = 0.0) -> "Tensor":
    """nl(chosen - rejected) + center (chosen + rejected)^2: Bradley-Terry, kept near 0 (2312.09244: 0.01)."""
    return _bradley_terry(x, x.chosen_B - x.rejected_B, center)


def bt_margin(x: Rewards, *, center: NotNegative = 0.0) -> "Tensor":
    """Bradley-Terry where rewards should differ by each pair's margin. Touvron et al. 2307.09288, Eq. 2."""
    return _bradley_terry(x, x.chosen_B - x.rejected_B - needed(x.margin_B, "margin"), center)


def _bradley_terry(x: Rewards, gap_B: "Tensor", center: float) -> "Tensor":
    return nl(gap_B) + center * (x.chosen_B + x.rejected_B) ** 2
