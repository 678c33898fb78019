"""What a training would do, without doing it: rows, tokens, steps, memory, and which tokens are learnt.

Memory is an estimate by formula, per parameter and per token, fp32 unless it says otherwise:
weights 4 bytes a parameter, gradients 4 and the optimizer's state 8 (AdamW) or 4 (RMSProp) a trained
one; a reference folder of its own 4 a parameter. Activations kept for the backward pass are, per token
of a micro-batch and layer, 12 hidden + 4 intermediate widths (6 for two norms, 6 around attention, the
gated MLP of a Llama block), or the block's input alone, and one block, with gradient checkpointing; they
halve in bf16. The head adds the logits it keeps and two chunks. Allocator overhead is not in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pairgen.fingerprint import JSON
from pairgen.train.config import Lora, TrainConfig
from pairgen.train.encode import Encoded, encode
from pairgen.train.example import CHOSEN, GOLD, REJECTED, STRANGER, Branch, Example, TrainRow

NAMES = {CHOSEN: "chosen", REJECTED: "rejected", STRANGER: "stranger", GOLD: "gold"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one epoch: every side with its own prompt, and as prompt trees by the way rows are mixed."""

    separate: int
    trees_by_rows: int
    trees_by_prompts: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, by the formula of this module."""

    weights: int
    reference: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens, decoded. `learnt` are targets of the loss."""

    text: str
    learnt: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One example as the model sees it: its prompt, and the pieces of each side that is there."""

    id: str
    prompt: str
    sides: dict[str, list[Piece]]


@dataclass(frozen=True, slots=True)
class Preview:
    """A training, foreseen. `drops` counts reasons, `longest` is the longest prompt + completion."""

    rows: int
    desirable: int
    undesirable: int
    drops: dict[str, int]
    cut_prompts: int
    cut_completions: int
    tokens: Tokens
    longest: int
    steps: int
    parameters: int
    trained: int
    memory: Memory
    example: Shown

    def to_json(self) -> dict[str, JSON]:
        """Everything as plain values."""
        return {**asdict(self), "memory": {**asdict(self.memory), "total": self.memory.total}}


def preview(config: TrainConfig, rows: Iterable[TrainRow], init: Path, reference: Path | None = None) -> Preview:
    """Encode the rows and count. No weights are read. Raises UsageError as training would."""
    from transformers import AutoTokenizer

    from pairgen.train.model import positions_of
    from pairgen.train.schedule import total_steps

    tokenizer = AutoTokenizer.from_pretrained(init)
    encoded = encode(rows, tokenizer, config, positions_of(init))
    counted = _parameters(config, init)
    return Preview(
        rows=len(encoded.examples), desirable=sum(e.chosen is not None for e in encoded.examples),
        undesirable=sum(e.rejected is not None for e in encoded.examples), drops=_reasons(encoded),
        cut_prompts=encoded.cut_prompts, cut_completions=encoded.cut_completions,
        tokens=_tokens(config, encoded.examples),
        longest=max(len(e.prompt) + len(b.ids) for e in encoded.examples for b in e.sides if b),
        steps=total_steps(config, len(encoded.examples)), parameters=counted.all, trained=counted.trained,
        memory=_memory(config, counted, reference is not None), example=_shown(encoded.examples[0], tokenizer),
    )


def _reasons(encoded: Encoded) -> dict[str, int]:
    reasons = sorted({drop.reason for drop in encoded.drops})
    return {reason: sum(drop.reason == reason for drop in encoded.drops) for reason in reasons}


def _tokens(config: TrainConfig, examples: Sequence[Example]) -> Tokens:
    """Of an epoch, trees within the steps that each way of mixing makes."""
    separate = sum(len(e.prompt) + len(b.ids) for e in examples for b in e.sides if b)
    return Tokens(separate, _tree_tokens(config, examples, "rows"), _tree_tokens(config, examples, "prompts"))


def _tree_tokens(config: TrainConfig, examples: Sequence[Example], shuffle: str) -> int:
    from pairgen.train.packing import tree_tokens
    from pairgen.train.schedule import Order

    one_epoch = config.model_copy(update={"shuffle": shuffle, "epochs": 1, "max_steps": None})
    order = Order(one_epoch, [example.prompt.tobytes() for example in examples])
    steps = ([examples[i] for i in order.at(step)] for step in range(order.steps))
    return sum(tree_tokens(step, config.micro_tokens) for step in steps)


# --- memory -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Counted:
    """Parameters of a model, those trained, and bytes of activations a micro-batch keeps."""

    all: int
    trained: int
    activations: int


def _parameters(config: TrainConfig, init: Path) -> _Counted:
    """Count on the meta device: shapes without numbers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = AutoConfig.from_pretrained(init)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    every = sum(p.numel() for p in model.parameters())
    trained = _adapter_parameters(model, config.lora) if config.lora else every
    return _Counted(every, trained, _activations(config, shape.get_text_config()))


def _adapter_parameters(model: Any, lora: Lora) -> int:
    """r x (in + out) of every linear layer that gets an adapter; the head gets none."""
    from torch import nn

    head = model.get_output_embeddings()
    layers = [(n.rsplit(".", 1)[-1], m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]
    chosen = [m for name, m in layers if not lora.targets or name in lora.targets]
    return sum(lora.r * (m.in_features + m.out_features) for m in chosen)


def _activations(config: TrainConfig, shape: Any) -> int:
    from pairgen.train.head import CHUNK, KEPT

    hidden, layers = int(shape.hidden_size), int(shape.num_hidden_layers)
    block = 12 * hidden + 4 * int(getattr(shape, "intermediate_size", None) or 4 * hidden)
    kept = layers * hidden + block if config.gradient_checkpointing else layers * block
    logits = config.micro_tokens * int(shape.vocab_size)
    logits = logits if logits <= KEPT else 0  # beyond, they are made again
    return (config.micro_tokens * kept + logits) * (2 if _bf16(config) else 4) + 2 * 4 * CHUNK


def _bf16(config: TrainConfig) -> bool:
    import torch

    return config.precision == "bf16" or (config.precision == "auto" and torch.cuda.is_available())


def _memory(config: TrainConfig, counted: _Counted, own_reference: bool) -> Memory:
    state = 8 if config.optimizer == "adamw" else 4
    weights = 4 * (counted.all + (counted.trained if config.lora else 0))
    follower = 4 * counted.trained if config.moving_reference else 0
    reference = 4 * counted.all if own_reference and config.needs_reference else 0
    return Memory(weights, reference + follower, 4 * counted.trained, state * counted.trained, counted.activations)


# --- one example --------------------------------------------------------------------------------------


def _shown(example: Example, tokenizer: Any) -> Shown:
    sides = {NAMES[place]: _pieces(branch, tokenizer) for place, branch in enumerate(example.sides) if branch}
    if "stranger" in sides:  # measured for the KL, never learnt
        sides["stranger"] = [Piece(piece.text, False) for piece in sides["stranger"]]
    return Shown(example.id, tokenizer.decode(example.prompt), sides)


def _pieces(branch: Branch, tokenizer: Any) -> list[Piece]:
    """The tokens of a branch in runs of learnt and not learnt."""
    targets = branch.targets
    turns = [i for i in range(1, len(targets)) if targets[i] != targets[i - 1]]
    runs = pairwise([0, *turns, len(targets)])
    return [Piece(tokenizer.decode(branch.ids[a:b]), bool(targets[a])) for a, b in runs]
