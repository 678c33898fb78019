"""What a step says of itself: sums over its micro-batches, and the line they become.

`reward` is beta times the log-ratio to the reference, always of summed log-probs. Names: B rows.
"""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from pairgen.fingerprint import JSON
from pairgen.train.objectives import Pairs, Targets

SATURATED = 6.0
"""Beyond this |reward| the gradient of a sigmoid loss is below 1 % of its greatest, right or wrong."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimizer step. Pair numbers are means over its pairs, None in a step without any.

    `nll` is per target token of demonstrations and chosen sides; `logps_*` are summed per completion;
    `saturated` is the share of sides whose |reward| exceeds 6; `tokens` counts those computed.
    """

    step: int
    steps: int
    loss: float
    nll: float
    lr: float
    grad_norm: float
    tokens: int
    seconds: float
    rewards_chosen: float | None = None
    rewards_rejected: float | None = None
    margin: float | None = None
    accuracy: float | None = None
    logps_chosen: float | None = None
    logps_rejected: float | None = None
    saturated: float | None = None

    def metrics(self) -> dict[str, JSON]:
        """The numbers that say how training went, without clock and counters."""
        clock = {"step", "steps", "tokens", "seconds"}
        return {k: v for k, v in asdict(self).items() if k not in clock and v is not None}


@dataclass(slots=True)
class Tally:
    """Sums over the micro-batches of a step."""

    beta: float
    has_reference: bool
    loss: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    logps: float = 0.0
    target_tokens: float = 0.0
    pairs: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, loss: Tensor, targets: Targets, pairs: Pairs, tokens: int) -> None:
        """Count a micro-batch."""
        self.loss += loss.item()
        self.tokens += tokens
        self.logps += targets.logps_B.sum().item()
        self.target_tokens += targets.tokens_B.sum().item()
        self.pairs += len(pairs.chosen_B)
        for name, value in self._pair_sums(pairs).items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _pair_sums(self, x: Pairs) -> dict[str, float]:
        if not len(x.chosen_B):
            return {}
        chosen_B, rejected_B = self.beta * x.c, self.beta * x.j
        saturated_B = (chosen_B.abs() > SATURATED).float() + (rejected_B.abs() > SATURATED).float()
        parts = {
            "rewards_chosen": chosen_B, "rewards_rejected": rejected_B, "margin": chosen_B - rejected_B,
            "accuracy": (chosen_B > rejected_B).float(), "logps_chosen": x.chosen_B,
            "logps_rejected": x.rejected_B, "saturated": saturated_B / 2,
        }
        names = parts if self.has_reference else parts.keys() - {"saturated"}
        return {name: parts[name].sum().item() for name in names}

    def log(self, step: int, steps: int, lr: float, seconds: float) -> StepLog:
        """The step's line."""
        means = {name: total / self.pairs for name, total in self.sums.items()}
        return StepLog(step=step, steps=steps, loss=self.loss, nll=-self.logps / self.target_tokens, lr=lr,
                       grad_norm=self.grad_norm, tokens=self.tokens, seconds=seconds, **means)
