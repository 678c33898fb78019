"""Log-probs of completions: the LM head on target positions only, fp32 from the logits on.

Logits of all positions would be the largest tensor of a step by far (tokens x vocabulary); those of a
chunk of targets are computed, reduced and forgotten, and computed again in the backward pass.

Names: B blocks, T tokens of a block, N target tokens, K branches, D hidden size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from pairgen.errors import UsageError
from pairgen.train.encode import Branch, Example
from pairgen.train.packing import MicroBatch, micro_batches

LOGITS = 1 << 24  # logits kept at once: 64 MiB in fp32


def branch_logps(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Summed log-probs of each branch's targets, [K] in fp32."""
    logps_N = target_logps(model, batch)
    return logps_N.new_zeros(len(batch.tokens_K)).index_add(0, batch.branch_N, logps_N)


def target_logps(model: Any, batch: MicroBatch) -> Tensor:
    """The log-prob of every target token, [N] in fp32."""
    hidden_BTD = model.get_decoder()(
        input_ids=batch.ids_BT, position_ids=batch.positions_BT, attention_mask=batch.mask_B1TT, use_cache=False,
    ).last_hidden_state
    hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, batch.at_N)
    chunk = max(1, LOGITS // model.config.get_text_config().vocab_size)
    if len(hidden_ND) <= chunk:
        return _logps(model, hidden_ND, batch.labels_N)
    parts = zip(torch.split(hidden_ND, chunk), torch.split(batch.labels_N, chunk), strict=True)
    return torch.cat([checkpoint(_logps, model, h, labels, use_reentrant=False) for h, labels in parts])


def _logps(model: Any, hidden_ND: Tensor, labels_N: Tensor) -> Tensor:
    logits_NV = model.get_output_embeddings()(hidden_ND).float()
    config = model.config.get_text_config()
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_NV = logits_NV * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits_NV = logits_NV / divisor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits_NV = cap * (logits_NV / cap).tanh()
    return -cross_entropy(logits_NV, labels_N, reduction="none")


@torch.no_grad()
def check_trees(model: Any, examples: Sequence[Example]) -> None:
    """Compare one tree with plain forwards of the model, so that no model is trained on wrong log-probs.

    Raises UsageError for a model that looks past our masks or positions (state-space layers, ALiBi), or
    whose logits are made in a way `_logps` does not know.
    """
    model.eval()
    batch = micro_batches(examples[:2], 1 << 30)[0].to(model.device)
    packed = branch_logps(model, batch) / batch.tokens_K
    sides = [(e.prompt.tolist(), b) for e in examples[:2] for b in (e.chosen, e.rejected) if b]
    plain = [_plain(model, prompt, branch) for prompt, branch in sides]
    model.train()
    worst = max(abs(a - b) for a, b in zip(sorted(packed.tolist()), sorted(plain), strict=True))
    if not worst < 0.05:  # far above what bf16 rounds, far below what a wrong mask does
        name = type(model).__name__
        raise UsageError(f"{name} gives other log-probs in prompt trees (off by {worst:.2g} a token): not supported")


def _plain(model: Any, prompt: list[int], branch: Branch) -> float:
    """Mean log-prob of a branch's targets by the model's own forward."""
    ids_T = torch.tensor([*prompt, *branch.ids.tolist()], device=model.device)
    logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    logps_C = -cross_entropy(logits_TV, ids_T[len(prompt) :], reduction="none")
    return logps_C[torch.from_numpy(branch.targets).to(model.device)].mean().item()
