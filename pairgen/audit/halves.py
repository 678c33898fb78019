"""Answers that wait for their other half: of one prompt, in the order they came, first in first out.

They wait in a temporary database that spills to disk, so that memory stays flat however many wait.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType

from pairgen.audit.pairs import Half


@dataclass(frozen=True, slots=True)
class Partner:
    """The other half of a pair, and its row."""

    row: int
    completion: str


class Halves:
    """The answers that have no partner yet; a context manager, gone when it ends."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> "Halves":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._db is not None:
            self._db.close()

    def partner(self, row: int, half: Half) -> Partner | None:
        """The longest waiting answer to its prompt with the other label; without one, it waits itself."""
        db, key = self._opened(), blake2b(half.prompt.encode(), digest_size=16).digest()
        found = db.execute("SELECT row, text FROM waiting WHERE prompt = ? AND good = ? ORDER BY row LIMIT 1",
                           (key, not half.desirable)).fetchone()
        if found is None:
            db.execute("INSERT INTO waiting VALUES (?, ?, ?, ?)", (key, half.desirable, row, half.completion))
            return None
        db.execute("DELETE FROM waiting WHERE row = ?", found[:1])
        return Partner(*found)

    def left(self) -> Iterator[int]:
        """The rows that found no partner, in order."""
        if self._db is not None:
            yield from (row for (row,) in self._db.execute("SELECT row FROM waiting ORDER BY row"))

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            # the empty name is SQLite's for a private database on disk
            self._db = sqlite3.connect("", isolation_level=None)
            self._db.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                "CREATE TABLE waiting (prompt BLOB, good INT, row INTEGER PRIMARY KEY, text TEXT);"
                "CREATE INDEX of_prompt ON waiting (prompt, good, row)"
            )
        return self._db
