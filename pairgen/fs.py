"""The only module that opens a file for writing, renames or deletes: one way to commit, one place to fail.

A file appears whole or not at all: temporary name in the same folder, write, fsync, rename, fsync of
the folder. Every step of that is a failpoint.
"""

import errno
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from pairgen.errors import StorageError
from pairgen.failpoints import failpoint

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

TEMP = ".tmp"
ASIDE = ".before"
ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EACCES: "get write permission or choose another folder",
    errno.EPERM: "get write permission or choose another folder",
    errno.EROFS: "choose another folder or remount this one writable",
    errno.EIO: "check the disk",
}
_counter = count()


def storage_error(path: Path, error: OSError) -> StorageError:
    """What the system refused, where, and how to go on."""
    reason = error.strerror or str(error)
    advice = ADVICE.get(error.errno or 0, "mend that")
    return StorageError(
        f"cannot write {path}: {reason}; {advice}, then run the same command: everything committed is kept"
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


class _TempFile(io.FileIO):
    """A new file that must not exist yet and is never reached through a link; each write is a failpoint."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w", opener=_create)

    def write(self, data: "Buffer") -> int:
        failpoint("file.write")
        return super().write(data)


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)


def _temp(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_counter)}{TEMP}")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the name `path` when the block ends well and vanishes otherwise."""
    temp = _temp(path)
    try:
        with writing(path):
            failpoint("file.create")
            with io.BufferedWriter(cast(io.RawIOBase, _TempFile(temp)), 1 << 18) as file:
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


def write_loose(path: Path, data: bytes) -> None:
    """Replace a file that is a display and no record: whole for every reader, but a power cut may undo it."""
    temp = _temp(path)
    try:
        with writing(path):
            failpoint("loose.write")
            with _TempFile(temp) as file:
                file.write(data)
            os.replace(temp, path)
    except BaseException:
        with suppress(OSError):
            temp.unlink()
        raise


def probe(folder: Path) -> float | None:
    """Seconds that one durable write takes in a folder, None when it cannot be written."""
    path, began = folder / f".probe-{os.getpid()}", time.monotonic()
    try:
        write_atomic(path, b"probe\n")
    except StorageError:
        return None
    seconds = time.monotonic() - began
    remove(path)
    return seconds


def adopt(source: Path, path: Path) -> None:
    """Commit under the name `path` what a library wrote as `source`, a file or a folder: contents first.

    What had the name before is put aside, and deleted when `source` has taken it; should that fail, it is put back.
    """
    with writing(path):
        for part in [*source.rglob("*"), source]:
            handle = os.open(part, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        aside = put_aside(path)
        try:
            failpoint("adopt.rename")
            os.replace(source, path)
        except BaseException:
            put_back(path)
            raise
        fsync_dir(path.parent)
        if aside is not None:
            remove(aside)


def put_aside(path: Path) -> Path | None:
    """Give what has this name a hidden one beside it; None where nothing has. `put_back` undoes it."""
    aside = path.with_name(f".{path.name}{ASIDE}")
    if not os.path.lexists(path):
        return None
    failpoint("adopt.aside")
    remove(aside)
    os.replace(path, aside)
    return aside


def put_back(path: Path) -> None:
    """Give back its name to what was put aside, after a failure or by a process that died, unless it is taken."""
    aside = path.with_name(f".{path.name}{ASIDE}")
    if os.path.lexists(aside) and not os.path.lexists(path):
        os.replace(aside, path)


def fsync_dir(path: Path) -> None:
    """Make the names in a folder durable."""
    with writing(path):
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
    with writing(path):
        failpoint("dir.make")
        path.mkdir(exist_ok=True)
        fsync_dir(path.parent)


def create_private(path: Path) -> None:
    """Make an empty file that only its owner may read, unless it exists."""
    with writing(path), suppress(FileExistsError):
        failpoint("file.create")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        fsync_dir(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a log in one write. A line torn by an earlier crash is closed first; not fsynced."""
    with writing(path):
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
    with writing(path), suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def nameless(folder: Path | None = None) -> BinaryIO:
    """A file to write and read back that no folder lists: whatever ends the process, nothing is left behind."""
    handle, name = tempfile.mkstemp(dir=folder)
    os.unlink(name)
    return os.fdopen(handle, "w+b")
