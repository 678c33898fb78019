"""The few functions and the limits that losses share."""

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Real = Annotated[float, Field(allow_inf_nan=False)]
FlipRate = Annotated[float, Field(ge=0, lt=0.5)]
LabelNoise = Annotated[float, Field(gt=0, lt=0.5)]
Share = Annotated[float, Field(ge=0, le=1)]


def nl(z: "Tensor") -> "Tensor":
    """-log sigmoid(z), exact for any z: log(1 + exp(-z)) without overflow."""
    return (-z).logaddexp(z.new_zeros(()))


def smoothed_nl(z: "Tensor", flip: float) -> "Tensor":
    """nl with a share `flip` of the labels believed wrong."""
    return (1 - flip) * nl(z) + flip * nl(-z)


def below_zero(logps_B: "Tensor") -> "Tensor":
    """A certain token (log-prob 0) has infinite odds: keep a distance that fp32 can represent."""
    return logps_B.clamp(max=-1e-6)


def log1mexp(a: "Tensor") -> "Tensor":
    """log(1 - exp(a)) for a < 0, by the branch that keeps its digits. Maechler 2012."""
    return (-a.expm1()).log().where(a > -math.log(2), (-a.exp()).log1p())


def room(values: "Tensor", single: float) -> float:
    """The greatest exponent taken: `single` in fp32 and below, in fp64 as far as a loss can still be a number."""
    return single if values.dtype.itemsize < 8 else 700.0


def joined(first_B: "Tensor", second_B: "Tensor") -> "Tensor":
    """The values of desirable completions, then of undesirable ones."""
    from torch import cat

    return cat([first_B, second_B])
