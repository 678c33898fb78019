"""Which attention computes prompt trees: chosen once by device, said aloud, and hung into transformers.

On a CPU the visible pieces of trees (`treewise`), but short blocks densely: their pieces are too small to
be worth a call each. On a GPU FlexAttention over a block mask, or where that does not compile a dense
mask, with the reason. A layout reaches the layers as a keyword argument through the model's decoder.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from pairgen.errors import UsageError
from pairgen.train.layout import Layout, compiled
from pairgen.train.treewise import tree_attention

TREES, FLEX, DENSE = "pairgen_trees", "pairgen_flex", "sdpa"
"""Names under which transformers finds an attention; the first two are made here."""
SHORT = 320
"""Blocks up to this many tokens are computed densely on a CPU."""


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *,
            trees: Layout | None = None, scaling: float | None = None, **kwargs: Any) -> tuple[Tensor, None]:
    """Pieces of trees if there is a layout, one dense or causal call without."""
    query, key, value = _checked(module, query, key, value, kwargs)
    kind = query.device.type
    with torch.autocast(kind, enabled=False):
        if trees is not None:
            scale = scaling or query.shape[-1] ** -0.5
            return tree_attention(query, key, value, trees, scale).transpose(1, 2), None
        if kind == "cpu":  # where a dense backward pass is slower in bf16
            query, key, value = query.float(), key.float(), value.float()
        found, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **kwargs)
        return found, None


def _attend_flex(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *,
                 trees: Layout | None = None, scaling: float | None = None, **kwargs: Any) -> tuple[Tensor, None]:
    """FlexAttention over the blocks of a mask that hold something visible."""
    query, key, value = _checked(module, query, key, value, kwargs)
    with torch.autocast(query.device.type, enabled=False):
        if trees is None:
            found, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **kwargs)
            return found, None
        grouped = query.shape[1] != key.shape[1]
        out = compiled("flex_attention")(query, key, value, block_mask=trees.block_mask, scale=scaling,
                                          enable_gqa=grouped)
        return out.transpose(1, 2), None


def _checked(module: nn.Module, query: Tensor, key: Tensor, value: Tensor,
             kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    """Queries, keys and values in one precision. Raises UsageError for what changes scores in our back."""
    for name in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise UsageError(f"{type(module).__name__} attends with {name!r}, which prompt trees do not: not supported")
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    return query.to(dtype), key.to(dtype), value.to(dtype)


ALL_ATTENTION_FUNCTIONS[TREES] = _attend
ALL_ATTENTION_FUNCTIONS[FLEX] = _attend_flex


# --- the choice -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attention:
    """An implementation by its name in transformers, and what to say of it."""

    name: str
    text: str


def choose(device: torch.device) -> Attention:
    """The attention for a device, tried once."""
    if device.type == "cpu":
        return Attention(TREES, f"attention: visible pieces of prompt trees, blocks up to {SHORT} tokens whole")
    reason = _why_not_flex(device)
    if reason:
        return Attention(DENSE, f"attention: sdpa with a tree mask ({reason})")
    return Attention(FLEX, "attention: flex (block mask)")


def _why_not_flex(device: torch.device) -> str | None:
    """What goes wrong when a tree of two branches goes through it and back, if anything does."""
    tree, branch = (torch.tensor([row], device=device) for row in ([0] * 192, [0] * 64 + [1] * 64 + [2] * 64))
    q = torch.randn(1, 2, 192, 64, device=device, dtype=torch.bfloat16, requires_grad=True)
    try:
        out = compiled("flex_attention")(q, q, q, block_mask=Layout(tree, branch).block_mask)
        out.sum().backward()
    except Exception as error:  # whatever a compiler may raise: the reason is said, the other way is taken
        return f"flex: {type(error).__name__}: {str(error).strip().splitlines()[0][:80]}"
    return None


def attention_inputs(decoder: Any, layout: Layout) -> dict[str, Any]:
    """The arguments of a decoder that make it see a layout."""
    name = getattr(getattr(decoder, "config", None), "_attn_implementation", None)
    if name == FLEX or (name == TREES and layout.tree_BT.shape[1] > SHORT):
        return {"attention_mask": None, "trees": layout}
    return {"attention_mask": layout.mask_B1TT}
