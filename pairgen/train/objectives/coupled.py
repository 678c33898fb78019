"""Losses whose rows meet: each value depends on other pairs, so they must see the whole step.

Names: M chosen, N rejected completions, E numbers of an embedding.
"""

from typing import TYPE_CHECKING

from pairgen.train.objectives.maths import FlipRate, Positive, Share, joined, nl, smoothed_nl
from pairgen.train.objectives.views import Pairs, Unpaired, needed

if TYPE_CHECKING:
    from torch import Tensor


def aot(x: Pairs, *, beta: Positive = 0.01, flip: FlipRate = 0.0) -> "Tensor":
    """nl(beta (k-th least policy margin - k-th least reference margin)). Melnyk et al. 2406.05882, paired."""
    policy_B = (x.chosen.logps_B - x.rejected.logps_B).sort().values
    return smoothed_nl(beta * (policy_B - (x.chosen.ref_B - x.rejected.ref_B).sort().values), flip)


def aot_unpaired(x: Pairs, *, beta: Positive = 0.01, flip: FlipRate = 0.0) -> "Tensor":
    """nl(beta (k-th least chosen ratio - k-th least rejected ratio)). Melnyk et al. 2406.05882, unpaired."""
    return smoothed_nl(beta * (x.c.sort().values - x.j.sort().values), flip)


def kto_pair(x: Pairs, *, beta: Positive = 0.1) -> "Tensor":
    """KTO on pairs, the KL of each half estimated by the other half's mean log-ratio. HALOs, first version.

    The estimates carry gradients, as in the code of the time. Half the sum of a pair's two losses, so
    that the mean over pairs is the mean over completions.
    """
    chosen_B, rejected_B = kto_pair_sides(x, beta).chunk(2)
    return 0.5 * (chosen_B + rejected_B)


def kto_pair_sides(x: Pairs, beta: float) -> "Tensor":
    """[2B]: the loss of every chosen completion, then of every rejected one."""
    chosen_kl, rejected_kl = x.c.mean().relu(), x.j.mean().relu()
    return joined(-beta * (x.c - rejected_kl), -beta * (chosen_kl - x.j)).sigmoid()


def relative_po(x: Pairs, *, beta: Positive = 0.1, tau: Positive = 0.5) -> "Tensor":
    """Every chosen against every rejected of the step, weighted by how alike their prompts are. 2402.10958.

    mean_k nl(beta w_ik (c_i - j_k)), w the softmax over k of -(1 - cosine of the prompts) / tau.
    """
    embedding_BE = needed(x.embedding_BE, "prompt embeddings")
    return contrasts(x.c, x.j, alike(embedding_BE, embedding_BE, tau), beta).mean(1)


def relative_po_diagonal(x: Pairs, *, beta: Positive = 0.1, own: Share = 0.8) -> "Tensor":
    """`own` nl(beta h) + (1 - own) of the mean contrast with other pairs' rejected sides; no embeddings. 2402.10958.

    A step of one pair has no others, and only its own contrast.
    """
    values_BB = contrasts(x.c, x.j, x.c.new_ones(()), beta)
    own_B, others = values_BB.diagonal(), len(values_BB) - 1
    return own * own_B + (1 - own) * ((values_BB.sum(1) - own_B) / max(others, 1))


def relative_po_unpaired(x: Unpaired, *, beta: Positive = 0.1, tau: Positive = 0.5) -> "Tensor":
    """Relative PO where desirable and undesirable completions have prompts of their own. 2402.10958.

    The loss is a mean over desirable completions, so their values are scaled to make it the mean over
    all, where undesirable ones count as zero. A step that lacks one class has nothing to contrast: zeros.
    """
    c_M, j_N = x.desirable.ratio_B, x.undesirable.ratio_B
    if not len(c_M) or not len(j_N):
        return 0 * joined(c_M, j_N)
    desirable_ME = needed(x.desirable_embedding_BE, "prompt embeddings")
    weights_MN = alike(desirable_ME, needed(x.undesirable_embedding_BE, "prompt embeddings"), tau)
    values_M = contrasts(c_M, j_N, weights_MN, beta).mean(1)
    return joined(values_M * (1 + len(j_N) / len(c_M)), 0 * j_N)


def contrasts(c_M: "Tensor", j_N: "Tensor", weights: "Tensor", beta: float) -> "Tensor":
    """[M, N]: nl(beta w_ik (c_i - j_k))."""
    return nl(beta * weights * (c_M[:, None] - j_N))


def alike(own_ME: "Tensor", other_NE: "Tensor", tau: float) -> "Tensor":
    """[M, N]: softmax over the others of -(1 - cosine)/tau. Embeddings need no unit length, but must not be zero."""
    own_ME, other_NE = own_ME / own_ME.norm(dim=1, keepdim=True), other_NE / other_NE.norm(dim=1, keepdim=True)
    return ((own_ME @ other_NE.T - 1) / tau).softmax(1)
