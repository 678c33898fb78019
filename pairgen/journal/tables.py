"""The journal's tables: what is in its SQLite file, how it is opened, written in groups and read.

Answers are inserted and never updated: a late duplicate cannot replace an answer already used. What the
answers of a step cost is summed up in the same commit, so it is known across processes to the token.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from pairgen import fs
from pairgen.errors import Damaged, StorageError
from pairgen.failpoints import failpoint
from pairgen.store.manifest import Usage

T = TypeVar("T")
APPLICATION_ID = 0x70616972  # "pair"
VERSION = 2
CHUNK = 500  # placeholders in one SELECT
SPENDING = """
CREATE TABLE spending (
    step TEXT PRIMARY KEY, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, unpriced INTEGER NOT NULL
) WITHOUT ROWID;
"""
TABLES = """
CREATE TABLE replies (id INTEGER PRIMARY KEY, raw BLOB NOT NULL, crc INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE answers (
    key BLOB PRIMARY KEY, reply INTEGER NOT NULL REFERENCES replies (id), choice INTEGER NOT NULL
) WITHOUT ROWID;
""" + SPENDING
ADD_UP = """
INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (step) DO UPDATE SET
    requests = requests + excluded.requests, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    cost = cost + excluded.cost, unpriced = unpriced + excluded.unpriced
"""
COLUMNS = "sum(requests), 0, sum(prompt_tokens), sum(completion_tokens), sum(cost), sum(unpriced)"


@dataclass(frozen=True, slots=True)
class Bill:
    """What a reply took, and the digest of the step it was bought for."""

    step: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """A raw reply to keep, `keys[i]` being its choice i; `note` says what answered, `bill` what it took."""

    keys: tuple[bytes, ...]
    raw: bytes
    note: str
    bill: Bill | None


def connections(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """A reader and a writer of a file that is known to be ours."""
    try:
        writer = _connect(path)
        _prepare(writer, path)
        return _connect(path), writer
    except (OSError, sqlite3.OperationalError) as error:
        raise refused(path, error) from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file; refuse one that is not ours or is of another version."""
    found = (_pragma(connection, "application_id"), _pragma(connection, "user_version"))
    if found == (0, 0) and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        failpoint("journal.create")
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {VERSION}; COMMIT;"
        )
        fs.fsync_dir(path.parent)
    elif found == (APPLICATION_ID, 1):  # journals of pairgen 0.1: nobody counted what a step took
        connection.executescript(f"BEGIN IMMEDIATE; {SPENDING} PRAGMA user_version = {VERSION}; COMMIT;")
    elif found != (APPLICATION_ID, VERSION):
        raise damaged(path, f"expected version {VERSION} of id {APPLICATION_ID:#x}, found {found}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def insert(connection: sqlite3.Connection, group: Sequence[Reply]) -> None:
    """One transaction for the whole group, all or nothing."""
    failpoint("journal.begin")
    connection.execute("BEGIN IMMEDIATE")
    try:
        (first,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM replies").fetchone()
        replies = [(first + i, put.raw, crc32(put.raw), put.note) for i, put in enumerate(group)]
        connection.executemany("INSERT INTO replies VALUES (?, ?, ?, ?)", replies)
        rows = [(key, first + i, c) for i, put in enumerate(group) for c, key in enumerate(put.keys)]
        connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)
        connection.executemany(ADD_UP, _bills(group))
        failpoint("journal.commit")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoint("journal.committed")


def _bills(group: Sequence[Reply]) -> list[tuple[str, int, int, int, float, int]]:
    """One line of spending for each step in a group."""
    sums: dict[str, Usage] = {}
    for put in group:
        if put.bill is not None:
            sums[put.bill.step] = sums.get(put.bill.step, Usage()) + put.bill.usage
    return [
        (step, u.requests, u.prompt_tokens, u.completion_tokens, u.cost, u.unpriced) for step, u in sums.items()
    ]


def read_spent(path: Path, step: str | None = None) -> Usage:
    """What `Journal.spent` says, of a journal that may be in use and need not exist."""
    if not path.exists():
        return Usage()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return spent(connection, step) if _pragma(connection, "user_version") == VERSION else Usage()
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error


def spent(connection: sqlite3.Connection, step: str | None) -> Usage:
    where, values = ("", ()) if step is None else (" WHERE step = ?", (step,))
    found = connection.execute(f"SELECT {COLUMNS} FROM spending{where}", values).fetchone()
    return Usage() if found[0] is None else Usage(*found)


def select(
    connection: sqlite3.Connection, path: Path, keys: Sequence[bytes]
) -> dict[bytes, tuple[bytes, int]]:
    places: list[tuple[bytes, int, int]] = []
    for chunk in _chunks(keys):
        places += connection.execute(
            f"SELECT key, reply, choice FROM answers WHERE key IN ({_marks(chunk)})", chunk
        )
    raws: dict[int, bytes] = {}
    for ids in _chunks(list({reply for _, reply, _ in places})):
        for reply, raw, crc in connection.execute(
            f"SELECT id, raw, crc FROM replies WHERE id IN ({_marks(ids)})", ids
        ):
            if crc32(raw) != crc:
                raise damaged(path, f"reply {reply}: expected crc {crc}, got {crc32(raw)}")
            raws[reply] = raw
    if missing := {reply for _, reply, _ in places} - raws.keys():
        raise damaged(path, f"reply {min(missing)} is missing")
    return {key: (raws[reply], choice) for key, reply, choice in places}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _marks(items: Sequence[object]) -> str:
    return ",".join("?" * len(items))


def damaged(path: Path, what: str) -> Damaged:
    return Damaged(
        f"{path}: not a journal that can be read ({what}); restore it from a copy,"
        " or move it away and pay for its answers again"
    )


def refused(path: Path, error: OSError | sqlite3.Error) -> StorageError:
    """A write that failed, and how to go on."""
    if isinstance(error, OSError):
        return fs.storage_error(path, error)
    return StorageError(
        f"cannot write {path}: {error}; free some space or mend the disk, then run the same command:"
        " every answer committed is kept"
    )


def count_answered(path: Path, keys: Sequence[bytes]) -> int:
    """How many of the keys the journal at `path` has; it may be in use, and need not exist."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return sum(
                connection.execute(f"SELECT count(*) FROM answers WHERE key IN ({_marks(chunk)})", chunk)
                .fetchone()[0] for chunk in _chunks(list(set(keys)))
            )
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error
