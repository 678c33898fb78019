"""Imitation: the likelihood of demonstrations, chosen sides and gold answers."""

from typing import TYPE_CHECKING, Literal

from pairgen.train.objectives.views import Side

if TYPE_CHECKING:
    from torch import Tensor

Norm = Literal["token", "example", "sum"]


def nll(x: Side, *, norm: Norm = "token") -> "Tensor":
    """Negative log-likelihood of completions.

    `token`: mean over the step's target tokens (the trainer divides); `example`: mean over tokens
    within each completion, then over completions; `sum`: whole completions, then their mean.
    """
    return -x.mean_B if norm == "example" else -x.logps_B
