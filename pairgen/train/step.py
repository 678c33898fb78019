"""One optimizer step: micro-batches forward and backward, the loss a mean over all rows of the step.

Losses of single rows are summed micro-batch by micro-batch. A loss that mixes rows (KTO's baseline,
sorted transport, contrasts across prompts) cannot be cut up; such a step goes twice through the model:
first without gradients, for the log-prob of every side; the loss of the whole step gives each its
gradient; the second pass carries those into the weights. So no loss depends on the micro-batches.

Names: R rows of a micro-batch, S sides of a row, M examples of the step.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pairgen.errors import PairgenError
from pairgen.train.config import TrainConfig
from pairgen.train.crew import Crew
from pairgen.train.example import CHOSEN, GOLD, REJECTED, SIDES, Example
from pairgen.train.model import Policy
from pairgen.train.objectives import RunningMean
from pairgen.train.outputs import measure
from pairgen.train.packing import MicroBatch, micro_batches
from pairgen.train.ranks import Ranks, Turn
from pairgen.train.reductions import advanced, step_loss, step_totals
from pairgen.train.sharding import whole
from pairgen.train.sides import Known, Outputs, Reading, joined, readings


class Diverged(PairgenError):
    """A loss or gradient is no longer finite."""


LEARNT = (CHOSEN, REJECTED, GOLD)
"""The sides that gradients flow through: strangers only measure a divergence."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A step done: its rows' outputs before it, loss, gradient norm, running mean of rewards, tokens computed."""

    outputs: Outputs
    loss: float
    grad_norm: float
    rewards: RunningMean
    tokens: int


@dataclass(frozen=True, slots=True)
class Pulls:
    """The gradient of the step's loss by each side's value and tail, [M, S] each."""

    values_MS: Tensor
    tail_MS: Tensor | None

    def on(self, out: Outputs) -> Tensor:
        """A number whose gradient is theirs, for some of the rows."""
        there_RS = out.tokens_RS > 0
        total = torch.where(there_RS, out.values_RS, 0.0).mul(self.values_MS[out.rows_R]).sum()
        if out.tail_RS is not None and self.tail_MS is not None:
            total = total + torch.where(there_RS, out.tail_RS, 0.0).mul(self.tail_MS[out.rows_R]).sum()
        return total


@dataclass(frozen=True, slots=True)
class Part:
    """A micro-batch done; the gradients are there if they were not yet added."""

    outputs: Outputs
    grads: tuple[Tensor, ...] | None


@dataclass(frozen=True, slots=True)
class Stepper:
    """What every step of a training shares."""

    config: TrainConfig
    policy: Policy
    crew: Crew
    optimizer: torch.optim.Optimizer
    ranks: Ranks

    def take(self, examples: Sequence[Example], known: Known, lr: float, rewards: RunningMean) -> Taken:
        """Take a step on these examples at a learning rate. Raises Diverged when a number is not finite."""
        totals = step_totals(self.config, examples)
        plan = self._plan(examples, SIDES)
        pulls, seen, tokens = None, None, 0
        if self.config.coupled and len(plan) > 1:
            seen = self._seen(plan)
            rewards = self._advance(rewards, seen, known)
            pulls, tokens = self._pulls(seen, known, totals, rewards), sum(batch.tokens for batch in plan)
            plan = self._plan(examples, LEARNT)

        def work(turn: Turn[MicroBatch]) -> Part:
            out = measure(self.policy, turn.item, self.config.needs)
            if pulls is not None:
                loss = pulls.on(out)
            else:
                mean = self._advance(rewards, out, known) if self.config.coupled else rewards
                loss = step_loss(self.config, self._readings(out, known, mean), totals)
            return Part(out.detach(), self._backward(loss if turn.counts else 0.0 * loss))

        parts = list(self._accumulated(work, plan))
        tokens += sum(batch.tokens for batch in plan)
        found = seen or joined(self.ranks.gathered([part.outputs for part in parts]))
        if seen is None:
            rewards = self._advance(rewards, found, known)
        loss = step_loss(self.config, self._readings(found, known, rewards), totals).item()
        norm = self._clip()
        self._refuse_what_is_not_finite(found, examples, loss, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Taken(found, loss, norm, rewards, tokens)

    def _plan(self, examples: Sequence[Example], sides: Sequence[int]) -> list[MicroBatch]:
        return micro_batches(examples, self.config.micro_tokens, max(self.crew.parts, self.ranks.size), sides)

    def _readings(self, out: Outputs, known: Known, rewards: RunningMean) -> dict[str, Reading]:
        return readings(out, known, is_reward=self.config.is_reward, delta=rewards.mean)

    def _advance(self, rewards: RunningMean, out: Outputs, known: Known) -> RunningMean:
        """The running mean of rewards with this step's, where an objective reads it."""
        if "delta" not in self.config.needs:
            return rewards
        return advanced(self.config, self._readings(out.detach(), known, rewards), rewards)

    @torch.no_grad()
    def _seen(self, plan: Sequence[MicroBatch]) -> Outputs:
        """The whole step's outputs, without gradients."""
        return joined(self.ranks.map(self._look, plan, self.crew.map))

    def _look(self, batch: MicroBatch) -> Outputs:
        with torch.no_grad():  # a worker thread does not inherit it
            return measure(self.policy, batch, self.config.needs)

    def _pulls(self, seen: Outputs, known: Known, totals: Sequence[float], rewards: RunningMean) -> Pulls:
        values_MS = seen.values_RS.clone().requires_grad_()
        tail_MS = None if seen.tail_RS is None else seen.tail_RS.clone().requires_grad_()
        leaves = [values_MS] if tail_MS is None else [values_MS, tail_MS]
        out = Outputs(seen.rows_R, values_MS, seen.tokens_RS, tail_MS, seen.certainty_RS)
        loss = step_loss(self.config, self._readings(out, known, rewards), totals)
        found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return Pulls(found[0], None if tail_MS is None else found[1])

    def _backward(self, loss: Tensor) -> tuple[Tensor, ...] | None:
        """Gradients into the parameters, or returned where other micro-batches are in work beside."""
        if self.crew.shared:
            return torch.autograd.grad(loss, list(self.policy.trained.values()), allow_unused=True,
                                       materialize_grads=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return None

    def _accumulated(self, work: Callable[[Turn[MicroBatch]], Part], plan: Sequence[MicroBatch]) -> Iterator[Part]:
        """Each part of this rank, its gradients added in the order of the plan."""
        trained, turns = list(self.policy.trained.values()), self.ranks.turns(plan)
        for turn, part in zip(turns, self.crew.map(work, turns), strict=True):
            for parameter, grad in zip(trained, part.grads or (), strict=False):
                parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
            if turn.counts:
                yield part

    def _clip(self) -> float:
        trained = list(self.policy.trained.values())
        return float(whole(nn.utils.clip_grad_norm_(trained, self.config.clip or math.inf)))

    def _refuse_what_is_not_finite(
        self, out: Outputs, examples: Sequence[Example], loss: float, norm: float
    ) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        there_RS = out.tokens_RS > 0
        bad_R = (~torch.where(there_RS, out.values_RS, 0.0).isfinite()).any(1)
        rows = [examples[i].id for i in out.rows_R[bad_R].tolist()] or [e.id for e in examples]
        which = ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
        raise Diverged(f"training diverged: loss {loss}, gradient norm {norm}, at row {which}; "
                           "lower learning_rate, or set clip")
