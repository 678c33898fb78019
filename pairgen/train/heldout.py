"""A held-out set during training: how log-probs and rewards of both sides move (Figure 4 of 2408.06266).

Measured without gradients every few steps, always against the reference the training began with.

Names: M held-out examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pairgen.train.config import TrainConfig
from pairgen.train.crew import Crew
from pairgen.train.example import Example
from pairgen.train.metrics import numbers
from pairgen.train.model import Policy
from pairgen.train.outputs import measure
from pairgen.train.packing import MicroBatch, micro_batches
from pairgen.train.ranks import Ranks
from pairgen.train.reductions import step_loss, step_totals
from pairgen.train.sides import Known, Outputs, joined, readings


@dataclass(frozen=True, slots=True)
class Heldout:
    """Held-out examples and what is known of them."""

    examples: Sequence[Example]
    known: Known

    def numbers(self, config: TrainConfig, policy: Policy, crew: Crew, ranks: Ranks,
                delta: float = 0.0) -> dict[str, float]:
        """Loss and metrics, all rows taken as one step. `delta` is the training's running mean of rewards."""

        def look(batch: MicroBatch) -> Outputs:
            with torch.no_grad():  # a worker thread does not inherit it
                return measure(policy, batch, config.needs)

        policy.model.eval()
        plan = micro_batches(self.examples, config.micro_tokens, max(crew.parts, ranks.size))
        out = joined(ranks.map(look, plan, crew.map))
        policy.model.train()
        found = readings(out, self.known, is_reward=config.is_reward, delta=delta)
        with torch.no_grad():
            loss = step_loss(config, found, step_totals(config, self.examples)).item()
        return {"loss": loss, **numbers(config, found)}
