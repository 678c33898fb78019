"""The journal's file: SQLite in WAL mode with full sync, one thread that writes, many that read.

Whatever waits is written as one commit, so durability costs one fsync a group and not one an answer.
Answers are inserted and never updated: a late duplicate cannot replace an answer already used. What the
answers of a step cost is summed up in the same commit, so it is known across processes to the token.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
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
GROUP = 512
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
class _Put:
    keys: tuple[bytes, ...]
    raw: bytes
    note: str
    bill: Bill | None
    waiter: "asyncio.Future[None]"


class Journal:
    """The journal of one run folder. One process holds it at a time; its threads and loops share it.

    `failed` is set by the first commit that fails; from then on every put raises it at once.
    """

    def __init__(self, path: Path, owner: fs.Lock, reader: sqlite3.Connection, writer: sqlite3.Connection):
        self.path = path
        self.failed: StorageError | None = None
        self._owner, self._reader, self._writer = owner, reader, writer
        self._reading = threading.Lock()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or create. Stopped when another process has it, Damaged when it is not a journal.

        Temporary files that a killed owner left beside it are cleared.
        """
        fs.make_dirs(path.parent)
        owner = fs.lock(path.with_name(path.name + ".lock"))
        try:
            fs.clear_temps(path.parent)
            fs.create_private(path)
            reader, writer = _connections(path)
        except BaseException:
            owner.release()
            raise
        return cls(path, owner, reader, writer)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """The keys that are answered: key -> (raw reply, choice in it). Choices of a reply share bytes."""
        with self._reading:
            try:
                return _select(self._reader, self.path, keys)
            except sqlite3.Error as error:
                raise _damaged(self.path, str(error)) from error

    def spent(self, step: str | None = None) -> Usage:
        """What was bought for a step, or for all, by every process that ever held this journal."""
        with self._reading:
            return _spent(self._reader, step)

    async def put(self, keys: Sequence[bytes], raw: bytes, note: str = "", bill: Bill | None = None) -> None:
        """Keep a reply, `keys[i]` being its choice i. Returns once it would survive a power cut.

        `note` says for a human what answered, `bill` what it took.
        """
        if self.failed is not None:
            raise self.failed
        waiter = asyncio.get_running_loop().create_future()
        self._queue.put(_Put(tuple(keys), raw, note, bill, waiter))
        await waiter

    def close(self) -> None:
        """Commit what waits and let the next process in."""
        self._queue.put(None)
        self._thread.join()
        self.failed = self.failed or StorageError(f"{self.path}: the journal is closed")
        self._reader.close()
        self._writer.close()
        self._owner.release()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        """The writer thread. It outlives a failure, to tell everyone who still comes."""
        for group in self._groups():
            if self.failed is None:
                self._commit(group)
            _hand_over(group, self.failed)

    def _groups(self) -> Iterator[list[_Put]]:
        """Whatever waits, as one group; ends when the journal is closed."""
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    yield group
                    return
                group.append(following)
            yield group

    def _commit(self, group: list[_Put]) -> None:
        try:
            _insert(self._writer, group)
        except (OSError, sqlite3.Error) as error:
            self.failed = _refused(self.path, error)
        except BaseException as error:  # even a bug here must not leave anyone waiting
            self.failed = StorageError(f"{self.path}: the journal's writer failed: {error!r}")


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
        raise _damaged(path, str(error)) from error


def _hand_over(group: list[_Put], error: StorageError | None) -> None:
    """Wake the waiters, with one call into each event loop. A loop that is gone waits for nothing."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for put in group:
        loops.setdefault(put.waiter.get_loop(), []).append(put.waiter)
    for loop, waiters in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, waiters, error)
        except RuntimeError:
            continue


def _resolve(waiters: Iterable["asyncio.Future[None]"], error: StorageError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)


def _connections(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """A reader and a writer of a file that is known to be ours."""
    try:
        writer = _connect(path)
        _prepare(writer, path)
        return _connect(path), writer
    except (OSError, sqlite3.OperationalError) as error:
        raise _refused(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


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
        raise _damaged(path, f"expected version {VERSION} of id {APPLICATION_ID:#x}, found {found}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _insert(connection: sqlite3.Connection, group: list[_Put]) -> None:
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


def _bills(group: list[_Put]) -> list[tuple[str, int, int, int, float, int]]:
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
            return _spent(connection, step) if _pragma(connection, "user_version") == VERSION else Usage()
    except sqlite3.Error as error:
        raise _damaged(path, str(error)) from error


def _spent(connection: sqlite3.Connection, step: str | None) -> Usage:
    where, values = ("", ()) if step is None else (" WHERE step = ?", (step,))
    found = connection.execute(f"SELECT {COLUMNS} FROM spending{where}", values).fetchone()
    return Usage() if found[0] is None else Usage(*found)


def _select(
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
                raise _damaged(path, f"reply {reply}: expected crc {crc}, got {crc32(raw)}")
            raws[reply] = raw
    if missing := {reply for _, reply, _ in places} - raws.keys():
        raise _damaged(path, f"reply {min(missing)} is missing")
    return {key: (raws[reply], choice) for key, reply, choice in places}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _marks(items: Sequence[object]) -> str:
    return ",".join("?" * len(items))


def _damaged(path: Path, what: str) -> Damaged:
    return Damaged(
        f"{path}: not a journal that can be read ({what}); restore it from a copy,"
        " or move it away and pay for its answers again"
    )


def _refused(path: Path, error: OSError | sqlite3.Error) -> StorageError:
    """A write that failed, and how to go on."""
    if isinstance(error, OSError):
        return fs.storage_error(path, error)
    return StorageError(
        f"cannot write {path}: {error}; free some space or mend the disk, then run the same command:"
        " every answer committed is kept"
    )
