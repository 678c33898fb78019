"""Which column is what: the formats that preference, unpaired and supervised data come in.

The first record decides the format by its columns, and the decision is a value that can be shown. Every
record must then have those columns. Texts become chat turns: a prompt is a user turn, a completion an
assistant turn. A record that is well formed but no training row (no shared prompt, no last answer) is a
drop; one of another shape is an error that names where it stands.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pairgen.errors import UsageError, nearest
from pairgen.records import Demonstration, Labelled, Message, Messages, Preference, content_id, messages_id
from pairgen.sources import Record
from pairgen.train.example import TrainRow
from pairgen.train.turns import NoRow, is_transcript, llama_prompt, reply, split_pair, turns, unpacked

ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query"),
    "input": ("input",),
    "system": ("system", "system_prompt"),
    "completion": ("completion", "response", "output", "answer"),
    "label": ("label",),
    "messages": ("messages",),
    "conversations": ("conversations", "conversation"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "src": ("src",),
    "tgt": ("tgt",),
    "tgt_chosen": ("tgt_chosen",),
    "tgt_rejected": ("tgt_rejected",),
    "chosen_score": ("chosen_score", "score_chosen", "chosen_reward", "reward_chosen", "chosen_rating"),
    "rejected_score": ("rejected_score", "score_rejected", "rejected_reward", "reward_rejected", "rejected_rating"),
    "margin": ("margin",),
    "policy_score": ("policy_score",),
    "gold": ("gold", "reference"),
    "kind": ("kind",),
}
"""What a column may be called, the first found wins; `--columns` comes before all of them."""

TURNS = frozenset({"prompt", "completion", "messages", "conversations", "chosen", "rejected", "gold"})
"""Parts that may be turns."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the data was recognised as: a name, and the column that plays each part.

    `packed` are the columns that hold turns as JSON text, for those who look at it.
    """

    name: str
    columns: dict[str, str]
    packed: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = ", ".join(p if p == c else f"{p} = {c}" for p, c in self.columns.items())
        packed = f"; turns read from the JSON text in {', '.join(self.packed)}" if self.packed else ""
        return f"{self.name} ({parts}){packed}" if parts else self.name


@dataclass(frozen=True, slots=True)
class Cells:
    """One record's values by the part they play. `where` is for messages."""

    where: str
    format: Format
    values: Mapping[str, Any]

    def __contains__(self, part: str) -> bool:
        return part in self.format.columns

    def __getitem__(self, part: str) -> Any:
        column = self.format.columns[part]
        if column not in self.values:
            found = ", ".join(map(str, self.values)) or "nothing"
            raise UsageError(f"{self.where}: no column {column!r}, which {self.format.name} data needs; found: {found}")
        return self.values[column]

    def get(self, part: str) -> Any:
        """The value of a part that need not be there, None without it."""
        return self.values.get(self.format.columns[part]) if part in self else None

    def place(self, part: str) -> str:
        """`data.jsonl:3: chosen`, for messages."""
        return f"{self.where}: {self.format.columns.get(part, part)}"

    def text(self, part: str) -> str:
        """A cell that must be text."""
        value = self[part]
        if not isinstance(value, str):
            raise UsageError(f"{self.place(part)} is {_kind_of(value)}; it must be text")
        return value

    def number(self, part: str) -> float | None:
        """A cell that must be a number, or None where there is none."""
        value = self.get(part)
        if value is None or value == "":
            return None
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError):
            number = float("nan")
        if not float("-inf") < number < float("inf"):
            raise UsageError(f"{self.place(part)} is {value!r:.40}; it must be a finite number")
        return number


