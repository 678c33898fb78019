"""Every answer ever paid for, kept before anyone sees it and never asked for again.

A key is the hash of exactly what was asked: engine, messages, sampling, seed and sample index. No row
number, no address and no secret is in it, so moving, appending or re-running rows costs nothing.
SQLite in WAL mode with full sync; one thread writes and groups whatever waits into one commit. Rows
are inserted and never updated: a late duplicate cannot replace an answer already used.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from pairgen import fs
from pairgen.engine import Completion, Engine, Request, Sampling
from pairgen.errors import Damaged, PairgenError, RowError, StorageError
from pairgen.fingerprint import JSON, canonical, identity
from pairgen.store import Usage

T = TypeVar("T")
APPLICATION_ID = 0x70616972  # "pair"
VERSION = 1
GROUP = 512
CHUNK = 500  # placeholders in one SELECT
TABLES = """
CREATE TABLE replies (id INTEGER PRIMARY KEY, raw BLOB NOT NULL, crc INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE answers (
    key BLOB PRIMARY KEY, reply INTEGER NOT NULL REFERENCES replies (id), choice INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class _Put:
    keys: tuple[bytes, ...]
    raw: bytes
    note: str
    waiter: "asyncio.Future[None]"


class Journal:
    """The ledger of one run folder. One process holds it at a time; reads and writes from any thread."""

    def __init__(self, path: Path, owner: fs.Lock, reader: sqlite3.Connection, writer: sqlite3.Connection):
        self.path = path
        self._owner, self._reader, self._writer = owner, reader, writer
        self._reading = threading.Lock()
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._broken: PairgenError | None = None
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or create. Stopped when another process has it, Damaged when it is not a journal."""
        fs.make_dirs(path.parent)
        owner = fs.lock(path.with_name(path.name + ".lock"))
        try:
            fs.create_private(path)
            reader, writer = _connections(path)
        except BaseException:
            owner.release()
            raise
        return cls(path, owner, reader, writer)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """The keys that are answered: key -> (raw reply, choice in it). Choices of a reply share its bytes."""
        with self._reading:
            try:
                return _select(self._reader, self.path, keys)
            except sqlite3.Error as error:
                raise _damaged(self.path, str(error)) from error

    async def put(self, keys: Sequence[bytes], raw: bytes, note: str = "") -> None:
        """Keep a reply, `keys[i]` being its choice i. Returns once it would survive a power cut.

        After one failed commit every put raises StorageError: an answer that cannot be kept is not bought.
        """
        if self._broken is not None:
            raise self._broken
        waiter = asyncio.get_running_loop().create_future()
        self._queue.put(_Put(tuple(keys), raw, note, waiter))
        await waiter

    def close(self) -> None:
        """Commit what waits and let the next process in."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._broken = self._broken or StorageError(f"{self.path}: the journal is closed")
        self._reader.close()
        self._writer.close()
        self._owner.release()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the writer thread

    def _write(self) -> None:
        for group in self._groups():
            if self._broken is None:
                self._commit(group)
            _hand_over(group, self._broken)

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
            self._broken = _refused(self.path, error)
        except BaseException as error:  # a bug here must never leave anyone waiting
            self._broken = StorageError(f"{self.path}: the journal's writer failed: {error!r}")


def _hand_over(group: list[_Put], error: PairgenError | None) -> None:
    """Wake the waiters, one call into each event loop. A loop that is gone waits for nothing."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for put in group:
        loops.setdefault(put.waiter.get_loop(), []).append(put.waiter)
    for loop, waiters in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, waiters, error)
        except RuntimeError:
            continue


def _resolve(waiters: Iterable["asyncio.Future[None]"], error: PairgenError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)


# --- SQL ----------------------------------------------------------------------------------------------


def _connections(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    try:
        writer = _connect(path)
        _prepare(writer, path)
        return _connect(path), writer
    except sqlite3.OperationalError as error:
        raise _refused(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=16)
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file; refuse a file that is not ours or is newer than we are."""
    found = (_pragma(connection, "application_id"), _pragma(connection, "user_version"))
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    if empty and found == (0, 0):
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {VERSION}; COMMIT;"
        )
        fs.fsync_dir(path.parent)
    elif found != (APPLICATION_ID, VERSION):
        raise _damaged(path, f"expected a journal of version {VERSION}, found {found}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _insert(connection: sqlite3.Connection, group: list[_Put]) -> None:
    fs.failpoint("journal.begin")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for put in group:
            reply = connection.execute(
                "INSERT INTO replies (raw, crc, note) VALUES (?, ?, ?)", (put.raw, crc32(put.raw), put.note)
            ).lastrowid
            rows = [(key, reply, choice) for choice, key in enumerate(put.keys)]
            connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)
        fs.failpoint("journal.commit")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    fs.failpoint("journal.committed")


def _select(
    connection: sqlite3.Connection, path: Path, keys: Sequence[bytes]
) -> dict[bytes, tuple[bytes, int]]:
    places: list[tuple[bytes, int, int]] = []
    for chunk in _chunks(keys):
        places += connection.execute(
            f"SELECT key, reply, choice FROM answers WHERE key IN ({_marks(chunk)})", chunk
        )
    raws: dict[int, bytes] = {}
    for chunk in _chunks(sorted({reply for _, reply, _ in places})):
        found = connection.execute(f"SELECT id, raw, crc FROM replies WHERE id IN ({_marks(chunk)})", chunk)
        for reply, raw, crc in found:
            if crc32(raw) != crc:
                raise _damaged(path, f"reply {reply} has crc {crc32(raw)}, expected {crc}")
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
        f"{path}: not a readable journal ({what}); restore it from a copy, or move it away"
        " and pay for its answers again"
    )


