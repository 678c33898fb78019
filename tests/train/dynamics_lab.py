"""A small world in which preference training can be watched: a policy that has learnt to write, and pairs.

A prompt lists digits. An answer has a clause for each: the digit, whether it is odd or even, a word that
suits the digit, a mark. The policy is pretrained here in seconds, in its own style, slipping on one fact
in four, and knows a second style (other words, another mark) from a few documents. The pairs are the four
constructions of 2408.06266: `clair` (the policy's own answer against a revision that corrects its slips and
rewrites some of it), `judge` (two of its own answers, the one with fewer slips won), `off-policy` (both in
the second style, both with slips) and `stronger` (a flawless answer in the second style against its own).
"""

import atexit
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
from tiny_model import build_tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from pairgen.records import Message, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.loop import train

Construction = Literal["clair", "judge", "off-policy", "stronger"]
Style = Literal["own", "second"]

CLAUSES, CLAUSE = 5, 4
WORDS: dict[Style, str] = {"own": "ABCDEFGH", "second": "IJKLMNOP"}
MARKS: dict[Style, tuple[int, int]] = {"own": (9, 1), "second": (1, 9)}
SLIPS = 0.25
REWRITTEN = 0.3
"""Share of the words and marks that a revision changes beside the slips."""

MEASURED = {"use": "dpo", "beta": 0.1, "weight": 1e-12}
"""A term of no weight: with it SFT, which reads neither reference nor rejected sides, is measured on both."""
OBJECTIVES: dict[str, Any] = {"sft": [{"use": "nll"}, MEASURED]}


# --- the world ----------------------------------------------------------------------------------------


def digits(rng: random.Random) -> str:
    """What a prompt asks about."""
    return "".join(rng.choices("0123456789", k=CLAUSES))


def asked(about: str) -> str:
    """The prompt: entries as long as clauses, so that a small model learns within seconds where to look."""
    return "".join(f"[{digit}] " for digit in about)


def fact(digit: str) -> str:
    """`o` for odd, `e` for even."""
    return "eo"[int(digit) % 2]


def word(rng: random.Random, style: Style, digit: str) -> str:
    """One of eight words, the digit's own most often."""
    return WORDS[style][(int(digit) + min(int(rng.expovariate(1.0)), 7)) % 8]


def mark(rng: random.Random, style: Style) -> str:
    """A comma in the own style, a semicolon in the second, nine times in ten."""
    return rng.choices(",;", MARKS[style])[0]


def written(rng: random.Random, about: str, style: Style, slips: float) -> str:
    """An answer by nobody's model."""
    facts = [fact(digit) if rng.random() >= slips else "eo"[1 - int(digit) % 2] for digit in about]
    return "".join(d + f + word(rng, style, d) + mark(rng, style) for d, f in zip(about, facts, strict=True))


def slips(about: str, answer: str) -> int:
    """Clauses of an answer that are wrong or missing."""
    return sum(answer[CLAUSE * i : CLAUSE * i + 2] != d + fact(d) for i, d in enumerate(about))


def revised(rng: random.Random, about: str, answer: str) -> str:
    """The answer with its slips corrected and some of its words and marks replaced by the second style's."""
    clauses = []
    for i, digit in enumerate(about):
        old = answer[CLAUSE * i : CLAUSE * (i + 1)].ljust(CLAUSE, ",")
        kept = [rng.random() >= REWRITTEN for _ in range(2)]
        clauses.append(digit + fact(digit) + (old[2] if kept[0] else word(rng, "second", digit))
                       + (old[3] if kept[1] else mark(rng, "second")))
    return "".join(clauses)


# --- the policy ---------------------------------------------------------------------------------------


@cache
def pretrained(seed: int, steps: int = 80) -> Path:
    """The folder of a policy: nine documents in ten are in its own style. Some seconds; kept for the process."""
    folder = Path(tempfile.mkdtemp(prefix=f"pairgen-dynamics-{seed}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tokenizer, rng = build_tokenizer(), random.Random(seed)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, intermediate_size=128,
        vocab_size=len(tokenizer), tie_word_embeddings=True, max_position_embeddings=64, initializer_range=0.1,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    ))
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
        loss = _imitation(model, tokenizer, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _imitation(model: Any, tokenizer: Any, rng: random.Random) -> torch.Tensor:
    rows = []
    for _ in range(48):
        about = digits(rng)
        style: Style = "own" if rng.random() < 0.9 else "second"
        rows.append(_prompt(tokenizer, about) + _ids(tokenizer, written(rng, about, style, SLIPS) + "<eos>"))
    ids_BT = torch.tensor(rows)
    start = len(_prompt(tokenizer, "0" * CLAUSES))
    logits_BTV = model(ids_BT).logits[:, start - 1 : -1]
    return cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, start:].flatten())


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _prompt(tokenizer: Any, about: str) -> list[int]:
    return _ids(tokenizer, f"<bos><user>{asked(about)}<assistant>")


