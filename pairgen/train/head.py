"""From hidden states to log-probs of targets: one fused function, so that logits never live long.

The log-prob of a target needs one logit and the log-sum-exp of its row; the gradient needs the row again.
Rows are taken in chunks: logits are made, reduced and forgotten. Small ones are kept for the backward
pass in the precision of the matrix multiplication, large ones are made again. Everything after that
multiplication is fp32, sums over chunks too.

Names: N target tokens, D hidden size, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CHUNK = 1 << 22
"""Logits of a chunk: 16 MiB in fp32, which caches hold."""
KEPT = 1 << 25
"""Logits that are kept for the backward pass: 64 MiB in bf16. Beyond, they are made again."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model does to its logits: `scale` (Cohere, Granite), then `cap` tanh(. / cap) (Gemma)."""

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> "Shape":
        """Read from a text model's config."""
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        return cls(scale / float(getattr(config, "logits_scaling", None) or 1.0),
                   getattr(config, "final_logit_softcapping", None))

    def __call__(self, raw_NV: Tensor) -> Tensor:
        """Logits in fp32 (fp64 stays) from the head's output."""
        logits_NV = raw_NV.to(torch.promote_types(raw_NV.dtype, torch.float32))
        if self.scale != 1:
            logits_NV = logits_NV * self.scale
        return logits_NV if self.cap is None else self.cap * (logits_NV / self.cap).tanh()

    def pull_(self, grad_NV: Tensor, logits_NV: Tensor) -> Tensor:
        """The gradient by the head's output from that by the logits, in place."""
        if self.cap is not None:
            grad_NV.mul_(1 - (logits_NV / self.cap).square())
        return grad_NV if self.scale == 1 else grad_NV.mul_(self.scale)


class TokenLogps(NamedTuple):
    """Of each target, [N] in fp32: log p, and log p - log sum_v p_v^2 (no gradient) if it was asked for."""

    logps_N: Tensor
    certainty_N: Tensor | None


def score(head: nn.Module, shape: Shape, hidden_ND: Tensor, labels_N: Tensor, certainty: bool) -> TokenLogps:
    """Log-probs of the targets by the head's logits, in the precision of autocast if it is on."""
    if type(head) is not nn.Linear:  # adapters on the head: it computes its own logits, rows at once
        logits_NV = shape(head(hidden_ND))
        logps_N, certainty_N = _reduce(logits_NV, labels_N, certainty)[:2]
        return TokenLogps(logps_N, certainty_N)
    if torch.is_autocast_enabled(hidden_ND.device.type):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(hidden_ND.device.type))
    found = _Head.apply(hidden_ND, head.weight, head.bias, labels_N, shape, certainty)  # type: ignore[no-untyped-call]
    return TokenLogps(found[0], found[1] if certainty else None)


def _reduce(logits_NV: Tensor, labels_N: Tensor, certainty: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Log-prob and certainty of each label, and the log-sum-exp."""
    lse_N = logits_NV.logsumexp(-1)
    at_N = logits_NV.gather(1, labels_N[:, None])[:, 0]
    if not certainty:
        return at_N - lse_N, lse_N.detach(), lse_N
    squares_N = (logits_NV.detach() * 2).logsumexp(-1) - 2 * lse_N.detach()
    return at_N - lse_N, (at_N - lse_N).detach() - squares_N, lse_N


class _Head(torch.autograd.Function):
    """log p of labels under softmax(shape(h W' + b)); weights stay fp32, products take hidden's dtype."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, labels_N: Tensor, shape: Shape,
        certainty: bool,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden_ND.device.type, enabled=False):
            low_VD = weight_VD.to(hidden_ND.dtype)
            low_V = None if bias_V is None else bias_V.to(hidden_ND.dtype)
            keep = any(ctx.needs_input_grad) and len(hidden_ND) * len(weight_VD) <= KEPT
            kept, logps, certain, sums = [], [], [], []
            for rows in _chunks(len(hidden_ND), len(weight_VD)):
                raw = nn.functional.linear(hidden_ND[rows], low_VD, low_V)
                logp, sure, lse = _reduce(shape(raw), labels_N[rows], certainty)
                kept += [raw] if keep else []
                logps.append(logp)
                certain.append(sure)
                sums.append(lse)
            ctx.shape = shape
            ctx.save_for_backward(hidden_ND, weight_VD, bias_V, labels_N, torch.cat(sums), *kept)
            certainty_N = torch.cat(certain)
            ctx.mark_non_differentiable(certainty_N)
            return torch.cat(logps), certainty_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, labels_N, lse_N, *kept = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        low_VD = weight_VD.to(hidden_ND.dtype)
        low_V = None if bias_V is None else bias_V.to(hidden_ND.dtype)
        grad_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_VD = torch.zeros_like(weight_VD) if wants_weight else None
        grad_V = torch.zeros_like(bias_V) if wants_bias and bias_V is not None else None
        for i, rows in enumerate(_chunks(len(hidden_ND), len(weight_VD))):
            raw = kept[i] if kept else nn.functional.linear(hidden_ND[rows], low_VD, low_V)
            pull = _pull(ctx.shape, raw, labels_N[rows], lse_N[rows], grad_N[rows])
            low = pull.to(hidden_ND.dtype)
            if grad_ND is not None:
                torch.mm(low, low_VD, out=grad_ND[rows])
            if grad_VD is not None:
                grad_VD += low.T @ hidden_ND[rows]
            if grad_V is not None:
                grad_V += pull.sum(0)
        return grad_ND, grad_VD, grad_V, None, None, None


def _pull(shape: Shape, raw_NV: Tensor, labels_N: Tensor, lse_N: Tensor, grad_N: Tensor) -> Tensor:
    """The gradient by the head's output: g (1[v = label] - p_v), through the shape."""
    logits_NV = shape(raw_NV)
    grad_NV = (logits_NV - lse_N[:, None]).exp_().mul_(-grad_N[:, None])
    grad_NV.scatter_add_(1, labels_N[:, None], grad_N[:, None])
    return shape.pull_(grad_NV, logits_NV)


def _chunks(rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(16, CHUNK // vocabulary)
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))
