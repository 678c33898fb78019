"""Weights, gradients and optimizer state spread over the ranks: FSDP2, a decoder layer at a time.

Each rank keeps its slice of every weight; a layer is put together where it is computed and taken apart
after. What is trained are the slices, `DTensor`s. Weights travel and are reduced in fp32, and gradients
are summed, not averaged: each rank's loss is its share of the step's. On CUDA and on CPUs it is the same
code; gloo knows no average, so sums are asked for everywhere.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from pairgen.train.config import TrainConfig
from pairgen.train.model import Policy, load
from pairgen.train.ranks import Ranks

T = TypeVar("T")


def loaded(folder: Path, config: TrainConfig, ranks: Ranks) -> Policy:
    """A model loaded for training, its weights spread over the ranks; alone, in one piece."""
    policy = load(folder, config, placed=ranks.size == 1)
    if ranks.size > 1:
        _shard(policy, ranks)
    return policy


def _shard(policy: Policy, ranks: Ranks) -> None:
    """The root is the scorer, the one module whose forward pass is the whole one. It is taken apart after
    every pass too, so that parameters are slices whenever no pass is under way."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(policy.device.type, (ranks.size,))
    names = policy.model._no_split_modules or ()  # transformers' own word for its decoder layers
    for layer in [module for module in policy.model.modules() if type(module).__name__ in names]:
        fully_shard(layer, mesh=mesh)
    fully_shard(policy.scorer, mesh=mesh, reshard_after_forward=True)
    for module in policy.scorer.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(policy.scorer, "opened")


def opened(policy: Policy, work: Callable[[], T]) -> T:
    """`work` that calls the model past its scorer: all ranks do it, as a forward pass of the root."""
    return policy.scorer.opened(work)


def own(tensor: Tensor) -> Tensor:
    """This rank's slice, sharing memory with the tensor; of a plain tensor, itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor put together on every rank; a plain one as it is. All ranks must ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def on_first(tensor: Tensor, ranks: Ranks) -> Tensor:
    """The tensor put together in the first rank's main memory, nothing elsewhere; alone, as it is. All must ask."""
    found = whole(tensor)
    if ranks.size == 1:
        return found
    return found.cpu() if ranks.first else torch.empty(0)


def spread(slice_: Tensor, like: Tensor) -> Tensor:
    """A tensor spread as another one is, from this rank's slice of it."""
    if not hasattr(like, "to_local"):
        return slice_.to(like.device)
    made = torch.empty_like(like, requires_grad=False)
    own(made).copy_(slice_)
    return made
