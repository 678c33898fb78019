"""Rows to examples: the sides that the objective reads, as branches of one prompt.

The two sides of a preference share one prompt, decided once for the row, whatever is cut. A row that
cannot be learnt from is a drop with its reason; a set that does not suit the objective is an error.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from pairgen.errors import UsageError, nearest
from pairgen.records import Demonstration, Drop, Labelled, Messages, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.example import (
    CHOSEN,
    GOLD,
    REJECTED,
    STRANGER,
    Branch,
    Example,
    Sides,
    TrainRow,
    digest,
    with_strangers,
)
from pairgen.train.render import Conversation, Ids, Renderer, Tokens, Unfit

__all__ = [
    "CHOSEN", "GOLD", "REJECTED", "STRANGER", "Branch", "Encoded", "Example", "Ids", "Sides", "TrainRow", "encode",
]

NO_LIMIT = 1 << 62
CHUNK = 1024  # rows rendered before they are tokenised together, by all threads of the tokenizer

@dataclass(frozen=True, slots=True)
class Encoded:
    """The training set: examples in input order, the rows that are none, and a digest of every token.

    `cut_prompts` and `cut_completions` count what truncation shortened; a completion that was cut has
    lost its end-of-turn token.
    """

    examples: list[Example]
    drops: list[Drop]
    digest: str
    cut_prompts: int = 0
    cut_completions: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Most tokens of a prompt, of a completion, and of both together; `cut` shortens what is longer."""

    prompt: int
    completion: int
    total: int
    cut: bool


@dataclass(frozen=True, slots=True)
class _Cut:
    """An example with what was cut of it."""

    example: Example
    prompts: int
    completions: int


def encode(
    rows: Iterable[TrainRow], tokenizer: Any, config: TrainConfig, positions: int, *, heldout: bool = False
) -> Encoded:
    """Encode rows in order. `positions` is the longest sequence the model takes. Held-out pairs keep both
    sides, also where the objective learns from one.

    Raises UsageError when the template is unusable, when no row is left, when the objective reads none
    of a row's parts or misses a score, or when `kind_weights` names a kind that no row has.
    """
    limits, renderer = _limits(config, positions), Renderer(tokenizer, config.chat_template)
    done: list[_Cut] = []
    drops: list[Drop] = []
    kinds: set[str] = set()
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        kinds.update(row.kind for row in chunk)
        for row, parts in zip(chunk, _tokenise(chunk, renderer, config, heldout), strict=True):
            try:
                done.append(_example(row, parts, config, limits))
            except Unfit as unfit:
                drops.append(Drop(row.id, "train", *unfit.args))
    examples = [cut.example for cut in done]
    _check_set(examples, drops, set() if heldout else kinds, config)
    if "strangers" in config.needs:
        examples = with_strangers(examples, limits.total, _reader("strangers", config))
    return Encoded(examples, drops, digest(examples), sum(c.prompts for c in done), sum(c.completions for c in done))


def _limits(config: TrainConfig, positions: int) -> Limits:
    """Raises UsageError when rows are to be cut, but not to lengths that fit the model."""
    prompt, completion = config.max_prompt_tokens, config.max_completion_tokens
    if config.truncation == "drop":
        return Limits(prompt or NO_LIMIT, completion or NO_LIMIT, positions, cut=False)
    if prompt is None or completion is None:
        raise UsageError("truncation: paper cuts to max_prompt_tokens and max_completion_tokens: set both")
    if prompt + completion > positions:
        raise UsageError(f"max_prompt_tokens {prompt} + max_completion_tokens {completion} is more than the "
                         f"{positions} tokens the model takes: lower one of them")
    return Limits(prompt, completion, prompt + completion, cut=True)


def _reader(need: str, config: TrainConfig) -> str:
    """The first term with a need, by name."""
    return next(term.use for term in config.objective if need in term.needs)


def _check_set(examples: list[Example], drops: list[Drop], kinds: set[str], config: TrainConfig) -> None:
    """Raise UsageError for a set that does not suit the objective. Without `kinds` it is held-out data."""
    for kind in config.kind_weights:
        if kind not in kinds and kinds:
            raise UsageError(f"kind_weights: no row has kind {kind!r}: {nearest(kind, kinds)}")
    if not examples:
        reasons = ", ".join(sorted({d.reason for d in drops})) or "there were no rows at all"
        first = f"; first: row {drops[0].row_id}: {drops[0].detail or drops[0].reason}" if drops else ""
        raise UsageError(f"nothing to train on: 0 of {len(drops)} rows can be used ({reasons}){first}")
    if config.reads_golds and all(e.sides[GOLD] is None for e in examples):
        raise UsageError("a term of the objective reads gold answers, but no row has one: give a column `gold`")
    single = sum(None in e.sides[:STRANGER] and e.sides[GOLD] is None for e in examples)
    if single and not config.reads_targets:
        raise UsageError(f"{single} demonstrations or single completions, but no term of the objective reads them: "
                         "add {use: nll}, or use an unpaired objective such as kto")
    weighing = next((t.use for t in config.objective if t.objective.on == "unpaired" and t.objective.coupled), None)
    for place, name in ((CHOSEN, "desirable"), (REJECTED, "undesirable")):
        if weighing and kinds and all(e.sides[place] is None for e in examples):
            raise UsageError(f"{weighing} compares desirable with undesirable completions, but no row is {name}: "
                             "add such rows, or pairs")


# --- rows to tokens -----------------------------------------------------------------------------------

_Parts = dict[int, Tokens]
"""The sides of a row that are there, by place, as tokens."""


