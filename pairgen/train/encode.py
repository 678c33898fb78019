"""Rows to token ids: what the model reads, and which tokens it is trained to write.

The chat template is rendered as text and tokenised once, whole; character offsets then say which tokens
an assistant turn owns. A target is every token of an assistant turn with its end-of-turn token, which
is what an engine samples. The two sides of a preference share one prompt, decided once for the pair.
The template alone decides on a BOS, as it does when an engine renders a chat; two are an error.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairgen.errors import UsageError, nearest
from pairgen.records import Demonstration, Drop, Messages, Preference
from pairgen.train.config import TrainConfig

Ids = NDArray[np.int32]
Mask = NDArray[np.bool_]
NO_LIMIT = 1 << 62
CHUNK = 1024  # rows rendered before they are tokenised together, by all threads of the tokenizer


@dataclass(frozen=True, slots=True)
class Branch:
    """What follows a prompt: token ids, and which of them are targets. The first one always is."""

    ids: Ids
    targets: Mask


@dataclass(frozen=True, slots=True)
class Example:
    """A row ready to train on. A demonstration has no rejected side."""

    id: str
    weight: float
    prompt: Ids
    chosen: Branch
    rejected: Branch | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """The training set: examples in input order, the rows that are none, and a digest of every token."""

    examples: list[Example]
    drops: list[Drop]
    digest: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Most tokens of a prompt, of a completion, and of both together (the model's positions)."""

    prompt: int
    completion: int
    total: int


@dataclass(frozen=True, slots=True)
class _Text:
    """One conversation as text, and the characters [start, end) of each assistant turn to be learnt."""

    text: str
    spans: tuple[tuple[int, int], ...]


class _Unfit(Exception):
    """This row cannot be trained on; the arguments are reason and detail."""


def encode(rows: Iterable[Demonstration | Preference], tokenizer: Any, config: TrainConfig, positions: int) -> Encoded:
    """Encode rows in order. `positions` is the longest sequence the model takes.

    Raises UsageError when the template is unusable, when no row is left, when the objective reads none
    of a row's parts, or when `kind_weights` names a kind that no row has.
    """
    limits = Limits(config.max_prompt_tokens or NO_LIMIT, config.max_completion_tokens or NO_LIMIT, positions)
    examples: list[Example] = []
    drops: list[Drop] = []
    kinds: set[str] = set()
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        kinds.update(row.kind for row in chunk)
        for row, parts in zip(chunk, _tokenise(chunk, tokenizer, config), strict=True):
            try:
                examples.append(_example(row, parts, config, limits))
            except _Unfit as unfit:
                drops.append(Drop(row.id, "train", *unfit.args))
    _check_set(examples, drops, kinds, config)
    return Encoded(examples, drops, _digest(examples))


def _check_set(examples: list[Example], drops: list[Drop], kinds: set[str], config: TrainConfig) -> None:
    for kind in config.kind_weights:
        if kind not in kinds and kinds:
            raise UsageError(f"kind_weights: no row has kind {kind!r}: {nearest(kind, kinds)}")
    if not examples:
        reasons = ", ".join(sorted({d.reason for d in drops})) or "there were no rows at all"
        raise UsageError(f"nothing to train on: 0 of {len(drops)} rows can be used ({reasons})")
    lonely = sum(e.rejected is None for e in examples)
    if lonely and not config.reads_targets:
        raise UsageError(f"{lonely} demonstrations, but no term of the objective reads them: add {{use: nll}}")


# --- text ---------------------------------------------------------------------------------------------


def _tokenise(
    rows: Sequence[Demonstration | Preference], tokenizer: Any, config: TrainConfig
) -> Iterator["list[_Tokens] | _Unfit"]:
    """For each row its sides as tokens (one, or chosen and rejected), or why there are none."""
    special = re.compile("|".join(re.escape(token) for token in tokenizer.all_special_tokens) or r"(?!)")
    texts: list[list[_Text] | _Unfit] = []
    for row in rows:
        try:
            texts.append([_render(side, row, tokenizer, special) for side in _sides(row, config)])
        except _Unfit as unfit:
            texts.append(unfit)
    sides = [side for item in texts if not isinstance(item, _Unfit) for side in item]
    tokens = iter(_tokens(sides, tokenizer))
    for item in texts:
        yield item if isinstance(item, _Unfit) else list(islice(tokens, len(item)))


def _sides(row: Demonstration | Preference, config: TrainConfig) -> list[tuple[Messages, tuple[int, ...]]]:
    """The conversations of a row, each with the indices of the turns to be learnt."""
    if isinstance(row, Demonstration):
        return [(row.messages, tuple(i for i, m in enumerate(row.messages) if m.role == "assistant"))]
    answers = [row.chosen, row.rejected] if config.reads_pairs else [row.chosen]
    return [(row.prompt + answer, tuple(range(len(row.prompt), len(row.prompt + answer)))) for answer in answers]


def _render(side: tuple[Messages, tuple[int, ...]], row: Demonstration | Preference, tokenizer: Any,
            special: re.Pattern[str]) -> _Text:
    messages, turns = side
    if not turns:
        raise _Unfit("no-target", "no assistant turn")
    for message in messages:
        if found := special.search(message.content):
            raise _Unfit("special-token", f"the text of a turn holds {found.group()!r}")
        if not message.content.isascii() and re.search(r"[\ud800-\udfff]", message.content):
            raise _Unfit("not-unicode", "the text of a turn holds half of a surrogate pair")
    chat = [{"role": m.role, "content": m.content} for m in messages]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    spans = tuple(_span(chat, text, turn, tokenizer) for turn in turns)
    return _Text(text, spans)


