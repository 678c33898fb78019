"""Every disk that a power cut may leave: what was written is recorded, and the legal outcomes enumerated.

The model is POSIX's, simplified. Bytes are durable once their file was fsynced; until then any part of
them may be there. Names are durable once their folder was fsynced; until then any of the operations on
them may have reached the disk, in any combination.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pairgen import fs

Disk = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Op:
    """`kind` is create | write | sync | rename (to `other`) | sync_dir | done, when success was told."""

    kind: str
    path: str = ""
    other: str = ""
    data: bytes = b""


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Op]]:
    """The operations that happen in the block."""
    ops: list[Op] = []
    real_fsync, real_replace = os.fsync, os.replace
    real_init, real_write = fs._TempFile.__init__, fs._TempFile.write

    def init(file: Any, path: Path) -> None:
        real_init(file, path)
        ops.append(Op("create", str(path)))

    def write(file: Any, data: Any) -> int:
        ops.append(Op("write", str(file.name), data=bytes(data)))
        return real_write(file, data)

    def fsync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        ops.append(Op("sync_dir" if os.path.isdir(path) else "sync", path))
        real_fsync(handle)

    def replace(old: Path, new: Path) -> None:
        ops.append(Op("rename", str(old), str(new)))
        real_replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)
        patch.setattr(fs._TempFile, "write", write)
        patch.setattr(fs._TempFile, "__init__", init)
        yield ops


@dataclass
class _File:
    now: bytes = b""
    durable: bytes = b""

    def outcomes(self) -> set[bytes]:
        half = (len(self.durable) + len(self.now)) // 2
        return {self.durable, self.now[:half], self.now}


@dataclass
class _Disk:
    """The disk as the program sees it, and what of it is durable."""

    names: dict[str, _File] = field(default_factory=dict)
    durable: dict[str, _File] = field(default_factory=dict)
    pending: list[tuple[str, str, _File]] = field(default_factory=list)  # (name, name that goes, file)

    def apply(self, op: Op) -> None:
        if op.kind == "create":
            self.names[op.path] = _File()
            self.pending.append((op.path, "", self.names[op.path]))
        elif op.kind == "write":
            self.names[op.path].now += op.data
        elif op.kind == "sync":
            self.names[op.path].durable = self.names[op.path].now
        elif op.kind == "rename":
            self.names[op.other] = self.names.pop(op.path)
            self.pending.append((op.other, op.path, self.names[op.other]))
        elif op.kind == "sync_dir":
            self._sync(op.path)

    def _sync(self, folder: str) -> None:
        for change in self.pending:
            if os.path.dirname(change[0]) == folder:
                _happen(self.durable, change)
        self.pending = [c for c in self.pending if os.path.dirname(c[0]) != folder]

    def outcomes(self) -> Iterator[Disk]:
        for chosen in product((False, True), repeat=len(self.pending)):
            names = dict(self.durable)
            for happened, change in zip(chosen, self.pending, strict=True):
                if happened:
                    _happen(names, change)
            for contents in product(*(file.outcomes() for file in names.values())):
                yield dict(zip(names, contents, strict=True))


def _happen(names: dict[str, _File], change: tuple[str, str, _File]) -> None:
    name, gone, file = change
    names.pop(gone, None)
    names[name] = file


def outcomes(ops: list[Op]) -> Iterator[tuple[bool, Disk]]:
    """Each disk that a cut after any operation may leave, and whether `done` had been said by then."""
    disk, done = _Disk(), False
    yield from ((done, state) for state in disk.outcomes())
    for op in ops:
        done = done or op.kind == "done"
        disk.apply(op)
        yield from ((done, state) for state in disk.outcomes())
