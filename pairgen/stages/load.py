"""Instructions from a file or hub dataset: plain text in a column, or chat messages.

The one stage that reads the outside world. Its identity is the content of the file, so moving the
file changes nothing and adding a row changes only that row.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field

from pairgen.errors import UsageError
from pairgen.fingerprint import JSON, Runtime
from pairgen.records import Drop, Instruction, Message, Messages, messages_id
from pairgen.schema import mend
from pairgen.sources import Record, read_records, source_identity, source_name
from pairgen.stage import RowStage
from pairgen.stages._given import column_of, given_answers
from pairgen.stages._ids import IdSet

GUESSES = (
    "instruction", "prompt", "question", "text", "messages", "conversation", "conversations",
    "input", "query",
)
ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}


class Load(RowStage):
    """Read instructions. `column` is guessed among the usual names when it is not given.

    Of a conversation the turns up to the last user turn are kept. `limit` reads only the first rows;
    instructions over `max_chars` are dropped, as are duplicates of the same conversation. `answers`
    names a column of given answers (UltraFeedback's `completions`), `reference` one that holds the
    solution of a task that can be checked (GSM8K's `answer`).
    """

    reads: ClassVar[None] = None
    writes: ClassVar[type] = Instruction
    version: ClassVar[int] = 2

    path: Runtime[str]
    column: str | None = None
    split: str = "train"
    revision: str | None = None
    limit: int | None = Field(default=None, ge=1)
    max_chars: int = Field(default=100_000, ge=1)
    answers: str | None = None
    reference: str | None = None

    def outside(self) -> JSON:
        """The identity of what is read."""
        return source_identity(self.path, self.split, self.revision)

    def run(self, rows: Iterator[Any]) -> Iterator[Instruction | Drop]:
        seen = IdSet()
        name, empty = source_name(self.path), True
        for record in islice(read_records(self.path, self.split, self.revision), self.limit):
            empty, messages = False, self._messages(record)
            row = Instruction(
                messages_id(messages), messages, name,
                answers=given_answers(record, self.answers) if self.answers else (),
                reference=_reference(record, self.reference) if self.reference else None,
            )
            yield self._check(row, record.where, seen)
        if empty:
            raise UsageError(f"{self.path}: holds no rows")

    def _check(self, row: Instruction, where: str, seen: IdSet) -> Instruction | Drop:
        size = sum(len(m.content) for m in row.messages)
        if size > self.max_chars:
            detail = f"{where}: {size:,} characters, the limit is {self.max_chars:,}"
            return Drop(row.id, self.id, "too_long", detail)
        if not row.text.strip():
            return Drop(row.id, self.id, "empty", where)
        return row if seen.add(row.id) else Drop(row.id, self.id, "duplicate", where, failed=False)

    def _messages(self, record: Record) -> Messages:
        value = record.value
        if isinstance(value, dict):
            value = value[self._column(value, record.where)]
        if isinstance(value, str):
            return (Message("user", mend(value)),)
        if isinstance(value, list) and value:
            return _turns(value, record.where)
        found = "an empty list" if value == [] else "null" if value is None else type(value).__name__
        raise UsageError(f"{record.where}: the instruction is {found}, not text or a list of messages")

    def _column(self, value: dict[str, Any], where: str) -> str:
        have = ", ".join(map(str, value))
        if self.column is not None:
            if self.column not in value:
                raise UsageError(f"{where}: no column {self.column!r}; have: {have}. Set data.column")
            return self.column
        for guess in GUESSES:
            if guess in value:
                return guess
        raise UsageError(f"{where}: which column holds the instruction? have: {have}. Set data.column")


def _turns(turns: list[Any], where: str) -> Messages:
    """Chat turns in either common spelling, cut after the last user turn."""
    messages = []
    for turn in turns:
        role = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
        content = turn.get("content", turn.get("value")) if isinstance(turn, dict) else None
        if not isinstance(role, str) or role not in ROLES or not isinstance(content, str):
            raise UsageError(
                f"{where}: a message needs a role among {', '.join(ROLES)} and a text content; "
                f"found role {_short(role)} and content {_short(content)}"
            )
        messages.append(Message(ROLES[role], mend(content)))
    while messages and messages[-1].role != "user":
        messages.pop()
    if not messages:
        raise UsageError(f"{where}: no user turn in the conversation")
    return tuple(messages)


def _reference(record: Record, column: str) -> str:
    value = column_of(record, column, "data.reference")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{record.where}: {column} is {type(value).__name__}, not the text of a solution")
    return mend(str(value))


def _short(value: object) -> str:
    plain = value is None or (isinstance(value, str) and len(value) < 30)
    return repr(value) if plain else type(value).__name__


STAGE = Load
