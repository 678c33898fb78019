"""Our losses on an entry's inputs, reduced as the trainer reduces a step, with gradients by autograd.

Names: B rows; all tensors fp64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pairgen.train.golden.names import Meaning, Term
from pairgen.train.objectives import (
    OBJECTIVES,
    Pairs,
    Rewards,
    RunningMean,
    Side,
    Unpaired,
    rewards_of,
    running_mean,
    with_divergence,
    with_ld,
    wpo_weight,
)

Row = Mapping[str, Any]
View = Pairs | Unpaired | Rewards


def tensor(values: Sequence[Any]) -> Tensor:
    """Numbers of the file in fp64."""
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def side(rows: Sequence[Row], name: str) -> Side:
    """The chosen or rejected side of rows; its log-probs ask for gradients."""
    policy_B, ref_B, tokens_B = (
        tensor([row[key] for row in rows])
        for key in (f"policy_{name}_logps", f"ref_{name}_logps", f"{name}_len")
    )
    return Side(policy_B.requires_grad_(), ref_B, tokens_B)


def pairs(rows: Sequence[Row]) -> Pairs:
    """Rows of the file as a step."""
    return Pairs(side(rows, "chosen"), side(rows, "rejected"))


def unpaired(x: Pairs) -> Unpaired:
    """The two sides of pairs, each on its own."""
    return Unpaired(x.chosen, x.rejected)


def running(x: Any, state: RunningMean, beta: float) -> tuple[Any, RunningMean]:
    """The step with the running mean of rewards that its own rewards have moved."""
    state = running_mean(state, rewards_of(x, beta))
    return replace(x, delta=state.mean), state


def values(x: View, term: Term) -> Tensor:
    """[B]: one loss of ours on what it reads, before any weight."""
    objective = OBJECTIVES[term.use]
    if objective.on == "targets":
        assert isinstance(x, Pairs)
        return objective.loss(x.chosen, **term.params)
    return objective.loss(x, **term.params)


def mean(x: View, term: Term) -> Tensor:
    """The step's loss: per target token for nll by default, else per row."""
    values_B = values(x, term)
    if term.use == "nll" and isinstance(x, Pairs):
        return values_B.sum() / x.chosen.tokens_B.sum()
    return values_B.mean()


def pair_loss(x: Pairs, what: Meaning) -> Tensor:
    """The weighted sum an entry of pairs names, its modifiers applied."""
    if what.ld is not None:
        x = with_ld(x, what.ld)
    x = with_divergence(x, what.divergence, what.alpha)
    if what.wpo:
        return torch.stack([t.weight * (wpo_weight(x) * values(x, t)).mean() for t in what.terms]).sum()
    return torch.stack([t.weight * mean(x, t) for t in what.terms]).sum()


def gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    """d loss / d input, zeros where the loss does not read it."""
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]


def metrics(chosen_B: Tensor, rejected_B: Tensor, x: Pairs | None = None) -> dict[str, float]:
    """What a trainer logs of implicit rewards, and of log-probs."""
    found = {
        "rewards/chosen": chosen_B, "rewards/rejected": rejected_B, "rewards/margins": chosen_B - rejected_B,
        "rewards/accuracies": (chosen_B > rejected_B).double(),
    }
    if x is not None:
        found |= {"logps/chosen": x.chosen.logps_B, "logps/rejected": x.rejected.logps_B}
    return {name: value_B.detach().mean().item() for name, value_B in found.items()}
