"""Attention of prompt trees on a CPU: each visible piece by the fastest kernel there is, and nothing else.

torch's CPU flash kernel computes a square or a rectangle without a mask and gives log-sum-exps, by which
the two parts of a branch are joined. Going back, a piece is computed with the output and log-sum-exp of
the whole row in place of its own, and so gives its part of the gradient.

The kernel's way back is slow in bf16 (2 to 4 times the matrix products it is made of), so it is written
out: two passes over some of the scores at a time, in bf16, all subtractions folded into the products.

Names: B blocks, H heads, G key-value heads, T tokens of a block, d head size, Q queries and K keys of a piece.
"""

from typing import Any

import torch
from torch import Tensor

from pairgen.train.layout import Layout, Piece

SQUARE = 256
"""Causal squares up to this size are computed whole on the way back in bf16; larger ones are cut into such."""
SCORES = 1 << 20
"""Scores made at once on the way back in bf16: 2 MiB, which caches hold."""


class _Trees(torch.autograd.Function):
    """softmax(scale q k') v, each query over what it may see; equal numbers of query and key heads."""

    @staticmethod
    def forward(ctx: Any, q_BHTd: Tensor, k_BHTd: Tensor, v_BHTd: Tensor, layout: Layout, scale: float) -> Tensor:
        blocks, heads, tokens, _ = q_BHTd.shape
        # laid out as the kernel does: heads innermost
        out_BHTd = q_BHTd.new_zeros(blocks, tokens, heads, v_BHTd.shape[-1]).transpose(1, 2)
        sums_BHT = torch.zeros(blocks, tokens, heads, dtype=_sums(q_BHTd.dtype)).transpose(1, 2)
        for p in layout.pieces:
            here, keys = p.queries, p.keys
            out, sums = _flash(q_BHTd[here], k_BHTd[keys], v_BHTd[keys], p.is_causal, scale)
            if p.is_causal:
                out_BHTd[here], sums_BHT[here] = out, sums
            else:
                _join(out_BHTd[here], sums_BHT[here], out, sums)
        ctx.layout, ctx.scale = layout, scale
        ctx.save_for_backward(q_BHTd, k_BHTd, v_BHTd, out_BHTd, sums_BHT)
        return out_BHTd

    @staticmethod
    def backward(ctx: Any, grad_BHTd: Tensor) -> tuple[Tensor | None, ...]:
        q_BHTd, k_BHTd, v_BHTd, out_BHTd, sums_BHT = ctx.saved_tensors
        pulls = [_laid_out(x, _sums(x.dtype)) for x in (q_BHTd, k_BHTd, v_BHTd)]
        if q_BHTd.dtype == torch.bfloat16:
            back = _Products(grad_BHTd, q_BHTd, k_BHTd, v_BHTd, out_BHTd, sums_BHT, ctx.scale)
            for p in ctx.layout.pieces:
                for part in p.split(SQUARE):
                    back(part, pulls)
        else:
            for p in ctx.layout.pieces:
                _flash_back(grad_BHTd, q_BHTd, k_BHTd, v_BHTd, out_BHTd, sums_BHT, p, ctx.scale, pulls)
        return (*(pull.to(q_BHTd.dtype) for pull in pulls), None, None)


def _laid_out(x_BHTd: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros in the shape of x, heads innermost, as the layers of a model want them."""
    blocks, heads, tokens, size = x_BHTd.shape
    return torch.zeros(blocks, tokens, heads, size, dtype=dtype).transpose(1, 2)


def _sums(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _flash(q: Tensor, k: Tensor, v: Tensor, is_causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, is_causal, scale=scale)
    return found


def _flash_back(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, p: Piece,
                scale: float, pulls: list[Tensor]) -> None:
    """Add the gradients of a piece."""
    here, keys = p.queries, p.keys
    parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad[here], q[here], k[keys], v[keys], out[here], sums[here], 0.0, p.is_causal, scale=scale)
    for pull, part, place in zip(pulls, parts, (here, keys, keys), strict=True):
        pull[place] += part


class _Products:
    """The gradients of pieces by matrix products in bf16, written out.

    With p = exp(s q k' - sums) and D = rowsum(grad * out): dv = p' grad, ds = p * (grad v' - D), dq = s ds k,
    dk = s ds' q. The subtractions are columns: -sums and -D, as a bf16 number and the bf16 number that it
    lacks, stand beside q and grad, ones beside k and v. So a score is touched twice, by exp and by *.
    """

    def __init__(self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, sums: Tensor, scale: float) -> None:
        self.scale, self.size = scale, q.shape[-1]
        self.q = _beside(q * scale, -sums)
        self.grad = _beside(grad, -(grad.float() * out).sum(-1))
        ones = k.new_ones(*k.shape[:-1], 2)
        self.k, self.v = torch.cat([k, ones], -1), torch.cat([v, ones], -1)

    def __call__(self, p: Piece, pulls: list[Tensor]) -> None:
        """Add the gradients of a piece, which is a rectangle or a small square."""
        dq, dk, dv = pulls
        k_HKd, v_HKd = (x[p.block, :, p.start : p.stop].contiguous() for x in (self.k, self.v))
        keys = (p.block, slice(None), slice(p.start, p.stop))
        step = p.last - p.first if p.is_causal else max(32, SCORES // (len(k_HKd) * k_HKd.shape[1]) // 32 * 32)
        for first in range(p.first, p.last, step):
            here = (p.block, slice(None), slice(first, min(first + step, p.last)))
            q_HQd, grad_HQd = self.q[here].contiguous(), self.grad[here].contiguous()
            score_HQK = torch.bmm(q_HQd, k_HKd.transpose(1, 2)).exp_()
            if p.is_causal:
                score_HQK.tril_()
            dv[keys] += self._own(torch.bmm(score_HQK.transpose(1, 2), grad_HQd))
            score_HQK *= torch.bmm(grad_HQd, v_HKd.transpose(1, 2))
            dk[keys] += self._own(torch.bmm(score_HQK.transpose(1, 2), q_HQd))
            dq[here].add_(self._own(torch.bmm(score_HQK, k_HKd)), alpha=self.scale)

    def _own(self, x: Tensor) -> Tensor:
        """Without the two columns."""
        return x[..., : self.size]


def _beside(x: Tensor, column: Tensor) -> Tensor:
    """x with an fp32 column beside it, as two of x's precision."""
    high = column.to(x.dtype)
    low = (column - high).to(x.dtype)
    return torch.cat([x, high[..., None], low[..., None]], -1)


def _join(out: Tensor, sums: Tensor, more: Tensor, more_sums: Tensor) -> None:
    """Two softmaxes over parts of the keys as one over all, in place of the first."""
    both = torch.logaddexp(sums, more_sums)
    old, new = (sums - both).exp_()[..., None], (more_sums - both).exp_()[..., None]
    out.copy_(out * old + more * new)
    sums.copy_(both)


def tree_attention(q_BHTd: Tensor, k_BGTd: Tensor, v_BGTd: Tensor, layout: Layout, scale: float) -> Tensor:
    """Attention of prompt trees on a CPU, [B, H, T, d]. Padding gives zeros."""
    groups = q_BHTd.shape[1] // k_BGTd.shape[1]
    k_BHTd, v_BHTd = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (k_BGTd, v_BGTd))
    return _Trees.apply(q_BHTd, k_BHTd, v_BHTd, layout, scale)  # type: ignore[no-any-return, no-untyped-call]
