"""One optimizer step: micro-batches forward and backward, the loss a mean over all rows of the step.

Names: R rows of a micro-batch, P pairs among them, K branches, M examples of the step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairgen.errors import PairgenError
from pairgen.train.config import TrainConfig
from pairgen.train.crew import Crew
from pairgen.train.encode import Example
from pairgen.train.logps import branch_logps
from pairgen.train.metrics import Tally
from pairgen.train.model import Policy
from pairgen.train.objectives import Pairs, Targets
from pairgen.train.packing import MicroBatch, micro_batches


@dataclass(frozen=True, slots=True)
class Part:
    """A micro-batch done: its share of the loss, what was computed, and the gradients if not yet added."""

    loss: Tensor
    targets: Targets
    pairs: Pairs
    tokens: int
    grads: tuple[Tensor, ...] | None


def optimizer_step(
    config: TrainConfig, policy: Policy, crew: Crew, optimizer: torch.optim.Optimizer,
    examples: Sequence[Example], ref_M2: Tensor, lr: float,
) -> Tally:
    """Take a step on these examples at a learning rate. Raises PairgenError when a number is not finite."""
    tally = Tally(config.reward_beta, config.needs_reference)
    trained = list(policy.trained.values())
    totals = step_totals(config, examples)

    def work(batch: MicroBatch) -> Part:
        with policy.autocast():
            logps_K = branch_logps(policy.model, batch.to(policy.device)).cpu()
        targets, pairs, weights_R = sides(batch, logps_K, examples, ref_M2)
        loss = sum_of_terms(config, targets, pairs, weights_R, weights_R[batch.pair_P], totals)
        grads = torch.autograd.grad(loss, trained) if crew.shared else loss.backward()  # type: ignore[no-untyped-call]
        return Part(loss.detach(), targets, pairs, batch.tokens, grads)

    for part in crew.map(work, micro_batches(examples, config.micro_tokens, crew.parts)):
        tally.add(part.loss, part.targets, part.pairs, part.tokens)
        for parameter, grad in zip(trained, part.grads or (), strict=False):
            parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
    tally.grad_norm = nn.utils.clip_grad_norm_(trained, config.clip or math.inf).item()
    if not math.isfinite(tally.loss) or not math.isfinite(tally.grad_norm):
        found = f"loss {tally.loss}, gradient norm {tally.grad_norm}"
        raise PairgenError(f"training diverged: {found}; lower learning_rate, or set clip")
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    return tally


def step_totals(config: TrainConfig, examples: Sequence[Example]) -> list[float]:
    """What each term's sum over the step is divided by: weighted rows it reads, or their target tokens."""
    tokens = sum(e.weight * int(e.chosen.targets.sum()) for e in examples)
    rows = sum(e.weight for e in examples)
    pairs = sum(e.weight for e in examples if e.rejected is not None)
    return [tokens if t.per_token else rows if t.objective.on == "targets" else pairs for t in config.objective]


def sum_of_terms(
    config: TrainConfig, targets: Targets, pairs: Pairs, weights_R: Tensor, weights_P: Tensor,
    totals: Sequence[float],
) -> Tensor:
    """This micro-batch's share of the step's loss."""
    reads: dict[str, tuple[Any, Tensor]] = {"targets": (targets, weights_R), "pairs": (pairs, weights_P)}
    loss = targets.logps_B.new_zeros(())
    for term, total in zip(config.objective, totals, strict=True):
        x, weights_B = reads[term.objective.on]
        if len(weights_B):  # a step of demonstrations alone has no pairs, and no total to divide by
            loss = loss + term.weight / total * (weights_B * term.objective.loss(x, **term.params)).sum()
    return loss


def sides(
    batch: MicroBatch, logps_K: Tensor, examples: Sequence[Example], ref_M2: Tensor
) -> tuple[Targets, Pairs, Tensor]:
    """A micro-batch's log-probs by side, and the weights [R] of its rows."""
    targets = Targets(logps_K[batch.chosen_R], batch.tokens_K[batch.chosen_R].float())
    ref_P2 = ref_M2[batch.rows_R[batch.pair_P]]
    pairs = Pairs(
        chosen_B=targets.logps_B[batch.pair_P], rejected_B=logps_K[batch.rejected_P],
        ref_chosen_B=ref_P2[:, 0], ref_rejected_B=ref_P2[:, 1],
        chosen_tokens_B=targets.tokens_B[batch.pair_P], rejected_tokens_B=batch.tokens_K[batch.rejected_P].float(),
    )
    return targets, pairs, torch.tensor([examples[i].weight for i in batch.rows_R.tolist()])
