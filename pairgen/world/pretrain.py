"""Pretrain a seed model from nothing: one visible loop, some minutes on two cores.

A step packs its conversations into rows of T tokens without padding between them; each conversation
counts its positions from zero and sees itself only. The loss is on assistant tokens. Two lineages
(`seed-a` is 0, `seed-b` is 1) differ in weights at birth and in data order, so that a result can be
shown to hold for more than one model.

Shapes: B packed rows, T tokens in a row, N supervised positions of the batch.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pairgen.world import corpus
from pairgen.world.tokenizer import build_tokenizer

ROW = 136
PEAK_LR, WARMUP, WEIGHT_DECAY, CLIP = 2e-3, 60, 0.05, 1.0
STEPS = 1300


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed conversations; `doc_BT` is -1 on padding, `target_BT` is -100 where nothing is asked."""

    ids_BT: torch.Tensor
    doc_BT: torch.Tensor
    position_BT: torch.Tensor
    target_BT: torch.Tensor

    def mask(self) -> torch.Tensor:
        """[B, 1, T, T], true where a token may look: back, and inside its own conversation."""
        same_BTT = self.doc_BT[:, :, None] == self.doc_BT[:, None, :]
        return same_BTT.tril()[:, None]


def build_seed(
    out: Path, lineage: int, steps: int = STEPS, report: Callable[[int, float], None] | None = None
) -> None:
    """Train one lineage and write it as a Hugging Face folder, in bfloat16.

    `report(step, loss)` is called after every step. Sums round differently with another machine or number
    of threads, so the weights that ship are one outcome of this function, not the only one.
    """
    tokenizer = build_tokenizer()
    model = train(new_model(tokenizer, lineage), tokenizer, lineage, steps, report)
    save(model, tokenizer, out)


def new_model(tokenizer: PreTrainedTokenizerFast, lineage: int) -> LlamaForCausalLM:
    """A Llama of 0.87 million parameters with random weights."""
    torch.manual_seed(lineage)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=352, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    ))


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, lineage: int, steps: int,
    report: Callable[[int, float], None] | None,
) -> LlamaForCausalLM:
    """AdamW with a cosine schedule."""
    rng = random.Random(lineage)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_LR, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, steps))
    for step in range(steps):
        loss = batch_loss(model, pack(tokenizer, corpus.batch(rng)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        if report is not None:
            report(step, loss.item())
    return model


def lr_factor(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(steps - WARMUP, 1)))


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean negative log-likelihood of the supervised tokens; the LM head runs on their positions only."""
    hidden_BTD = model.model(
        input_ids=batch.ids_BT, position_ids=batch.position_BT, attention_mask=batch.mask(), use_cache=False
    ).last_hidden_state
    asked_BT = batch.target_BT != -100
    return cross_entropy(model.lm_head(hidden_BTD[asked_BT]), batch.target_BT[asked_BT])


def pack(tokenizer: PreTrainedTokenizerFast, conversations: list[list[corpus.Turn]]) -> Batch:
    """Conversations into rows of T tokens, longest first, each row filled as far as it goes."""
    encoded: list[list[int]] = tokenizer([corpus.text(turns) for turns in conversations])["input_ids"]
    rows: list[list[list[int]]] = []
    for ids in sorted(encoded, key=len, reverse=True):
        row = next((row for row in rows if sum(map(len, row)) + len(ids) <= ROW), None)
        if row is None:
            rows.append(row := [])
        row.append(ids)
    assistant, eos = tokenizer.convert_tokens_to_ids(["<assistant>", "<eos>"])
    columns = [_columns(row, assistant, eos) for row in rows]
    return Batch(*(torch.tensor(column) for column in zip(*columns, strict=True)))


def _columns(row: list[list[int]], assistant: int, eos: int) -> tuple[list[int], ...]:
    """ids, document number, position and target of one packed row."""
    pad = [0] * (ROW - sum(map(len, row)))
    return (
        [token for ids in row for token in ids] + pad,
        [number for number, ids in enumerate(row) for _ in ids] + [-1] * len(pad),
        [position for ids in row for position in range(len(ids))] + pad,
        [target for ids in row for target in targets(ids, assistant, eos)] + [-100] * len(pad),
    )


def targets(ids: list[int], assistant: int, eos: int) -> list[int]:
    """The next token where the assistant speaks (its end-of-turn included), -100 elsewhere."""
    found, speaking = [], False
    for token, following in zip(ids, [*ids[1:], -100], strict=True):
        speaking = token == assistant or (speaking and token != eos)
        found.append(following if speaking else -100)
    return found


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """A Hugging Face folder: weights in bfloat16 (1.7 MB), tokenizer, chat template, greedy defaults."""
    model.to(torch.bfloat16).save_pretrained(out)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=64,
    ).save_pretrained(out)
    tokenizer.save_pretrained(out)
