"""Log-probs of completions: the decoder over prompt trees, the LM head on target positions only.

Logits of all positions would be the largest tensor of a step by far (tokens x vocabulary); see `head`.

Names: B blocks, T tokens of a block, N target tokens, K branches, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pairgen.errors import UsageError
from pairgen.train.attention import attention_inputs
from pairgen.train.head import Shape, TokenLogps, score
from pairgen.train.layout import Layout
from pairgen.train.packing import MicroBatch, micro_batches

if TYPE_CHECKING:
    from pairgen.train.example import Branch, Example
    from pairgen.train.model import Policy

__all__ = ["Scorer", "TokenLogps", "Whole", "branch_logps", "check_trees", "target_logps", "token_logps"]

T = TypeVar("T")


class Whole(nn.Module):
    """A module whose forward pass is the model's whole one."""

    def opened(self, work: Callable[[], T]) -> T:
        """`work` that calls the model past this module; where weights are sharded, with the root's put together."""
        return work()


class Scorer(Whole):
    """The whole forward pass as one module, so that hooks on it (sharded weights) see all of it.

    `model` is a Hugging Face causal language model; its decoder gives hidden states, its output
    embeddings the logits of target positions.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: MicroBatch, certainty: bool = False) -> TokenLogps:
        """Log-probs of the batch's targets."""
        hidden_ND = states(self.model.get_decoder(), batch).flatten(0, 1).index_select(0, batch.at_N)
        shape = Shape.of(self.model.config.get_text_config())
        return score(self.model.get_output_embeddings(), shape, hidden_ND, batch.labels_N, certainty)


def states(decoder: Any, batch: MicroBatch) -> Tensor:
    """The decoder's hidden states of a micro-batch, [B, T, D]."""
    hidden_BTD: Tensor = decoder(
        input_ids=batch.ids_BT, position_ids=batch.positions_BT, use_cache=False,
        **attention_inputs(decoder, Layout(batch.tree_BT, batch.branch_BT)),
    ).last_hidden_state
    return hidden_BTD


def token_logps(policy: Policy, batch: MicroBatch, certainty: bool = False) -> TokenLogps:
    """Log p of every target, [N] in fp32, and on request log p - log sum_v p_v^2 (WPO; no gradient)."""
    found: TokenLogps = policy.scorer(batch, certainty)
    return found


def target_logps(model: Any, batch: MicroBatch) -> Tensor:
    """The log-prob of every target token, [N] in fp32."""
    found: TokenLogps = Scorer(model)(batch)
    return found.logps_N


def branch_logps(model: Any, batch: MicroBatch) -> Tensor:
    """Summed log-probs of each branch's targets, [K] in fp32."""
    logps_N = target_logps(model, batch)
    return logps_N.new_zeros(len(batch.tokens_K)).index_add(0, batch.branch_N, logps_N)


@torch.no_grad()
def check_trees(model: Any, examples: Sequence[Example]) -> None:
    """Compare trees with plain forwards of the model, so that no model is trained on wrong log-probs.

    Raises UsageError for a model that looks past our masks or positions (state-space layers, ALiBi), or
    whose logits are made in a way `head.Shape` does not know.
    """
    examples = examples[:2]
    model.eval()
    worst = 0.0
    for batch in micro_batches(examples, 1 << 30):
        batch = batch.to(model.device)
        mean_K = branch_logps(model, batch) / batch.tokens_K
        for row, branch_S in zip(batch.rows_R.tolist(), batch.branch_RS.tolist(), strict=True):
            for side, k in zip(examples[row].sides, branch_S, strict=True):
                if side is not None:
                    off = abs(mean_K[k].item() - _plain(model, examples[row].prompt.tolist(), side))
                    worst = off if math.isnan(off) else max(worst, off)
    model.train()
    if not worst < 0.05:  # far above what bf16 rounds, far below what a wrong mask does
        name = type(model).__name__
        raise UsageError(f"{name} gives other log-probs in prompt trees (off by {worst:.2g} a token): not supported")


def _plain(model: Any, prompt: list[int], branch: Branch) -> float:
    """Mean log-prob of a branch's targets by the model's own forward."""
    ids_T = torch.tensor([*prompt, *branch.ids.tolist()], device=model.device)
    logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    logps_C = -cross_entropy(logits_TV, ids_T[len(prompt) :], reduction="none")
    return logps_C[torch.from_numpy(branch.targets).to(model.device)].mean().item()
