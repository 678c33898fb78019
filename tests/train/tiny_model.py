"""The tiny model of these tests, and rows for it. Not a test module, so that subprocesses can use it."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pairgen.records import Demonstration, Message, Messages, Preference

TEMPLATE = """\
{{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}<assistant>{{ m.content }}{{ eos_token }}{{ '\\n' }}
{%- else -%}<user>{{ m.content }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<assistant>{%- endif -%}
"""
SPECIALS = ["<pad>", "<bos>", "<eos>", "<user>", "<assistant>"]


def build_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token per byte, and the chat's special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(SPECIALS + letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(SPECIALS)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
        extra_special_tokens=["<user>", "<assistant>"], chat_template=template,
        clean_up_tokenization_spaces=False, model_max_length=256,
    )


def build_model(folder: Path, hidden: int = 32, layers: int = 2) -> Path:
    """A tied two-layer Llama with grouped-query attention and weights large enough to tell inputs apart."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=2 * hidden, vocab_size=261, tie_word_embeddings=True, max_position_embeddings=256,
        initializer_range=0.2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    ))
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def turns(*texts: str) -> Messages:
    """A conversation that alternates user and assistant."""
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


def demonstrations(n: int, seed: int = 0, kind: str = "judgment") -> list[Demonstration]:
    """Prompts of digits with an answer that can be learnt: the first one."""
    rng = random.Random(f"{seed}{kind}")
    rows = []
    for i in range(n):
        digits = "".join(rng.choices("0123456789", k=rng.randint(3, 20)))
        rows.append(Demonstration(f"d{kind}{i}", turns(f"{digits}: first", f"={digits[0]}"), kind))
    return rows


def preferences(n: int, seed: int = 0, prompts: int | None = None) -> list[Preference]:
    """Pairs over `prompts` different prompts (all different without it), sides of different lengths."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        asked = f"prompt {i % prompts}" if prompts else f"{i}: which is larger, {rng.randint(0, 9)}?"
        good, bad = f"={i % 10} (A)", "?" * rng.randint(1, 12)
        rows.append(Preference(
            f"p{i}", turns(asked), (Message("assistant", good),), (Message("assistant", bad),), "judgment", "wrong",
        ))
    return rows


def train_until(kill_at: int, init: Path | str, out: Path | str, lora: bool, failpoint: str | None = None,
                options: dict[str, Any] | None = None) -> None:
    """A run of 10 steps over pairs and replay that kills its process after a step or at a failpoint.

    With `options` of a config it is one over pairs alone, with a held-out set.
    """
    from pairgen import failpoints
    from pairgen.train.config import TrainConfig
    from pairgen.train.loop import train
    from pairgen.train.metrics import StepLog

    torch.set_num_threads(1)
    failpoints.arm(failpoint)
    config = TrainConfig.model_validate({
        "objective": "rpo", "learning_rate": 5e-3, "batch_size": 8, "epochs": 2, "checkpoint_every": 2,
        "weight_decay": 0.01, "lora": {"r": 4, "dropout": 0.2} if lora else None, "heldout_every": 2,
        **(options or {}),
    })

    def on_step(log: StepLog) -> None:
        if log.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    rows = preferences(40) if options else [*preferences(24), *demonstrations(16, kind="replay")]
    heldout = preferences(4, seed=9) if options else None
    train(config, rows, Path(init), Path(out), on_step=on_step, heldout=heldout)
