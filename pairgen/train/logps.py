"""Log-probs of completions: the LM head on target positions only, fp32 from the logits on.

Logits of all positions would be the largest tensor of a step by far (tokens x vocabulary); those of a
chunk of targets are computed, reduced and forgotten, and computed again in the backward pass.

Names: B blocks, T tokens of a block, N target tokens, K branches, D hidden size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from pairgen.train.packing import MicroBatch

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
