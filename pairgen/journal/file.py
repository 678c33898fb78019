"""The journal's file: SQLite in WAL mode with full sync, one thread that writes, many that read.

Whatever waits is written as one commit, so durability costs one fsync a group and not one an answer.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairgen import fs
from pairgen.errors import StorageError
from pairgen.journal.tables import Bill, Reply, connections, damaged, insert, refused, select, spent
from pairgen.locks import Lock, lock
from pairgen.store.manifest import Usage

GROUP = 512
"""Replies that are committed together, at most."""


@dataclass(frozen=True, slots=True)
class _Put:
    reply: Reply
    waiter: "asyncio.Future[None]"


class Journal:
    """The journal of one run folder. One process holds it at a time; its threads and loops share it.

    `failed` is set by the first commit that fails; from then on every put raises it at once.
    """

    def __init__(self, path: Path, owner: Lock, reader: sqlite3.Connection, writer: sqlite3.Connection):
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
        owner = lock(path.with_name(path.name + ".lock"))
        try:
            fs.clear_temps(path.parent)
            fs.create_private(path)
            reader, writer = connections(path)
        except BaseException:
            owner.release()
            raise
        return cls(path, owner, reader, writer)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """The keys that are answered: key -> (raw reply, choice in it). Choices of a reply share bytes."""
        with self._reading:
            try:
                return select(self._reader, self.path, keys)
            except sqlite3.Error as error:
                raise damaged(self.path, str(error)) from error

    def spent(self, step: str | None = None) -> Usage:
        """What was bought for a step, or for all, by every process that ever held this journal."""
        with self._reading:
            return spent(self._reader, step)

    async def put(self, keys: Sequence[bytes], raw: bytes, note: str = "", bill: Bill | None = None) -> None:
        """Keep a reply, `keys[i]` being its choice i. Returns once it would survive a power cut.

        `note` says for a human what answered, `bill` what it took.
        """
        if self.failed is not None:
            raise self.failed
        waiter = asyncio.get_running_loop().create_future()
        self._queue.put(_Put(Reply(tuple(keys), raw, note, bill), waiter))
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
            insert(self._writer, [put.reply for put in group])
        except (OSError, sqlite3.Error) as error:
            self.failed = refused(self.path, error)
        except BaseException as error:  # even a bug here must not leave anyone waiting
            self.failed = StorageError(f"{self.path}: the journal's writer failed: {error!r}")


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
