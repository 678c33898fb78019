"""What a step says of itself, and a held-out set of the model: numbers of views, and the line they become.

`reward` is beta times the log-ratio to the reference, always of summed log-probs; of objectives that
compare means over tokens without a reference (SimPO) beta times that mean; under a reward head its own.
Names: B rows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from pairgen.fingerprint import JSON
from pairgen.train.config import TrainConfig
from pairgen.train.objectives import Pairs, Side, apo_auto_mask
from pairgen.train.sides import Reading

SATURATED = 6.0
"""Beyond this |reward| the gradient of a sigmoid loss is below 1 % of its greatest, right or wrong."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimizer step. Numbers of sides are means over its rows, None where there are none.

    `nll` is per target token of demonstrations and chosen sides; `logps_*` are summed per completion,
    `mean_logp_*` per token; `chosen_down` is the share of pairs whose chosen side has become less likely
    than under the reference; `saturated` the share of sides whose |reward| exceeds 6; `kl` KTO's baseline;
    `zero_share` the pairs that apo-auto trains with APO-zero. `tokens` counts those computed.
    """

    step: int
    steps: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    seconds: float
    nll: float | None = None
    rewards_chosen: float | None = None
    rewards_rejected: float | None = None
    margin: float | None = None
    accuracy: float | None = None
    logps_chosen: float | None = None
    logps_rejected: float | None = None
    mean_logp_chosen: float | None = None
    mean_logp_rejected: float | None = None
    tokens_chosen: float | None = None
    tokens_rejected: float | None = None
    saturated: float | None = None
    chosen_down: float | None = None
    kl: float | None = None
    zero_share: float | None = None

    def metrics(self) -> dict[str, JSON]:
        """The numbers that say how training went, without clock and counters."""
        clock = {"step", "steps", "tokens", "seconds"}
        return {k: v for k, v in asdict(self).items() if k not in clock and v is not None}


@torch.no_grad()
def numbers(config: TrainConfig, found: Mapping[str, Reading]) -> dict[str, float]:
    """The metrics of these rows, by StepLog's names."""
    if config.is_reward:
        x = found["rewards"].view
        return _of_rewards(x.chosen_B, x.rejected_B)
    targets = found["targets"].view
    nll = {"nll": _mean(-targets.logps_B.sum() / targets.tokens_B.sum())} if len(targets.logps_B) else {}
    alone, pairs = found["unpaired"].view, found["pairs"].view
    if not config.reads_pairs:  # held-out pairs of an objective that imitates: how likely each side is
        both = {**_of_sides(config, pairs.chosen, pairs.rejected), **_of_pairs(config, pairs)} if len(pairs.c) else {}
        return {**nll, **{name: value for name, value in both.items() if not name.startswith(("rewards", "margin"))}}
    both = _of_pairs(config, pairs) if len(pairs.c) else {}
    if alone.stranger_ratio_B is not None and len(alone.stranger_ratio_B):
        both["kl"] = max(0.0, _mean(alone.stranger_ratio_B))
    # over pairs alone where there are any: a replayed demonstration is no chosen side
    sides = (pairs.chosen, pairs.rejected) if len(pairs.c) else (alone.desirable, alone.undesirable)
    return {**nll, **_of_sides(config, *sides), **both}


def _of_sides(config: TrainConfig, chosen: Side, rejected: Side) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if len(side.logps_B):
            found |= {
                f"rewards_{name}": config.reward_beta * _mean(_reward_B(config, side)),
                f"logps_{name}": _mean(side.logps_B),
                f"mean_logp_{name}": _mean(side.mean_B), f"tokens_{name}": _mean(side.tokens_B),
            }
    if {"rewards_chosen", "rewards_rejected"} <= found.keys():
        found["margin"] = found["rewards_chosen"] - found["rewards_rejected"]
    if config.needs_reference:
        ratios_B = torch.cat([chosen.ratio_B, rejected.ratio_B])
        found["saturated"] = _mean((config.reward_beta * ratios_B.abs() > SATURATED).float())
        if len(chosen.logps_B):
            found["chosen_down"] = _mean((chosen.ratio_B < 0).float())
    return found


def _reward_B(config: TrainConfig, side: Side) -> Tensor:
    """The implicit reward over beta."""
    return side.mean_B if config.rewards_per_token else side.ratio_B


def _of_pairs(config: TrainConfig, x: Pairs) -> dict[str, float]:
    found = {"accuracy": _mean((_reward_B(config, x.chosen) > _reward_B(config, x.rejected)).float())}
    for term in config.objective:
        if term.use == "apo-auto":
            found["zero_share"] = _mean(apo_auto_mask(x, margin=float(term.params["margin"])).float())
    return found


def _of_rewards(chosen_B: Tensor, rejected_B: Tensor) -> dict[str, float]:
    return {
        "rewards_chosen": _mean(chosen_B), "rewards_rejected": _mean(rejected_B),
        "margin": _mean(chosen_B - rejected_B), "accuracy": _mean((chosen_B > rejected_B).float()),
    }


def _mean(values: Tensor) -> float:
    return values.mean().item()