@torch.no_grad()
def sampled(folder: Path, about: Sequence[str], seed: int) -> list[str]:
    """An answer of the policy to each prompt, at temperature 1."""
    tokenizer, model = build_tokenizer(), LlamaForCausalLM.from_pretrained(folder).eval()
    torch.manual_seed(seed)
    ids_BT = torch.tensor([_prompt(tokenizer, one) for one in about])
    out_BT = model.generate(ids_BT, do_sample=True, top_k=0, max_new_tokens=CLAUSES * CLAUSE + 1, pad_token_id=0)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in out_BT[:, ids_BT.shape[1] :].tolist()]


# --- the pairs ----------------------------------------------------------------------------------------


@cache
def pairs(folder: Path, construction: Construction, count: int, seed: int) -> Sequence[Preference]:
    """So many preference pairs of one construction, prompts drawn at random; kept for the process."""
    rng = random.Random(f"{construction}{seed}")
    about = [digits(rng) for _ in range(3 * count)]
    first = sampled(folder, about, seed)
    second = sampled(folder, about, seed + 1_000) if construction == "judge" else first
    rows = []
    for one, a, b in zip(about, first, second, strict=True):
        chosen, rejected = _sides(rng, construction, one, a, b)
        if slips(one, chosen) < slips(one, rejected):
            rows.append(_row(f"{construction}{len(rows)}", one, chosen, rejected))
    if len(rows) < count:
        raise ValueError(f"{construction}: only {len(rows)} of {count} pairs")
    return rows[:count]


def _sides(rng: random.Random, construction: Construction, about: str, a: str, b: str) -> tuple[str, str]:
    if construction == "clair":
        return revised(rng, about, a), a
    if construction == "stronger":
        return written(rng, about, "second", 0.0), a
    if construction == "off-policy":
        a, b = (written(rng, about, "second", share) for share in (0.2, 0.5))
    return (a, b) if slips(about, a) < slips(about, b) else (b, a)


def _row(row_id: str, about: str, chosen: str, rejected: str) -> Preference:
    prompt, sides = (Message("user", asked(about)),), (Message("assistant", text) for text in (chosen, rejected))
    return Preference(row_id, prompt, *((side,) for side in sides), "answer", "wrong")


# --- the runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its held-out lines, from before the first step, and its last line on training rows."""

    heldout: tuple[dict[str, float], ...]
    last: dict[str, Any]

    def curve(self, name: str) -> list[float]:
        """A held-out number at every measurement."""
        return [line[name] for line in self.heldout]

    def end(self, name: str) -> float:
        """A held-out number after the last step."""
        return self.heldout[-1][name]


ROWS, HELDOUT = 128, 48
WARMUP = 16
TRAINING: dict[str, Any] = {
    "optimizer": "rmsprop", "learning_rate": 1e-4, "warmup_steps": WARMUP, "batch_size": 16, "epochs": 8,
    "heldout_every": 4, "checkpoint_every": 0, "log_every": 100, "precision": "fp32",
}
"""The paper's optimizer, schedule (but for the warm-up, which draws its first steps out), batch and beta; one
learning rate for all objectives, as there: RMSProp divides the size of their first gradients out."""


@cache
def run(objective: str, construction: Construction, seed: int, better: float | None = None, epochs: int = 8) -> Run:
    """Train a policy with an objective on pairs of one kind; kept for the process.

    `better` gives rows scores: it is the share of pairs whose winner is better than the policy's answer.
    """
    policy = pretrained(seed)
    data = pairs(policy, construction, ROWS + HELDOUT, seed)
    if better is not None:
        data = [_scored(row, i % 4 < 4 * better) for i, row in enumerate(data)]
    config = TrainConfig.model_validate(
        {**TRAINING, "epochs": epochs, "seed": seed, "objective": OBJECTIVES.get(objective, objective)}
    )
    # side by side, micro-batches keep more cores busy; on one core they only add up
    with tempfile.TemporaryDirectory() as out, patch("pairgen.train.crew.PARTS", 1):
        train(config, data[:ROWS], policy, Path(out), heldout=data[ROWS:])
        seen, last = ((Path(out) / name).read_text().splitlines() for name in ("heldout.jsonl", "log.jsonl"))
    return Run(tuple(json.loads(line) for line in seen), json.loads(last[-1]))


def _scored(row: Preference, better: bool) -> Preference:
    return replace(row, chosen_score=1.0, rejected_score=0.0, policy_score=0.5 if better else 1.5)