def _span(chat: list[dict[str, str]], text: str, turn: int, tokenizer: Any) -> tuple[int, int]:
    """Where assistant turn `turn` is: after its generation prompt, up to its end-of-turn mark."""
    content = chat[turn]["content"].strip()
    if not content:
        raise _Unfit("no-target", "an assistant turn is empty")
    head = tokenizer.apply_chat_template(chat[:turn], tokenize=False, add_generation_prompt=True)
    whole = text if turn + 1 == len(chat) else tokenizer.apply_chat_template(chat[: turn + 1], tokenize=False)
    if not text.startswith(head) or not text.startswith(whole) or content not in whole[len(head):]:
        raise _Unfit("template", f"the chat template writes turn {turn} differently once more turns follow")
    end = len(whole.rstrip())
    # white space that the template adds after its end-of-turn mark is never sampled by an engine
    return len(head), end if not whole[:end].endswith(content) else len(whole)


# --- tokens -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token ids of a conversation, and for each assistant turn its tokens [first, last).

    `faithful`: decoding every turn's tokens gives back the turn, white space apart.
    """

    ids: Ids
    spans: tuple[tuple[int, int], ...]
    faithful: bool


def _tokens(texts: Sequence[_Text], tokenizer: Any) -> Iterator["_Tokens"]:
    if not texts:
        return
    if not tokenizer.is_fast:
        raise UsageError(f"tokenizer {type(tokenizer).__name__} gives no character offsets: use its fast version")
    # not verbose: it warns of long texts, which become drops
    encodings = tokenizer([t.text for t in texts], add_special_tokens=False, verbose=False).encodings
    for text, encoding in zip(texts, encodings, strict=True):
        ids = np.array(encoding.ids, dtype=np.int32)
        starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
        # a token across the border belongs to the answer: the prompt alone would not have made it
        spans = tuple(
            (int(np.searchsorted(ends, a, "right")), int(np.searchsorted(starts, b, "left"))) for a, b in text.spans
        )
        written = (tokenizer.decode(encoding.ids[first:last]) for first, last in spans)
        faithful = all(
            _squash(text.text[a:b]) in _squash(out) for (a, b), out in zip(text.spans, written, strict=True)
        )
        _check_bos(ids, text, tokenizer)
        yield _Tokens(ids, spans, faithful)


def _squash(text: str) -> str:
    return "".join(text.split())


def _check_bos(ids: Ids, text: _Text, tokenizer: Any) -> None:
    count = int((ids == tokenizer.bos_token_id).sum()) if tokenizer.bos_token_id is not None else 0
    if count > 1 and tokenizer.bos_token_id != tokenizer.eos_token_id:
        raise UsageError(f"the chat template writes {count} BOS tokens: {text.text[:60]!r}; it must write one")


def _example(
    row: Demonstration | Preference, parts: "list[_Tokens] | _Unfit", config: TrainConfig, limits: Limits
) -> Example:
    """One row as an example. Raises _Unfit."""
    if isinstance(parts, _Unfit):
        raise parts
    if not all(part.faithful for part in parts):
        raise _Unfit("unfaithful", "the tokens of an answer do not decode to it")
    shared = min(part.spans[0][0] for part in parts)
    prompt = parts[0].ids[:shared]
    if shared == 0:
        raise _Unfit("no-prompt", "the answer is the first token")
    if any(not np.array_equal(part.ids[:shared], prompt) for part in parts):
        raise _Unfit("template", "the two sides do not share the tokens of their prompt")
    if shared > limits.prompt:
        raise _Unfit("prompt-too-long", f"{shared} > {limits.prompt} tokens")
    branches = [_branch(part, shared, limits) for part in parts]
    return Example(row.id, config.kind_weights.get(row.kind, 1.0), prompt, branches[0],
                   branches[1] if len(branches) > 1 else None)


def _branch(part: _Tokens, shared: int, limits: Limits) -> Branch:
    """A side from the end of the shared prompt to its last target."""
    last = part.spans[-1][1]
    targets = np.zeros(last, dtype=np.bool_)
    for first, end in part.spans:
        targets[first:end] = True
    targets[shared : part.spans[0][0]] = True
    if not targets[shared:].any():
        raise _Unfit("no-target", "no token to learn")
    if last - shared > limits.completion:
        raise _Unfit("completion-too-long", f"{last - shared} > {limits.completion} tokens")
    if last > limits.total:
        raise _Unfit("too-long", f"{last} tokens, the model takes {limits.total}")
    return Branch(part.ids[shared:last], targets[shared:])


def _digest(examples: Sequence[Example]) -> str:
    hasher = sha256()
    for example in examples:
        for branch in (example.chosen, example.rejected):
            parts = (branch.ids, np.packbits(branch.targets)) if branch else ()
            for array in (example.prompt, *parts):
                hasher.update(len(array).to_bytes(8, "little") + array.tobytes())
        hasher.update(repr(example.weight).encode())
    return hasher.hexdigest()