Builder = Callable[[Cells], TrainRow]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A format: the parts it must have, those it may have, and how its rows are made."""

    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...]
    build: Builder


def recognise(record: Record, columns: Mapping[str, str] | None = None) -> tuple[Format, Builder]:
    """The format of a record by its columns. Raises UsageError naming what was found and what is read."""
    if not isinstance(record.value, dict):
        raise UsageError(f"{record.where}: expected a record with columns, found {_kind_of(record.value)}")
    known = _parts(record, columns or {})
    for shape in SHAPES:
        if all(part in known for part in shape.needs):
            used = {part: known[part] for part in (*shape.needs, *shape.may) if part in known}
            packed = tuple(c for part, c in used.items() if part in TURNS and _is_packed(record.value[c]))
            return Format(shape.name, used, packed), shape.build
    found = ", ".join(map(str, record.value)) or "none"
    have = "; ".join(" + ".join(shape.needs) for shape in SHAPES)
    raise UsageError(f"{record.where}: no format has these columns: {found}. Formats: {have}. {_nearest(known)}"
                     "Name yours with --columns, such as --columns prompt=question,completion=answer")


def _is_packed(value: object) -> bool:
    return unpacked(value) is not value


def _nearest(known: Mapping[str, str]) -> str:
    """The format of whose columns most are there, and the one it lacks."""

    def share(shape: _Shape) -> float:
        return sum(part in known for part in shape.needs) / len(shape.needs)

    best = max(SHAPES, key=share)
    lacks = ", ".join(part for part in best.needs if part not in known)
    return f"Nearest: {best.name} ({', '.join(best.needs)}) lacks {lacks}. " if share(best) else ""


def _parts(record: Record, columns: Mapping[str, str]) -> dict[str, str]:
    for part, column in columns.items():
        if part not in ALIASES:
            raise UsageError(f"--columns {part}={column}: no part {part!r}: {nearest(part, ALIASES)}")
        if column not in record.value:
            raise UsageError(f"{record.where}: no column {column!r}: {nearest(column, map(str, record.value))}")
    found = {part: next((name for name in names if name in record.value), None) for part, names in ALIASES.items()}
    return {part: name for part, name in found.items() if name is not None and part not in columns} | dict(columns)


# --- rows ---------------------------------------------------------------------------------------------


def _preference(cells: Cells) -> Preference:
    if "prompt" not in cells:
        prompt, chosen, rejected = split_pair(*(turns(cells[s], cells.place(s)) for s in ("chosen", "rejected")))
    else:
        prompt = _prompt(cells)
        sides = [reply(cells[s], prompt, cells.place(s)) for s in ("chosen", "rejected")]
        # a side that starts with the user is a conversation, prompt included
        whole = [side[0].role != "assistant" for side in sides]
        prompt, chosen, rejected = split_pair(*sides) if all(whole) else (prompt, *sides)
        if any(whole) and not all(whole):
            raise UsageError(f"{cells.where}: one of chosen and rejected holds its prompt, the other does not")
    return _pair(cells, prompt, chosen, rejected)


def _sharegpt_pair(cells: Cells) -> Preference:
    """The conversation is the prompt of both sides."""
    columns = {**cells.format.columns, "prompt": cells.format.columns["conversations"]}
    return _preference(replace(cells, format=replace(cells.format, columns=columns)))


def _pair(cells: Cells, prompt: Messages, chosen: Messages, rejected: Messages) -> Preference:
    good, bad = cells.number("chosen_score"), cells.number("rejected_score")
    if good is None and bad is None and (margin := cells.number("margin")) is not None:
        good, bad = margin, 0.0
    gold = reply(cells["gold"], prompt, cells.place("gold")) if cells.get("gold") else None
    if gold and gold[: len(prompt)] == prompt:
        gold = gold[len(prompt):]
    return Preference(
        content_id(*map(messages_id, (prompt, chosen, rejected))), prompt, chosen, rejected,
        kind=_kind(cells, "pair"), reason="given", chosen_score=good, rejected_score=bad,
        policy_score=cells.number("policy_score"), gold=gold,
    )


def _labelled(cells: Cells) -> Labelled:
    prompt, desirable = _prompt(cells), _label(cells)
    completion = reply(cells["completion"], prompt, cells.place("completion"))
    if completion[: len(prompt)] == prompt:
        completion = completion[len(prompt):]
    ident = content_id(messages_id(prompt), messages_id(completion), str(desirable))
    return Labelled(ident, prompt, completion, desirable, _kind(cells, "completion"))


def _completion(cells: Cells) -> Demonstration | Labelled:
    """A demonstration; a prompt with answers in it is not learnt, so that such a row is a desirable completion."""
    prompt = _prompt(cells)
    found = reply(cells["completion"], prompt, cells.place("completion"))
    completion = found[len(prompt) :] if found[: len(prompt)] == prompt else found
    if all(message.role != "assistant" for message in prompt):
        return _demonstration(cells, prompt + completion)
    return Labelled(messages_id(prompt + completion), prompt, completion, True, _kind(cells, "demonstration"))


def _messages(cells: Cells) -> Demonstration:
    return _demonstration(cells, turns(cells["messages"], cells.place("messages")))


def _sharegpt(cells: Cells) -> Demonstration:
    return _demonstration(cells, turns(cells["conversations"], cells.place("conversations")))


def _released_pair(cells: Cells) -> Preference:
    prompt = llama_prompt(cells.text("src"), cells.place("src"))
    chosen, rejected = (reply(cells.text(s), prompt, cells.place(s)) for s in ("tgt_chosen", "tgt_rejected"))
    return _pair(cells, prompt, chosen, rejected)


def _released_demonstration(cells: Cells) -> Demonstration:
    prompt = llama_prompt(cells.text("src"), cells.place("src"))
    return _demonstration(cells, prompt + reply(cells.text("tgt"), prompt, cells.place("tgt")))


def _demonstration(cells: Cells, messages: Messages) -> Demonstration:
    return Demonstration(messages_id(messages), messages, _kind(cells, "demonstration"))


def _prompt(cells: Cells) -> Messages:
    """The turns before the answer: a chat, an HH transcript, or text with its system and input columns."""
    value = unpacked(cells["prompt"])
    if not isinstance(value, str) or is_transcript(value):
        prompt = turns(value, cells.place("prompt"))
        if prompt and prompt[-1] == Message("assistant", ""):  # a transcript that ends with `Assistant:`
            prompt = prompt[:-1]
    else:
        extra = cells.text("input") if cells.get("input") else ""
        prompt = (Message("user", f"{value}\n\n{extra}" if extra else value),)
    system = cells.text("system") if cells.get("system") else ""
    if not prompt:
        raise NoRow("no-prompt", "the prompt has no turn")
    return (Message("system", system), *prompt) if system and prompt[0].role != "system" else prompt


def _label(cells: Cells) -> bool:
    value = cells["label"]
    names = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in names:
        raise UsageError(f"{cells.place('label')} is {value!r:.40}; it must be true (desirable) or false")
    return names[str(value).lower()]


def _kind(cells: Cells, default: str) -> str:
    value = cells.get("kind")
    return value if isinstance(value, str) and value else default


def _kind_of(value: object) -> str:
    names = {str: "text", list: "a list", dict: "a mapping", type(None): "null", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")


_PAIR = ("chosen_score", "rejected_score", "margin", "policy_score", "gold", "kind")

SHAPES = (
    _Shape("Self-Taught preference", ("src", "tgt_chosen", "tgt_rejected"), _PAIR, _released_pair),
    _Shape("Self-Taught supervised", ("src", "tgt"), ("kind",), _released_demonstration),
    _Shape("preference", ("prompt", "chosen", "rejected"), ("input", "system", *_PAIR), _preference),
    _Shape("ShareGPT preference", ("conversations", "chosen", "rejected"), ("system", *_PAIR), _sharegpt_pair),
    _Shape("implicit-prompt preference", ("chosen", "rejected"), _PAIR, _preference),
    _Shape("unpaired", ("prompt", "completion", "label"), ("input", "system", "kind"), _labelled),
    _Shape("chat", ("messages",), ("kind",), _messages),
    _Shape("ShareGPT chat", ("conversations",), ("kind",), _sharegpt),
    _Shape("prompt and completion", ("prompt", "completion"), ("input", "system", "kind"), _completion),
)
