"""What a step trains on and how fast: pure functions of (config, step), so that nothing needs to be kept."""

import math
import random
from collections.abc import Hashable, Sequence
from functools import lru_cache

import torch
from torch import nn

from pairgen.train.config import TrainConfig


class Order:
    """The rows of every step: each epoch is one shuffle of all groups of rows, drawn from (seed, epoch).

    A group is a row, or with `shuffle: prompts` all rows of one prompt; a batch takes the next
    `batch_size` rows in that order, so a group may reach into the next batch.
    """

    def __init__(self, config: TrainConfig, prompts: Sequence[Hashable]) -> None:
        """`prompts` says of each row which prompt it has."""
        self._config, self._rows = config, len(prompts)
        self._groups = _groups(config, prompts)
        self._epoch = lru_cache(maxsize=1)(self._shuffled)

    @property
    def steps(self) -> int:
        """Optimizer steps of the run; the last of an epoch may be smaller."""
        return total_steps(self._config, self._rows)

    def at(self, step: int) -> list[int]:
        """The rows of a step."""
        size = self._config.batch_size
        epoch, place = divmod(step, math.ceil(self._rows / size))
        return self._epoch(epoch)[place * size : (place + 1) * size]

    def _shuffled(self, epoch: int) -> list[int]:
        order = list(self._groups)
        if self._config.shuffle != "none":
            random.Random(f"{self._config.seed}/{epoch}").shuffle(order)
        return [row for group in order for row in group]


def _groups(config: TrainConfig, prompts: Sequence[Hashable]) -> list[list[int]]:
    if config.shuffle != "prompts":
        return [[row] for row in range(len(prompts))]
    groups: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(row)
    return list(groups.values())


def total_steps(config: TrainConfig, rows: int) -> int:
    """Optimizer steps of a run over so many rows."""
    steps = config.epochs * math.ceil(rows / config.batch_size)
    return min(steps, config.max_steps or steps)


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of a step: linear warm-up, then down to `final_lr_ratio` of the peak at the last step.

    `inverse-sqrt` falls as one over the square root of the step, from a warm-up of 10,000 without one.
    """
    warmup = config.warmup_steps or math.ceil(config.warmup_ratio * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    scale = warmup or 10_000
    shape = {
        "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress)), "constant": 1.0,
        "inverse-sqrt": math.sqrt(scale / (step - warmup + scale)),
    }
    floor = config.final_lr_ratio
    return config.learning_rate * (floor + (1 - floor) * shape[config.schedule])


def make_optimizer(config: TrainConfig, trained: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, or RMSProp with torch's own constants (as the CLAIR paper's trainer); one-dimensional weights
    (norms and biases) do not decay."""
    groups = [
        {"params": [p for p in trained.values() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(used, lr=config.learning_rate, alpha=0.99, eps=config.eps)
    return torch.optim.AdamW(used, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)
