"""Prompt trees: one prompt, K completions, the prompt computed once; trees lie side by side in blocks.

Rows of an optimizer step that share a prompt share a tree, so a pair costs P + C + R tokens in place of
2P + C + R, and judge data with many short answers to one long prompt costs the prompt once. Equal
completions of a prompt are one branch however many rows they stand in: 4 chosen x 4 rejected judgments
are 8 branches, not 32. A branch sees its prompt and itself. Positions restart at 0 with every tree and
at P with every branch, so the log-probs are those of separate forwards.

Blocks are filled best-first and hold little padding. They are kept short (BLOCK tokens unless a tree is
longer), because the attention of a T-token block costs T^2 while everything else costs T: on one CPU
core 90-token and 45-token blocks take the same time, 360-token blocks a fifth more.

Names: R rows, S sides of a row, K branches, N target tokens, B blocks, T tokens of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pairgen.train.example import SIDES, Branch, Example
from pairgen.train.render import Ids

BLOCK = 160
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Tree:
    """A prompt and its distinct branches; `uses` says which branch each (row, side) is."""

    prompt: Ids
    branches: list[Branch]
    uses: list[tuple[int, int, int]]
    size: int
    _known: dict[bytes, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size

    def new(self, example: Example, sides: Sequence[int]) -> int:
        """How many tokens a row would add."""
        keys = {_key(b): len(b.ids) for b in _branches(example, sides).values()}
        return sum(size for key, size in keys.items() if key not in self._known)

    def add(self, row: int, example: Example, sides: Sequence[int]) -> None:
        """Hang a row's sides on the prompt, equal ones once."""
        for side, branch in _branches(example, sides).items():
            k = self._known.setdefault(_key(branch), len(self.branches))
            if k == len(self.branches):
                self.branches.append(branch)
                self.size += len(branch.ids)
            self.uses.append((row, side, k))


def _branches(example: Example, sides: Sequence[int]) -> dict[int, Branch]:
    found = {side: example.sides[side] for side in sides}
    return {side: branch for side, branch in found.items() if branch is not None}


def _key(branch: Branch) -> bytes:
    return branch.ids.tobytes() + branch.targets.tobytes()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of one forward pass.

    `at_N` is the flat index in [B*T] of the token that predicts each target, `branch_N` the target's
    branch, `last_K` the flat index of each branch's last token. `tree_BT` numbers the trees of a block
    (-1 is padding), `branch_BT` the branches of a tree (0 is the prompt). `rows_R` are the rows whose
    sides are here, as indices into the step's examples, and `branch_RS` the branch of each side, -1 for
    none.
    """

    ids_BT: Tensor
    positions_BT: Tensor
    tree_BT: Tensor
    branch_BT: Tensor
    at_N: Tensor
    labels_N: Tensor
    branch_N: Tensor
    tokens_K: Tensor
    last_K: Tensor
    rows_R: Tensor
    branch_RS: Tensor
    tokens: int

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on a device."""
        names = [f.name for f in fields(self) if f.name != "tokens"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def micro_batches(
    examples: Sequence[Example], micro_tokens: int, parts: int = 1, sides: Sequence[int] = SIDES
) -> list[MicroBatch]:
    """A step's examples as forward passes of at most `micro_tokens` tokens (one tree at the least).

    At least `parts` of about equal size, if there are so many blocks. Which rows meet in a micro-batch
    changes nothing but rounding: no side of a row is ever in another.
    """
    blocks = _fill(_trees(examples, micro_tokens, sides))
    fair = sum(map(_width, blocks)) / parts
    batches: list[list[list[Tree]]] = []
    done = 0
    for block in blocks:  # by falling length, so the first block of a batch sets its width
        if done >= fair * len(batches) or (len(batches[-1]) + 1) * _width(batches[-1][0]) > micro_tokens:
            batches.append([])
        batches[-1].append(block)
        done += _width(block)
    return [_collate(batch) for batch in batches]


def _trees(examples: Sequence[Example], limit: int, sides: Sequence[int]) -> list[Tree]:
    """Rows with equal prompts joined, as long as the tree stays within `limit` tokens."""
    trees: list[Tree] = []
    open_trees: dict[bytes, Tree] = {}
    for row, example in enumerate(examples):
        key = example.prompt.tobytes()
        tree = open_trees.get(key)
        if tree is None or len(tree) + tree.new(example, sides) > limit:
            tree = open_trees[key] = Tree(example.prompt, [], [], len(example.prompt))
            trees.append(tree)
        tree.add(row, example, sides)
    return [tree for tree in trees if tree.branches]


def tree_tokens(examples: Sequence[Example], limit: int, sides: Sequence[int] = SIDES) -> int:
    """Tokens that these examples cost as trees, padding apart."""
    return _width(_trees(examples, limit, sides))


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
    last: list[int] = []
    uses: list[tuple[int, int, int]] = []
    for b, block in enumerate(blocks):
        start = 0
        for number, tree in enumerate(block):
            prompt = start + len(tree.prompt)
            ids_BT[b, start:prompt] = tree.prompt
            positions_BT[b, start:prompt] = np.arange(len(tree.prompt))
            end = prompt
            uses += [(row, side, len(at) + k) for row, side, k in tree.uses]
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
                last.append(b * width + end - 1)
            tree_BT[b, start:end] = number
            start = end
    rows_R, branch_RS = _table(uses)
    tokens_K = torch.tensor([len(part) for part in at])
    trees, branches = torch.from_numpy(tree_BT), torch.from_numpy(branch_BT)
    return MicroBatch(
        ids_BT=torch.from_numpy(ids_BT), positions_BT=torch.from_numpy(positions_BT), tree_BT=trees,
        branch_BT=branches, at_N=torch.from_numpy(np.concatenate(at)),
        labels_N=torch.from_numpy(np.concatenate(labels).astype(np.int64)),
        branch_N=torch.repeat_interleave(tokens_K), tokens_K=tokens_K, last_K=torch.tensor(last),
        rows_R=rows_R, branch_RS=branch_RS, tokens=int((tree_BT >= 0).sum()),
    )


def _table(uses: Sequence[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    """The rows in order, and for each the branch of every side."""
    rows = sorted({row for row, _, _ in uses})
    place = {row: r for r, row in enumerate(rows)}
    branch_RS = torch.full((len(rows), len(SIDES)), -1)
    for row, side, k in uses:
        branch_RS[place[row], side] = k
    return torch.tensor(rows), branch_RS
