"""Batches of numbers for tests of losses: random, extreme, or at rest where policy equals reference."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pairgen.train.objectives import Objective, Pairs, Rewards, Side, Unpaired

View = Side | Pairs | Unpaired | Rewards
DELTA = 0.3


def side(rows: int, seed: int, dtype: torch.dtype = torch.float64, spread: float = 10.0) -> Side:
    """A side with every optional field, its policy within a few nats of the reference."""
    draw = torch.Generator().manual_seed(seed)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(rows, generator=draw, dtype=dtype)

    tokens = torch.randint(1, 60, (rows,), generator=draw)
    ref = -1.5 * tokens - normal(1.0).abs()
    logps = torch.minimum(ref + normal(spread), -0.01 * tokens)
    share = torch.rand(rows, generator=draw, dtype=dtype)
    return Side(logps, ref, tokens.to(dtype), share * logps, share * ref, normal(0.3), normal(1.0))


def pairs(rows: int, seed: int = 0, dtype: torch.dtype = torch.float64, spread: float = 10.0) -> Pairs:
    """Random pairs with every optional field."""
    draw = torch.Generator().manual_seed(seed + 1000)
    embedding = torch.randn(rows, 5, generator=draw, dtype=dtype)
    policy_score = torch.randn(rows, generator=draw, dtype=dtype)
    chosen, rejected = side(rows, seed + 1, dtype, spread), side(rows, seed + 2, dtype, spread)
    return Pairs(chosen, rejected, policy_score, embedding, DELTA)


def unpaired(x: Pairs) -> Unpaired:
    """The sides of pairs on their own; the undesirable rows in fewer number where there are several."""
    rows = len(x.c)
    fewer = slice(0, max(1, rows - 1))
    assert x.embedding_BE is not None
    assert x.policy_score_B is not None
    return Unpaired(
        x.chosen, at(x.rejected, fewer), x.policy_score_B + 1, x.embedding_BE, x.embedding_BE.flip(0)[fewer],
        x.policy_score_B.abs()[fewer] + 0.5, DELTA,
    )


def view_of(objective: Objective, x: Pairs) -> View:
    """What an objective reads, made of pairs."""
    if objective.on in {"targets", "golds"}:
        return x.chosen
    if objective.on == "unpaired":
        return unpaired(x)
    if objective.on == "rewards":
        return Rewards(x.chosen.logps_B / 30, x.rejected.logps_B / 30, x.policy_score_B)
    return x


def at(view: Any, rows: Any) -> Any:
    """Some rows of a side or of pairs: a slice, or indices."""
    taken = {}
    for name in view.__dataclass_fields__:
        value = getattr(view, name)
        if isinstance(value, Tensor):
            taken[name] = value[rows]
        elif hasattr(value, "__dataclass_fields__"):
            taken[name] = at(value, rows)
    return replace(view, **taken)


def leaves(view: View) -> list[Tensor]:
    """The tensors a loss has gradients for: the policy's log-probs, or the rewards."""
    if isinstance(view, Rewards):
        return [view.chosen_B, view.rejected_B]
    if isinstance(view, Side):
        return [view.logps_B]
    sides = (view.chosen, view.rejected) if isinstance(view, Pairs) else (view.desirable, view.undesirable)
    return [s.logps_B for s in sides]


def with_leaves(view: View, tensors: list[Tensor]) -> View:
    """The view with other policy log-probs."""
    if isinstance(view, Rewards):
        return replace(view, chosen_B=tensors[0], rejected_B=tensors[1])
    if isinstance(view, Side):
        return replace(view, logps_B=tensors[0])
    names = ("chosen", "rejected") if isinstance(view, Pairs) else ("desirable", "undesirable")
    changed = {n: replace(getattr(view, n), logps_B=t) for n, t in zip(names, tensors, strict=True)}
    return replace(view, **changed)


EXTREMES = [(-5000.0, -10.0), (-10.0, -5000.0), (-20000.0, -19000.0), (-1.0, -20000.0), (0.0, -0.5), (-0.5, 0.0),
            (0.0, 0.0), (-50.0, -60.0)]


def extreme_pairs(tokens: tuple[float, float], beside: float) -> Pairs:
    """Log-probs to 20000 in fp32, margins to 20000 either way, over some tokens; scores up to `beside`."""
    chosen, rejected = (torch.tensor([row[i] for row in EXTREMES]) for i in (0, 1))
    rows, sign = len(EXTREMES), torch.tensor([1.0, -1.0] * (len(EXTREMES) // 2))

    def one(logps: Tensor, ref: float, count: float) -> Side:
        refs = torch.full((rows,), ref)
        full = torch.full((rows,), count)
        return Side(logps, refs, full, 0.9 * logps, 0.9 * refs, sign, beside * sign)

    embedding = torch.eye(rows) * beside + 1
    return Pairs(one(chosen, -50.0, tokens[0]), one(rejected, -60.0, tokens[1]), -beside * sign, embedding, beside)
