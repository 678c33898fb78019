"""Who sees whom in a micro-batch: the mask of prompt trees, as pieces, as a dense tensor, as a rule.

A branch sees its prompt and itself. So a tree is a causal square (the prompt with itself), one full
rectangle (all branches on the prompt) and a small causal square per branch: that is all there is to
compute, in place of the T^2 scores of a block.

Names: B blocks, H heads, T tokens of a block.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Piece:
    """Queries [first, last) of a block on keys [start, stop), causal if they are the same tokens."""

    block: int
    first: int
    last: int
    start: int
    stop: int

    @property
    def is_causal(self) -> bool:
        """A square: each token sees those before it and itself."""
        return self.first == self.start

    def split(self, limit: int) -> "list[Piece]":
        """The same as rectangles and squares of at most so many tokens."""
        if not self.is_causal or self.last - self.first <= limit:
            return [self]
        middle = (self.first + self.last) // 2
        upper = Piece(self.block, self.first, middle, self.first, middle)
        lower = Piece(self.block, middle, self.last, middle, self.last)
        return [*upper.split(limit), Piece(self.block, middle, self.last, self.first, middle), *lower.split(limit)]

    @property
    def queries(self) -> tuple[slice, slice, slice]:
        """Where the queries are in [B, H, T, ...]."""
        return slice(self.block, self.block + 1), slice(None), slice(self.first, self.last)

    @property
    def keys(self) -> tuple[slice, slice, slice]:
        """Where the keys are in [B, H, T, ...]."""
        return slice(self.block, self.block + 1), slice(None), slice(self.start, self.stop)


@dataclass(frozen=True)
class Layout:
    """Who sees whom in a micro-batch: tree numbers [B, T] (-1 is padding), branches [B, T] (0 is the prompt)."""

    tree_BT: Tensor
    branch_BT: Tensor

    @cached_property
    def pieces(self) -> list[Piece]:
        """What is visible, squares first: they meet every token once."""
        return _pieces(self.tree_BT, self.branch_BT)

    @cached_property
    def mask_B1TT(self) -> Tensor:
        """[B, 1, T, T], True where query may see key: not later, same tree, and prompt or own branch."""
        tree_BT, branch_BT = self.tree_BT, self.branch_BT
        same_tree_BTT = tree_BT[:, :, None] == tree_BT[:, None, :]
        visible_BTT = (branch_BT[:, None, :] == 0) | (branch_BT[:, :, None] == branch_BT[:, None, :])
        return (same_tree_BTT & visible_BTT).tril()[:, None]

    @cached_property
    def block_mask(self) -> Any:
        """The same for FlexAttention."""
        blocks, tokens = self.tree_BT.shape
        rule = mask_rule(self.tree_BT, self.branch_BT)
        return compiled("create_block_mask")(rule, blocks, None, tokens, tokens, device=self.tree_BT.device)


def mask_rule(tree_BT: Tensor, branch_BT: Tensor) -> Any:
    """The rule as FlexAttention wants it: (block, head, query, key) to whether the query may see the key."""

    def visible(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same_tree = tree_BT[b, q] == tree_BT[b, k]
        return (q >= k) & same_tree & ((branch_BT[b, k] == 0) | (branch_BT[b, q] == branch_BT[b, k]))

    return visible


def _pieces(tree_BT: Tensor, branch_BT: Tensor) -> list[Piece]:
    squares: list[Piece] = []
    rectangles: list[Piece] = []
    for block, (tree_T, branch_T) in enumerate(zip(tree_BT.cpu().numpy(), branch_BT.cpu().numpy(), strict=True)):
        changes = np.flatnonzero((np.diff(tree_T) != 0) | (np.diff(branch_T) != 0)) + 1
        runs = pairwise([0, *changes.tolist(), len(tree_T)])
        prompt = (0, 0)
        for first, last in runs:
            if tree_T[first] < 0:
                continue
            squares.append(Piece(block, first, last, first, last))
            if branch_T[first] == 0:
                prompt = (first, last)
            elif first == prompt[1]:
                rectangles.append(Piece(block, first, last, *prompt))
            else:  # one rectangle for all branches of a tree
                rectangles[-1] = replace(rectangles[-1], last=last)
    return squares + rectangles


@cache
def compiled(name: str) -> Any:
    """`flex_attention` or `create_block_mask`, compiled once for all lengths."""
    from torch.nn.attention import flex_attention

    return torch.compile(getattr(flex_attention, name), dynamic=True)
