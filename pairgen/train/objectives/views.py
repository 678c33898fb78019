"""What a loss sees of a step: sides of log-probabilities, in pairs, unpaired, or as rewards.

Log-probs are sums over target tokens, natural log, fp32; every tensor is [B], B rows, unless its name
says otherwise. A loss that mixes rows sees the whole step; any other may be given any part of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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

    @property
    def mean_ratio_B(self) -> "Tensor":
        """The log-ratio per token."""
        return self.ratio_B / self.tokens_B


Targets = Side
"""Completions to imitate: demonstrations, chosen sides, gold answers."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """B preference pairs. `policy_score_B` rates what the policy would write itself, on the scale of the
    sides' scores; `embedding_BE` is the prompt's, of any length but zero; `delta` is the running mean of rewards."""

    chosen: Side
    rejected: Side
    policy_score_B: "Tensor | None" = None
    embedding_BE: "Tensor | None" = None
    delta: float = 0.0

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
    estimate KL(policy || reference); `undesirable_weight_B` is how much more likely the prompt is among
    the desirable rows (`pairgen.train.density`); None unless needed. `delta` is the running mean of rewards.
    """

    desirable: Side
    undesirable: Side
    stranger_ratio_B: "Tensor | None" = None
    desirable_embedding_BE: "Tensor | None" = None
    undesirable_embedding_BE: "Tensor | None" = None
    undesirable_weight_B: "Tensor | None" = None
    delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a reward head gives the two sides of B pairs, and by how much they should differ."""

    chosen_B: "Tensor"
    rejected_B: "Tensor"
    margin_B: "Tensor | None" = None


def needed(value: "Tensor | None", name: str) -> "Tensor":
    """A field that an objective's `needs` names. Raises ValueError where the caller did not fill it."""
    if value is None:
        raise ValueError(f"this objective reads {name}, which its batch lacks")
    return value