def _refused(path: Path, error: OSError | sqlite3.Error) -> StorageError:
    """A write that failed, in words that say how to go on."""
    if isinstance(error, OSError):
        return fs.storage_error(path, error)
    return StorageError(
        f"cannot write {path}: {error}; free some space or mend the disk, then run the same command:"
        " every answer committed is kept"
    )


# --- keys ---------------------------------------------------------------------------------------------


def sample_key(engine: JSON, request: Request, sample: int) -> bytes:
    """The key of one sample: what was asked, of what, with which seed. 32 bytes."""
    return _sample(conversation_key(engine, request), sample)


def conversation_key(engine: JSON, request: Request) -> bytes:
    """What the keys of all samples of a request share; `n` and `first` are not in it."""
    asked: JSON = {
        "engine": engine,
        "messages": [[message.role, message.content] for message in request.messages],
        "sampling": _sampling(request.sampling),
        "seed": request.seed,
    }
    return sha256(canonical(asked)).digest()


def _sample(conversation: bytes, sample: int) -> bytes:
    return sha256(conversation + canonical({"sample": sample})).digest()


@lru_cache(maxsize=256)
def _sampling(sampling: Sampling) -> JSON:
    return identity(sampling)


# --- the engine the driver uses -----------------------------------------------------------------------


class Journaled:
    """An engine whose answers are kept. `usage` counts what this process sent and what it was spared.

    Without a journal it asks every time. Requests for the same conversation take turns, so that the
    second finds what the first bought. Errors are never kept: whoever asks again, asks anew.
    """

    def __init__(self, engine: Engine, journal: Journal | None) -> None:
        self.engine = engine
        self.usage = Usage()
        self._journal = journal
        self._flying: dict[bytes, asyncio.Future[None]] = {}

    async def complete(self, request: Request) -> list[Completion]:
        """Samples `first .. first + n - 1`, from the journal where it has them.

        Raises what the engine raises, StorageError when an answer cannot be kept, and RowError when the
        engine's reply cannot be read or brings nothing.
        """
        if self._journal is None:
            return await self._fill(request, b"", {})
        conversation = conversation_key(self.engine.identity, request)
        known = self._look_up(self._journal, request, conversation)
        if len(known) == request.n:
            return [known[sample] for sample in _samples(request)]
        async with _Turn(self._flying, conversation) as waited:
            if waited:
                known = self._look_up(self._journal, request, conversation)
            return await self._fill(request, conversation, known)

    def _look_up(self, journal: Journal, request: Request, conversation: bytes) -> dict[int, Completion]:
        keys = {_sample(conversation, sample): sample for sample in _samples(request)}
        decoded: dict[bytes, list[Completion]] = {}
        known = {}
        for key, (raw, choice) in journal.get(list(keys)).items():
            if raw not in decoded:
                decoded[raw] = self.engine.decode(raw)
            known[keys[key]] = decoded[raw][choice]
        return known

    async def _fill(self, request: Request, conversation: bytes, known: dict[int, Completion]) -> list[Completion]:
        """Ask for what is not known, a run of neighbours at a time; a short reply is asked to go on."""
        self.usage += Usage(reused=len(known))
        while missing := _first_run(request, known):
            wanted = replace(request, first=missing[0], n=len(missing))
            for sample, completion in zip(missing, await self._buy(wanted, conversation), strict=False):
                known[sample] = completion
        return [known[sample] for sample in _samples(request)]

    async def _buy(self, request: Request, conversation: bytes) -> list[Completion]:
        note = canonical(self.engine.identity).decode()
        raw = await self.engine.send(request)
        try:
            completions = self.engine.decode(raw)[: request.n]
        except Exception as error:
            await self._keep([], raw, note)
            raise RowError("unreadable reply", f"{type(error).__name__}: {error}") from error
        keys = [_sample(conversation, request.first + i) for i in range(len(completions))]
        await self._keep(keys, raw, note)
        self.usage += Usage(
            requests=1,
            prompt_tokens=sum(c.prompt_tokens for c in completions),
            completion_tokens=sum(c.completion_tokens for c in completions),
        )
        if not completions:
            raise RowError("empty reply", f"asked for {request.n} samples, got none")
        return completions

    async def _keep(self, keys: list[bytes], raw: bytes, note: str) -> None:
        if self._journal is not None:
            await self._journal.put(keys, raw, note)


class _Turn:
    """One at a time per conversation; entering says whether it had to wait."""

    def __init__(self, flying: dict[bytes, asyncio.Future[None]], conversation: bytes) -> None:
        self._flying, self._conversation = flying, conversation

    async def __aenter__(self) -> bool:
        waited = False
        while (other := self._flying.get(self._conversation)) is not None:
            await asyncio.wait([other])
            waited = True
        self._flying[self._conversation] = asyncio.get_running_loop().create_future()
        return waited

    async def __aexit__(self, *_: object) -> None:
        self._flying.pop(self._conversation).set_result(None)


def _samples(request: Request) -> range:
    return range(request.first, request.first + request.n)


def _first_run(request: Request, known: dict[int, Completion]) -> list[int]:
    """The first unbroken run of samples that are not known."""
    run: list[int] = []
    for sample in _samples(request):
        if sample not in known:
            run.append(sample)
        elif run:
            break
    return run
