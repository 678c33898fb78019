"""Who works in a folder: a lock that the kernel keeps, so that it dies with the process that holds it."""

import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

from pairgen.errors import Stopped
from pairgen.fs import writing

_held: "WeakSet[Lock]" = WeakSet()


def _drop_all() -> None:
    for held in list(_held):
        held.release()


os.register_at_fork(after_in_child=_drop_all)


class Lock:
    """A held lock. It dies with the process that took it, however that dies; forked children drop it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle
        _held.add(self)

    def release(self) -> None:
        """Let the next one in. The file stays: only the kernel's lock counts."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


def lock(path: Path, patience: float = 0.3) -> Lock:
    """Take the lock kept in the file `path`, or raise Stopped naming the process that has it.

    The short patience outlasts a glance by `is_locked` and lets a new owner write its name.
    """
    with writing(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if not _try_lock(handle, fcntl.LOCK_EX, patience):
                raise _taken(path, handle)
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        except BaseException:
            os.close(handle)
            raise
    return Lock(path, handle)


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock kept in the file `path`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try_lock(handle, fcntl.LOCK_SH, 0)
    finally:
        os.close(handle)


def _try_lock(handle: int, kind: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


def _taken(path: Path, handle: int) -> Stopped:
    pid, host, *_ = (*os.pread(handle, 200, 0).decode("utf-8", "replace").split(), "unknown", "unknown")
    return Stopped(f"{path.parent} is in use by process {pid} on {host}: wait or end it; nothing was sent")
