"""A causal language model on its device, in its precision, with or without adapters; and its folder.

Weights are held and updated in fp32; `bf16` is autocast around the forward pass. Dropout is off but for
the adapters' own, so that log-probs before the first step are the reference's.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from pairgen.errors import UsageError
from pairgen.models import readable
from pairgen.train.attention import DENSE, choose
from pairgen.train.config import Lora, TrainConfig
from pairgen.train.crew import SMALL
from pairgen.train.logps import Scorer
from pairgen.train.norms import round_norms
from pairgen.train.reward import HEAD, RewardScorer, is_reward_model, load_reward


@dataclass(frozen=True, slots=True)
class Policy:
    """The model being trained. `scorer` is its whole forward pass; `adapters` its peft wrapper, if there is one.

    `attention` says in a line how attention is computed.
    """

    model: Any
    scorer: Scorer | RewardScorer
    adapters: Any | None
    device: torch.device
    bf16: bool
    dtype: torch.dtype
    is_reward: bool = False
    attention: str = ""

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    @property
    def side_by_side(self) -> bool:
        """Whether micro-batches may be computed at once: small, on a CPU, and nothing drawn at random."""
        small = sum(p.numel() for p in self.model.parameters()) < SMALL
        random = any(isinstance(m, nn.Dropout) and m.p > 0 for m in self.model.modules())
        return small and self.device.type == "cpu" and not random

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name, tied ones once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def positions_of(folder: Path) -> int:
    """The longest sequence a model takes, its attention window if that is shorter: our masks know no window."""
    with readable(folder, "config"):
        config = AutoConfig.from_pretrained(folder).get_text_config()
    window = getattr(config, "sliding_window", None) or config.max_position_embeddings
    return int(min(config.max_position_embeddings, window))


def load(folder: Path, config: TrainConfig, placed: bool = True) -> Policy:
    """Load a model for training. The same folder and seed give the same bits.

    Without `placed` its weights wait on the CPU for `sharding` to move each rank's slices to the device.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
    attention = choose(device)
    name = attention.name
    with readable(folder):
        dtype = AutoConfig.from_pretrained(folder).dtype or torch.float32
        model = load_reward(folder, config, name) if config.is_reward else _language_model(folder, name)
    text = attention.text
    if not model._supports_attention_backend:  # its layers hand over a mask and nothing else
        model.set_attn_implementation(DENSE)
        text = f"attention: sdpa with a tree mask ({type(model).__name__} takes no other)"
    if bf16 and device.type == "cpu":
        round_norms(model.base_model)
    _switch_dropout_off(model)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    torch.manual_seed(config.seed)  # adapters start at random
    adapters = _with_adapters(model, config.lora, config.is_reward) if config.lora else None
    model.to(device if placed else "cpu").train()
    scorer = RewardScorer(model) if config.is_reward else Scorer(model)
    return Policy(model, scorer, adapters, device, bf16, dtype, config.is_reward, text)


def _language_model(folder: Path, attention: str) -> Any:
    if is_reward_model(AutoConfig.from_pretrained(folder)):
        raise UsageError(f"{folder}: a reward model, which has no log-probs: give the language model it was made of")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)


def _switch_dropout_off(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _with_adapters(model: Any, lora: Lora, is_reward: bool) -> Any:
    """The model's peft wrapper. A reward head is trained whole beside the adapters."""
    from peft import LoraConfig, get_peft_model

    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if unknown := set(lora.targets) - names:
        raise UsageError(f"lora.targets: no linear layer {sorted(unknown)[0]!r}; have: {', '.join(sorted(names))}")
    return get_peft_model(model, LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout,
        task_type="SEQ_CLS" if is_reward else "CAUSAL_LM", modules_to_save=[HEAD] if is_reward else None,
        target_modules=list(lora.targets) or "all-linear",
    ))
