"""From hidden states to log-probs of targets: one fused function, so that logits never live long.

The log-prob of a target needs one logit and the log-sum-exp of its row; the gradient needs the row again.
Rows are taken in chunks: logits are made, reduced and forgotten. What the gradient needs of a row is
e_v = exp(logit_v - max) with e_y - sum e at the target y: it is kept in the precision of the matrix
products, so the way back is two of them and nothing else, or made again where it would be large.
Everything between the products is fp32, sums over chunks too.

Names: N target tokens, D hidden size, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CHUNK = 1 << 22
"""Logits of a chunk: 16 MiB in fp32, which caches hold."""
KEPT = 1 << 26
"""Logits whose row is kept for the backward pass: 128 MiB in bf16. Beyond, it is made again."""


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
        """Logits from the head's output. Without scale and cap the output itself."""
        logits_NV = raw_NV * self.scale if self.scale != 1 else raw_NV
        return logits_NV if self.cap is None else self.cap * (logits_NV / self.cap).tanh()

    def slope(self, logits_NV: Tensor) -> Tensor | float:
        """The derivative of logits by the head's output."""
        return self.scale if self.cap is None else self.scale * (1 - (logits_NV / self.cap).square())

    @property
    def is_plain(self) -> bool:
        """Whether logits are the head's output, so that they may stay in its precision."""
        return self == Shape()


class TokenLogps(NamedTuple):
    """Of each target, [N] in fp32: log p, and log p - log sum_v p_v^2 (no gradient) if it was asked for."""

    logps_N: Tensor
    certainty_N: Tensor | None


def score(head: nn.Module, shape: Shape, hidden_ND: Tensor, labels_N: Tensor, certainty: bool) -> TokenLogps:
    """Log-probs of the targets by the head's logits, in the precision of autocast if it is on."""
    if type(head) is not nn.Linear:  # adapters on the head: it makes its own logits, of all rows at once
        return _whole(shape(_fp32(head(hidden_ND))), labels_N, certainty)
    if torch.is_autocast_enabled(hidden_ND.device.type):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(hidden_ND.device.type))
    found = _Head.apply(hidden_ND, head.weight, head.bias, labels_N, shape, certainty)  # type: ignore[no-untyped-call]
    return TokenLogps(found[0], found[1] if certainty else None)


def _whole(logits_NV: Tensor, labels_N: Tensor, certainty: bool) -> TokenLogps:
    logps_NV = logits_NV.log_softmax(-1)
    logps_N = logps_NV.gather(1, labels_N[:, None])[:, 0]
    if not certainty:
        return TokenLogps(logps_N, None)
    return TokenLogps(logps_N, logps_N.detach() - (2 * logps_NV.detach()).logsumexp(-1))


def _fp32(x: Tensor) -> Tensor:
    """At least: fp64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, slots=True)
class _Row:
    """Of a chunk: log p and certainty [n], what the gradient by the head's output is made of [n, V], and its
    factor [n]: d log p / d output = factor * pull, the factor yet to be multiplied by the loss's gradient."""

    logps_N: Tensor
    certainty_N: Tensor
    pull_NV: Tensor
    factor_N: Tensor


def _row(raw_NV: Tensor, labels_N: Tensor, shape: Shape, certainty: bool) -> _Row:
    logits_NV = raw_NV if shape.is_plain else shape(_fp32(raw_NV))
    max_N1 = logits_NV.amax(-1, keepdim=True)
    shifted_NV = _fp32(logits_NV).sub_(_fp32(max_N1)) if logits_NV.dtype == torch.bfloat16 else logits_NV - max_N1
    at_N1 = labels_N[:, None]
    own_N1 = shifted_NV.gather(1, at_N1)
    e_NV = shifted_NV.exp_()
    sum_N1 = e_NV.sum(-1, keepdim=True)
    log_N1 = sum_N1.log()
    logps_N1 = own_N1 - log_N1
    certain_N1 = logps_N1
    if certainty:
        certain_N1 = logps_N1 - torch.linalg.vector_norm(e_NV, dim=-1, keepdim=True).log() * 2 + log_N1 * 2
    e_NV.scatter_(1, at_N1, own_N1.exp() - sum_N1)
    if not shape.is_plain:
        e_NV *= shape.slope(logits_NV)
    return _Row(logps_N1[:, 0], certain_N1[:, 0], e_NV, -1 / sum_N1[:, 0])


class _Head(torch.autograd.Function):
    """log p of labels under softmax(shape(h W' + b)); weights stay fp32, products take hidden's dtype."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, labels_N: Tensor, shape: Shape,
        certainty: bool,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden_ND.device.type, enabled=False):
            low_VD, low_V = _low(weight_VD, hidden_ND.dtype), _low(bias_V, hidden_ND.dtype)
            keep = any(ctx.needs_input_grad) and len(hidden_ND) * len(weight_VD) <= KEPT
            pull_NV = hidden_ND.new_empty(len(hidden_ND) if keep else 0, len(weight_VD))
            logps, certain, factors = [], [], []
            for rows in _chunks(len(hidden_ND), len(weight_VD)):
                found = _row(nn.functional.linear(hidden_ND[rows], low_VD, low_V), labels_N[rows], shape, certainty)
                logps.append(found.logps_N)
                certain.append(found.certainty_N)
                if keep:
                    pull_NV[rows] = found.pull_NV
                factors.append(found.factor_N)
            ctx.shape = shape
            ctx.save_for_backward(hidden_ND, weight_VD, bias_V, labels_N, torch.cat(factors), pull_NV if keep else None)
            certainty_N = torch.cat(certain)
            ctx.mark_non_differentiable(certainty_N)
            return torch.cat(logps), certainty_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, labels_N, factor_N, kept_NV = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        low_VD, low_V = _low(weight_VD, hidden_ND.dtype), _low(bias_V, hidden_ND.dtype)
        grad_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_VD = torch.zeros_like(weight_VD) if wants_weight else None
        grad_V = torch.zeros_like(bias_V) if wants_bias and bias_V is not None else None
        by_N1 = (grad_N * factor_N)[:, None]
        scaled_ND = (hidden_ND * by_N1).to(hidden_ND.dtype)
        all_rows = [slice(None)] if kept_NV is not None else _chunks(len(hidden_ND), len(weight_VD))
        for rows in all_rows:
            pull_NV = kept_NV
            if pull_NV is None:
                raw_NV = nn.functional.linear(hidden_ND[rows], low_VD, low_V)
                pull_NV = _row(raw_NV, labels_N[rows], ctx.shape, False).pull_NV.to(raw_NV.dtype)
            if grad_ND is not None:
                grad_ND[rows] = (pull_NV @ low_VD) * by_N1[rows]
            if grad_VD is not None:
                grad_VD += pull_NV.T @ scaled_ND[rows]
            if grad_V is not None:
                grad_V += (pull_NV * by_N1[rows]).sum(0)
        return grad_ND, grad_VD, grad_V, None, None, None


def _low(x: Tensor | None, dtype: torch.dtype) -> Any:
    return None if x is None else x.to(dtype)


def _chunks(rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(16, CHUNK // vocabulary)
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))
