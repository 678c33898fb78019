"""Prompt trees: one prompt, K completions, the prompt computed once; trees lie side by side in blocks.

Rows of an optimizer step that share a prompt share a tree, so a pair costs P + C + R tokens in place of
2P + C + R, and judge data with many short answers to one long prompt costs the prompt once. A branch
sees its prompt and itself. Positions restart at 0 with every tree and at P with every branch, so the
log-probs are those of separate forwards.

Blocks are filled best-first and hold little padding. They are kept short (BLOCK tokens unless a tree is
longer), because the attention of a T-token block costs T^2 while everything else costs T: on one CPU
core 90-token and 45-token blocks take the same time, 360-token blocks a fifth more.

Names: R rows, K branches, N target tokens, B blocks, T tokens of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pairgen.train.encode import Branch, Example, Ids

BLOCK = 160
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Tree:
    """A prompt and its branches, in order; `rows` and `is_chosen` say whose side each branch is."""

    prompt: Ids
    branches: list[Branch]
    rows: list[int]
    is_chosen: list[bool]

    def __len__(self) -> int:
        return len(self.prompt) + sum(len(b.ids) for b in self.branches)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of one forward pass.

    `at_N` is the flat index in [B*T] of the token that predicts each target, `branch_N` the target's
    branch. `rows_R` are the rows whose sides are here, as indices into the step's examples, and
    `chosen_R` their chosen branches; `pair_P` picks the rows that have a rejected side, `rejected_P`
    those branches.
    """

    ids_BT: Tensor
    positions_BT: Tensor
    mask_B1TT: Tensor
    at_N: Tensor
    labels_N: Tensor
    branch_N: Tensor
    tokens_K: Tensor
    rows_R: Tensor
    chosen_R: Tensor
    pair_P: Tensor
    rejected_P: Tensor
    tokens: int

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on a device."""
        names = [f.name for f in fields(self) if f.name != "tokens"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def micro_batches(examples: Sequence[Example], micro_tokens: int, parts: int = 1) -> list[MicroBatch]:
    """A step's examples as forward passes of at most `micro_tokens` tokens (one tree at the least).

    At least `parts` of about equal size, if there are so many blocks. Which rows meet in a micro-batch
    changes nothing but rounding: no side of a row is ever in another.
    """
    blocks = _fill(_trees(examples, micro_tokens))
    fair = sum(map(_width, blocks)) / parts
    batches: list[list[list[Tree]]] = []
    done = 0
    for block in blocks:  # by falling length, so the first block of a batch sets its width
        if done >= fair * len(batches) or (len(batches[-1]) + 1) * _width(batches[-1][0]) > micro_tokens:
            batches.append([])
        batches[-1].append(block)
        done += _width(block)
    return [_collate(batch) for batch in batches]


def _trees(examples: Sequence[Example], limit: int) -> list[Tree]:
    """Rows with equal prompts joined, as long as the tree stays within `limit` tokens."""
    trees: list[Tree] = []
    open_trees: dict[bytes, Tree] = {}
    for row, example in enumerate(examples):
        sides = [example.chosen] if example.rejected is None else [example.chosen, example.rejected]
        key = example.prompt.tobytes()
        tree = open_trees.get(key)
        if tree is None or len(tree) + sum(len(s.ids) for s in sides) > limit:
            tree = open_trees[key] = Tree(example.prompt, [], [], [])
            trees.append(tree)
        tree.branches += sides
        tree.rows += [row] * len(sides)
        tree.is_chosen += [True, False][: len(sides)]
    return trees


def _width(block: Sequence[Tree]) -> int:
    return sum(len(tree) for tree in block)


def _fill(trees: Sequence[Tree]) -> list[list[Tree]]:
    """Trees in blocks, longest first, each into the fullest block with room; blocks by falling length."""
    blocks: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=len, reverse=True):
        fits = [i for i, free in enumerate(room) if free >= len(tree)]
        best = min(fits, key=room.__getitem__, default=None)
        if best is None:
            best = len(blocks)
            blocks.append([])
            room.append(max(BLOCK, len(tree)))
        blocks[best].append(tree)
        room[best] -= len(tree)
    return sorted(blocks, key=_width, reverse=True)


def _collate(blocks: Sequence[Sequence[Tree]]) -> MicroBatch:
    width = max(_width(block) for block in blocks)
    ids_BT = np.zeros((len(blocks), width), dtype=np.int64)
    positions_BT = np.zeros_like(ids_BT)
    tree_BT = np.full_like(ids_BT, -1)  # padding is a tree of its own: it sees itself and nobody sees it
    branch_BT = np.zeros_like(ids_BT)
    at: list[Ints] = []
    labels: list[Ids] = []
    owners: list[tuple[int, bool]] = []
    for b, block in enumerate(blocks):
        start = 0
        for number, tree in enumerate(block):
            prompt = start + len(tree.prompt)
            ids_BT[b, start:prompt] = tree.prompt
            positions_BT[b, start:prompt] = np.arange(len(tree.prompt))
            end = prompt
            for k, branch in enumerate(tree.branches, start=1):
                first, end = end, end + len(branch.ids)
                ids_BT[b, first:end] = branch.ids
                positions_BT[b, first:end] = np.arange(len(tree.prompt), len(tree.prompt) + len(branch.ids))
                branch_BT[b, first:end] = k
                # the first token of any branch is predicted by the last of the prompt
                before = np.arange(first - 1, end - 1)
                before[0] = prompt - 1
                at.append(b * width + before[branch.targets])
                labels.append(branch.ids[branch.targets])
            owners += zip(tree.rows, tree.is_chosen, strict=True)
            tree_BT[b, start:end] = number
            start = end
    return _tensors(ids_BT, positions_BT, tree_BT, branch_BT, at, labels, owners)


def _tensors(ids_BT: Ints, positions_BT: Ints, tree_BT: Ints, branch_BT: Ints, at: Sequence[Ints],
             labels: Sequence[Ids], owners: Sequence[tuple[int, bool]]) -> MicroBatch:
    tokens_K = torch.tensor([len(part) for part in at])
    chosen = {row: k for k, (row, is_chosen) in enumerate(owners) if is_chosen}
    rejected = {row: k for k, (row, is_chosen) in enumerate(owners) if not is_chosen}
    place = {row: r for r, row in enumerate(chosen)}
    return MicroBatch(
        ids_BT=torch.from_numpy(ids_BT), positions_BT=torch.from_numpy(positions_BT),
        mask_B1TT=_mask(torch.from_numpy(tree_BT), torch.from_numpy(branch_BT)),
        at_N=torch.from_numpy(np.concatenate(at)),
        labels_N=torch.from_numpy(np.concatenate(labels).astype(np.int64)),
        branch_N=torch.repeat_interleave(tokens_K), tokens_K=tokens_K,
        rows_R=torch.tensor(list(chosen)), chosen_R=torch.tensor(list(chosen.values())),
        pair_P=torch.tensor([place[row] for row in rejected], dtype=torch.long),
        rejected_P=torch.tensor(list(rejected.values()), dtype=torch.long),
        tokens=int((tree_BT >= 0).sum()),
    )


def _mask(tree_BT: Tensor, branch_BT: Tensor) -> Tensor:
    """[B, 1, T, T], True where query may see key: not later, same tree, and prompt or own branch."""
    width = tree_BT.shape[1]
    same_tree_BTT = tree_BT[:, :, None] == tree_BT[:, None, :]
    visible_BTT = (branch_BT[:, None, :] == 0) | (branch_BT[:, :, None] == branch_BT[:, None, :])
    return (same_tree_BTT & visible_BTT & torch.ones(width, width, dtype=torch.bool).tril())[:, None]
