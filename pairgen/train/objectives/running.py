"""The running mean of rewards that BCO shifts by: state of the trainer, kept in its checkpoints."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairgen.train.objectives.views import Pairs, Unpaired

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class RunningMean:
    """Mean of `count` numbers. Python floats, which JSON holds exactly."""

    mean: float = 0.0
    count: int = 0


def running_mean(state: RunningMean, rewards_B: "Tensor") -> RunningMean:
    """The mean of everything so far: each number counts once, however they came in batches."""
    count = state.count + len(rewards_B)
    if not count:
        return state
    return RunningMean(state.mean + (rewards_B.detach().double() - state.mean).sum().item() / count, count)


def rewards_of(x: Pairs | Unpaired, beta: float) -> "Tensor":
    """Every implicit reward of a step, without gradient: beta times the log-ratios of both sides.

    BCO counts a step's own rewards before its loss, so the trainer updates first and then sets `delta`.
    """
    from torch import cat

    first, second = (x.chosen, x.rejected) if isinstance(x, Pairs) else (x.desirable, x.undesirable)
    return beta * cat([first.ratio_B, second.ratio_B]).detach()
