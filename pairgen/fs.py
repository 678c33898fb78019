"""The only module that opens a file for writing, renames or deletes: one way to commit, one place to fail.

A file appears whole or not at all: temporary name in the same folder, write, fsync, rename, fsync of
the folder. Every step of that is a named failpoint, so that a test can kill the process or refuse the
write at each of them: `PAIRGEN_FAILPOINT=name:k[:kill|eio|enospc|sleep]` strikes at the k-th hit of
`name` (`*` is any name, `k+` is that hit and every later one).
"""

import errno
import fcntl
import io
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from pairgen.errors import PairgenError, StorageError, Stopped, UsageError

TEMP = ".tmp"
ADVICE = {
    errno.ENOSPC: "free some space, then run the same command: everything committed is kept",
    errno.EDQUOT: "raise the quota or free some space, then run the same command: everything committed is kept",
    errno.EACCES: "give yourself write permission or choose another folder, then run the same command",
    errno.EPERM: "give yourself write permission or choose another folder, then run the same command",
    errno.EROFS: "the file system is read-only: choose another folder or remount it, then run the same command",
    errno.EIO: "check the disk, then run the same command: everything committed is kept",
}
ACTIONS = {"kill", "eio", "enospc", "sleep"}
_counter = count()


def storage_error(path: Path, error: OSError) -> StorageError:
    """What the system refused, where, and how to go on."""
    reason = error.strerror or str(error)
    advice = ADVICE.get(error.errno or 0, "mend it, then run the same command: everything committed is kept")
    return StorageError(f"cannot write {path}: {reason}; {advice}")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


# --- failpoints ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Failpoint:
    name: str
    hit: int
    onwards: bool
    action: str
    seen: int = 0


def arm(spec: str | None) -> None:
    """Set the failpoint from its text form, or none. Read once from the environment at import."""
    global _armed
    _armed = _parse(spec) if spec else None


def _parse(spec: str) -> _Failpoint:
    name, _, rest = spec.partition(":")
    hit, _, action = rest.partition(":")
    if not hit.removesuffix("+").isdigit() or (action or "kill") not in ACTIONS:
        raise UsageError(f"PAIRGEN_FAILPOINT={spec!r}: want name:k[:{'|'.join(sorted(ACTIONS))}]")
    return _Failpoint(name, int(hit.removesuffix("+")), hit.endswith("+"), action or "kill")


def failpoint(name: str) -> None:
    """A place where a test may strike; nothing at all otherwise."""
    if _armed is not None:
        _strike(_armed, name)


def _strike(point: _Failpoint, name: str) -> None:
    if point.name not in (name, "*"):
        return
    point.seen += 1
    if point.seen != point.hit and not (point.onwards and point.seen > point.hit):
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if point.action == "sleep":
        time.sleep(1)
        return
    code = errno.EIO if point.action == "eio" else errno.ENOSPC
    raise OSError(code, os.strerror(code))


_armed: _Failpoint | None = None
arm(os.environ.get("PAIRGEN_FAILPOINT"))


# --- committing a file --------------------------------------------------------------------------------


class _TempFile(io.FileIO):
    """A new file that must not exist yet and is never reached through a link; each write is a failpoint."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w", opener=_create)

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        failpoint("file.write")
        return super().write(data)


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the name `path` when the block ends well and vanishes otherwise."""
    temp = path.with_name(f".{path.name}.{os.getpid()}-{next(_counter)}{TEMP}")
    try:
        with _writing(path):
            failpoint("file.create")
            with io.BufferedWriter(_TempFile(temp), 1 << 18) as file:
                yield cast(BinaryIO, file)
                file.flush()
                failpoint("file.fsync")
                os.fsync(file.fileno())
            failpoint("file.rename")
            os.replace(temp, path)
            failpoint("file.dirsync")
            fsync_dir(path.parent)
            failpoint("file.done")
    except BaseException:
        with suppress(OSError):
            temp.unlink()
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Commit `data` under the name `path`: after this returns, a power cut changes nothing."""
    with atomic_file(path) as file:
        file.write(data)


def fsync_dir(path: Path) -> None:
    """Make the names in a folder durable."""
    with _writing(path):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_dirs(path: Path) -> None:
    """Create a folder and its missing parents, durably."""
    if path.is_dir():
        return
    make_dirs(path.parent)
    with _writing(path):
        failpoint("dir.make")
        path.mkdir(exist_ok=True)
        fsync_dir(path.parent)


def create_private(path: Path) -> None:
    """Make an empty file that only its owner may read, unless it exists."""
    with _writing(path), suppress(FileExistsError):
        failpoint("file.create")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        fsync_dir(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a log in one write. A line torn by an earlier crash is closed first; not fsynced."""
    with _writing(path):
        failpoint("log.append")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            os.write(handle, b"\n" * torn + line.rstrip(b"\n") + b"\n")
        finally:
            os.close(handle)


def clear_temps(folder: Path) -> None:
    """Delete what a killed process left half-written in a folder."""
    for leftover in folder.glob(f".*{TEMP}"):
        remove(leftover)


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it is there."""
    with _writing(path), suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


# --- one owner ----------------------------------------------------------------------------------------


class Lock:
    """A held lock. It dies with the process that took it, however that dies; forked children drop it."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle: int | None = handle
        os.register_at_fork(after_in_child=self._forget)

    def release(self) -> None:
        """Let the next one in. The file stays: only the kernel's lock counts."""
        self._forget()

    def _forget(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()


def lock(path: Path) -> Lock:
    """Take the lock kept in the file `path`, or raise Stopped at once naming the process that has it."""
    with _writing(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(path, handle) from None
        except OSError:
            os.close(handle)
            raise
        owner = f"{os.getpid()} {socket.gethostname()}\n".encode()
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner, 0)
    return Lock(path, handle)


def _taken(path: Path, handle: int) -> PairgenError:
    """Who has it. A new owner writes its name just after it gets the lock, so an empty file is read again."""
    try:
        for _ in range(20):
            if owner := os.pread(handle, 200, 0).decode("utf-8", "replace").split():
                break
            time.sleep(0.02)
    finally:
        os.close(handle)
    pid, host = (*owner, "unknown", "unknown")[:2]
    return Stopped(
        f"{path.parent} is in use by process {pid} on {host}: wait for it or end it; nothing was sent from here"
    )


# --- what is no record --------------------------------------------------------------------------------


def write_loose(path: Path, data: bytes) -> None:
    """Replace a file that is only looked at (a status display): no fsync, and a failure is no error."""
    with suppress(OSError):
        temp = path.with_name(f".{path.name}.{os.getpid()}{TEMP}")
        temp.write_bytes(data)
        os.replace(temp, path)


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock at `path`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def probe(folder: Path) -> float | None:
    """Seconds a small durable write takes in `folder`, None where it cannot be written."""
    path = folder / f".pairgen-probe-{os.getpid()}"
    began = time.perf_counter()
    try:
        write_atomic(path, b"probe")
        return time.perf_counter() - began
    except StorageError:
        return None
    finally:
        with suppress(OSError):
            path.unlink()