def _tokenise(
    rows: Sequence[TrainRow], renderer: Renderer, config: TrainConfig, both: bool
) -> Iterator[_Parts | Unfit]:
    """For each row its sides as tokens, or why there are none."""
    texts: list[dict[int, Any] | Unfit] = []
    for row in rows:
        try:
            texts.append({place: renderer.text(side) for place, side in _sides(row, config, both).items()})
        except Unfit as unfit:
            texts.append(unfit)
    sides = [side for item in texts if not isinstance(item, Unfit) for side in item.values()]
    tokens = iter(renderer.tokens(sides))
    for item in texts:
        yield item if isinstance(item, Unfit) else {place: next(tokens) for place in item}


def _sides(row: TrainRow, config: TrainConfig, both: bool) -> dict[int, Conversation]:
    """The conversations of a row by place. Raises Unfit for a row that holds nothing to read."""
    if isinstance(row, Demonstration):
        return {CHOSEN: Conversation(row.messages, _assistant_turns(row.messages))}
    if isinstance(row, Labelled):
        if not row.desirable and not config.reads_pairs:
            raise Unfit("undesirable", "no term of the objective reads undesirable completions", False)
        return {CHOSEN if row.desirable else REJECTED: _answer(row.prompt, row.completion)}
    sides = {CHOSEN: _answer(row.prompt, row.chosen)}
    if config.reads_pairs or both:
        sides[REJECTED] = _answer(row.prompt, row.rejected)
    if config.reads_golds and row.gold is not None:
        sides[GOLD] = _answer(row.prompt, row.gold)
    return sides


def _assistant_turns(messages: Messages, start: int = 0) -> tuple[int, ...]:
    return tuple(i for i, m in enumerate(messages) if m.role == "assistant" and i >= start)


def _answer(prompt: Messages, answer: Messages) -> Conversation:
    messages = prompt + answer
    return Conversation(messages, _assistant_turns(messages, len(prompt)))


# --- tokens to examples -------------------------------------------------------------------------------


def _example(row: TrainRow, parts: _Parts | Unfit, config: TrainConfig, limits: Limits) -> _Cut:
    """One row as an example. Raises Unfit."""
    if isinstance(parts, Unfit):
        raise parts
    scores = _scores(row, config)
    if not all(part.faithful for part in parts.values()):
        raise Unfit("unfaithful", "the tokens of an answer do not decode to it")
    shared = _shared(list(parts.values()))
    prompt = next(iter(parts.values())).ids[:shared]
    whole = {place: _branch(part, shared, config.is_reward) for place, part in parts.items()}
    longest = max(len(branch.ids) for branch in whole.values())
    fits = shared + longest <= limits.total
    if limits.cut:
        branches = whole if fits else {place: b.first(limits.completion) for place, b in whole.items()}
        prompt = prompt if fits else prompt[-limits.prompt :]
    else:
        _refuse_long(shared, longest, limits)
        branches = whole
    if CHOSEN in branches and REJECTED in branches and _equal(branches[CHOSEN], branches[REJECTED]):
        raise Unfit("identical", "chosen and rejected are the same tokens" + ("" if fits else " once cut"))
    example = Example(row.id, config.kind_weights.get(row.kind, 1.0), prompt,
                      tuple(branches.get(place) for place in range(4)), scores)
    shorter = sum(len(branches[place].ids) < len(branch.ids) for place, branch in whole.items())
    return _Cut(example, int(len(prompt) < shared), shorter)


def _shared(parts: Sequence[Tokens]) -> int:
    """Tokens of the prompt that all sides share. Raises Unfit when they differ before an answer starts."""
    shared = min(part.spans[0][0] for part in parts)
    if shared == 0:
        raise Unfit("no-prompt", "the answer is the first token")
    if any(not np.array_equal(part.ids[:shared], parts[0].ids[:shared]) for part in parts):
        raise Unfit("template", "the sides do not share the tokens of their prompt")
    return shared


def _branch(part: Tokens, shared: int, to_the_end: bool) -> Branch:
    """A side from the end of the shared prompt to its last target, or to the end of the rendered text."""
    last = len(part.ids) if to_the_end else part.spans[-1][1]
    targets = np.zeros(last, dtype=np.bool_)
    for first, end in part.spans:
        targets[first:end] = True
    targets[shared : part.spans[0][0]] = True
    if not targets[shared:].any():
        raise Unfit("no-target", "no token to learn")
    return Branch(part.ids[shared:last], targets[shared:])


def _refuse_long(prompt: int, completion: int, limits: Limits) -> None:
    if prompt > limits.prompt:
        raise Unfit("prompt-too-long", f"{prompt} > {limits.prompt} tokens")
    if completion > limits.completion:
        raise Unfit("completion-too-long", f"{completion} > {limits.completion} tokens")
    if prompt + completion > limits.total:
        raise Unfit("too-long", f"{prompt + completion} tokens, the model takes {limits.total}")


def _equal(a: Branch, b: Branch) -> bool:
    return np.array_equal(a.ids, b.ids) and np.array_equal(a.targets, b.targets)


def _scores(row: TrainRow, config: TrainConfig) -> tuple[float | None, float | None, float | None]:
    """The row's scores. Raises UsageError when a term reads one that is not there."""
    if not isinstance(row, Preference):
        return None, None, None
    both = ("chosen_score", "rejected_score")
    fields = {"scores": both, "margin": both, "policy_score": ("policy_score",)}
    for need, names in fields.items():
        for name in names if need in config.needs else ():
            if getattr(row, name) is None:
                raise UsageError(f"row {row.id} has no {name}, which {_reader(need, config)} reads; "
                                 "give a column of that name, or another objective")
    return row.chosen_score, row.rejected_score, row.policy_score
