"""A reference that follows the policy (TR-DPO, 2404.09656; with mix 1 the hard updates of iterated DPO).

It is a second copy of the trained weights alone, put in the policy's place while log-probs are computed,
so it needs no second model and works for adapters too. It moves every `every` steps, and the rows of the
coming `every` steps are computed when it has: as many forward passes as a live reference would take.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairgen.train.config import MovingReference
from pairgen.train.sharding import own


class Follower:
    """The reference's weights, by the names of the policy's trained parameters."""

    def __init__(self, config: MovingReference, trained: dict[str, nn.Parameter]) -> None:
        self.config = config
        self.weights: dict[str, Tensor] = {name: own(p.detach()).clone() for name, p in trained.items()}

    def due(self, step: int) -> bool:
        """Whether the reference moves before this step."""
        return step > 0 and step % self.config.every == 0

    def window(self, step: int, steps: int) -> range:
        """The steps that share a reference with this one."""
        first = step - step % self.config.every
        return range(first, min(first + self.config.every, steps))

    @torch.no_grad()
    def move(self, trained: dict[str, nn.Parameter]) -> None:
        """Go `mix` of the way to the policy."""
        for name, parameter in trained.items():
            self.weights[name].lerp_(own(parameter.detach()), self.config.mix)

    @contextmanager
    def standing_in(self, trained: dict[str, nn.Parameter]) -> Iterator[None]:
        """The reference's weights in the model, the policy's put back after."""
        self._swap(trained)
        try:
            yield
        finally:
            self._swap(trained)

    @torch.no_grad()
    def _swap(self, trained: dict[str, nn.Parameter]) -> None:
        for name, parameter in trained.items():
            policys = own(parameter.detach())  # in place: sharded weights are read from where they lie
            before = policys.clone()
            policys.copy_(self.weights[name])
            self.weights[name].copy_(before)
