"""The values in a record's cells: texts, turns and scores, or the reason why a row has none."""

import math
from collections.abc import Mapping
from typing import Any

from pairgen.audit.raw import kind_of
from pairgen.errors import UsageError
from pairgen.records import Message, Messages
from pairgen.train.turns import HH, NoRow, is_turn, llama_prompt, reply, split_pair, turns, unpacked

MAYBE_TURNS = tuple(" \t\r\n[")
"""What a text begins with that may be a transcript or packed turns."""
LLAMA = "<|start_header_id|>"


class Bad(Exception):
    """This row is no pair; the arguments are reason and detail."""


def cell(record: Mapping[str, Any], column: str) -> Any:
    """A value that must be there."""
    try:
        value = record[column]
    except KeyError:
        found = ", ".join(map(str, record))[:200] or "none"
        raise Bad("missing column", f"no {column}; found: {found}") from None
    if value is None:
        raise Bad("null", f"{column} is null")
    return value


def whole(text: str, column: str) -> str:
    """A text that UTF-8 can hold, as every text of a pair must be."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Bad("lone surrogate", f"{column}, character {error.start + 1:,}") from error
    return text


def plain(value: Any, column: str) -> str:
    """A cell that must be text."""
    if type(value) is not str:
        raise Bad("not text", f"{column} is {kind_of(value)}")
    return whole(value, column)


def has_turns(value: Any) -> bool:
    """Whether a cell holds turns: a list or a single one, packed as JSON text, or an HH transcript."""
    if type(value) is str:
        return value.startswith(MAYBE_TURNS) and (HH.match(value) is not None or unpacked(value) is not value)
    return isinstance(value, list) or (isinstance(value, dict) and is_turn(value))


def conversation(value: Any, column: str, prompt: Messages | None = None) -> Messages:
    """The turns in a cell, of an answer where its prompt is given."""
    try:
        return turns(value, column) if prompt is None else reply(value, prompt, column)
    except UsageError as error:
        raise Bad("unreadable turns", str(error)) from error
    except NoRow as error:
        raise Bad(str(error.args[0]).replace("-", " "), str(error.args[1])) from error


def prompt_turns(value: Any, column: str) -> Messages:
    """A prompt as turns, text being one of the user; an open `Assistant:` at its end is none."""
    if not has_turns(value):
        text = plain(value, column)
        return llama_prompt(text, column) if LLAMA in text else (Message("user", text),)
    found = conversation(value, column)
    return found[:-1] if found and found[-1] == Message("assistant", "") else found


def parted(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """The prompt that two conversations share, and their answers."""
    try:
        return split_pair(chosen, rejected)
    except NoRow as error:
        raise Bad(str(error.args[0]).replace("-", " "), str(error.args[1])) from error


def joined(messages: Messages, alone: str, column: str) -> str:
    """Turns as a reader would see them. One turn of the role `alone` is its content and nothing else."""
    if len(messages) == 1 and messages[0].role == alone:
        return whole(messages[0].content, column)
    return whole("\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in messages), column)


def number(value: Any) -> float:
    """A score, nan where there is none or it is no finite number."""
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan
