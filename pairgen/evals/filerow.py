"""One row of a benchmark file: its columns read as what they must be, or named as what they are.

Nothing is guessed: a column that is missing, of another kind or outside its set is a `BadRow` with its place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pairgen.errors import UsageError
from pairgen.records import Message, Messages
from pairgen.schema import mend

T = TypeVar("T", str, int)


class BadRow(UsageError):
    """One row of a benchmark file cannot be an item: the message says where it stands and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a benchmark file: where it stands, its place in its part from 0, and the part that its file holds."""

    where: str
    value: Mapping[str, Any]
    place: int
    part: str | None = None

    def has(self, column: str) -> bool:
        """Whether the column is there and not null."""
        return self.value.get(column) is not None

    def given(self, *columns: str) -> Any:
        """The value of the first of these columns that the row has. Raises BadRow."""
        for column in columns:
            if column in self.value:
                return self.value[column]
        have = ", ".join(map(str, self.value)) or "none"
        raise BadRow(f"{self.where}: no column {' or '.join(map(repr, columns))}; have: {have}")

    def text(self, *columns: str, empty: bool = False) -> str:
        """A text; one without a character in it is refused unless `empty`. Raises BadRow."""
        found = self.given(*columns)
        name = next(column for column in columns if column in self.value)
        if not isinstance(found, str):
            raise BadRow(f"{self.where}: {name} is {shown(found)}, not text")
        if not empty and not found.strip():
            raise BadRow(f"{self.where}: {name} is empty")
        return mend(found)

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of texts, none of them empty. Raises BadRow."""
        found = self.given(column)
        if isinstance(found, str) or not isinstance(found, Sequence) or not found:
            raise BadRow(f"{self.where}: {column} is {shown(found)}, not a list of texts")
        for place, text in enumerate(found):
            if not isinstance(text, str) or not text.strip():
                raise BadRow(f"{self.where}: {column}[{place}] is {shown(text)}, not text")
        return tuple(mend(text) for text in found)

    def choice(self, column: str, allowed: Sequence[T]) -> T:
        """A label out of a set; a number may be written as text (CSV). Raises BadRow."""
        found = self.given(column)
        for label in allowed:
            if not isinstance(found, bool) and (found == label or str(found) == str(label)):
                return label
        raise BadRow(f"{self.where}: {column} is {shown(found)}; it must be one of {', '.join(map(str, allowed))}")

    def number(self, column: str, low: float, high: float) -> float:
        """A number within [low, high]. Raises BadRow."""
        return self.as_number(column, self.given(column), low, high)

    def as_number(self, name: str, found: Any, low: float, high: float) -> float:
        """A value read as a number within [low, high]. Raises BadRow naming it `name`."""
        try:
            value = float("nan") if isinstance(found, bool) else float(found)
        except (TypeError, ValueError):
            value = float("nan")
        if not low <= value <= high:
            raise BadRow(f"{self.where}: {name} is {shown(found)}, not a number from {low:g} to {high:g}")
        return value

    def key(self, *columns: str) -> str:
        """An id, text or number, of the first of these columns; its place where it has none of them."""
        for column in columns:
            found = self.value.get(column)
            if isinstance(found, str | int) and not isinstance(found, bool) and str(found).strip():
                return str(found)
        return str(self.place)


def turns(row: Row, column: str) -> Messages:
    """A list of chat turns with role and content. Raises BadRow."""
    found = row.given(column)
    messages = []
    for turn in found if isinstance(found, Sequence) and not isinstance(found, str) else ():
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, Mapping) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadRow(f"{row.where}: {column} has a turn without role and content")
        messages.append(Message(role, mend(content)))
    if not any(message.role == "user" for message in messages):
        raise BadRow(f"{row.where}: {column} has no user turn")
    return tuple(messages)


def prompt_of(row: Row, *columns: str) -> tuple[str, Messages]:
    """The instruction and the conversation it ends, of a prompt that is a text or chat turns. Raises BadRow."""
    if isinstance(row.given(*columns), str):
        return row.text(*columns), ()
    messages = turns(row, next(column for column in columns if column in row.value))
    last = next(message.content for message in reversed(messages) if message.role == "user")
    return last, messages if len(messages) > 1 else ()


def shown(value: object) -> str:
    """A value as JSON writes it, cut short; a kind of thing for what is long."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else repr(value[:37] + "...")
    return f"a {type(value).__name__}"
