"""Reading a sealed step: what is not as it was sealed is refused by name before a row of it is seen."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from pairgen import fingerprint, records
from pairgen.errors import Damaged, UsageError
from pairgen.records import Drop
from pairgen.schema import from_batch, schema_of
from pairgen.store.manifest import DROPS, MANIFEST, Manifest, Shard, read_manifest
from pairgen.store.write import ROW_CLASS

R = TypeVar("R")
X = TypeVar("X")


def read_rows(folder: Path, cls: type[R] | None = None, *, verify: bool = True) -> Iterator[R]:
    """The rows of a sealed step, one batch in memory at a time. `cls` defaults to what the shards name.

    Raises Damaged, naming the file, before any row of a shard that is not as sealed.
    """
    return _read(folder, _sealed(folder).shards, cls, verify)


def read_drops(folder: Path, *, verify: bool = True) -> Iterator[Drop]:
    """The drops of a sealed step."""
    return _read(folder / DROPS, _sealed(folder).drop_shards, Drop, verify)


def read_shard(path: Path, cls: type[R] | None = None) -> Iterator[R]:
    """The rows of one shard file, with no manifest to check it against."""
    with ExitStack() as stack:
        reader = _reading(path, lambda: pa.ipc.open_file(stack.enter_context(pa.OSFile(str(path), "rb"))))
        wanted: Any = cls or _class_of(path, reader.schema)
        if not reader.schema.equals(schema_of(wanted)):
            raise Damaged(f"{path}: its columns are not those of {wanted.__name__}; {_mend(path)}")
        for index in range(reader.num_record_batches):
            yield from from_batch(wanted, _reading(path, lambda i=index: reader.get_batch(i)))  # type: ignore[misc]


def verify_step(folder: Path) -> Manifest:
    """Check every shard and file of a sealed step. Damaged names the first that is not as sealed."""
    manifest = _sealed(folder)
    sums = {folder / shard.name: shard.sha256 for shard in manifest.shards}
    sums |= {folder / DROPS / shard.name: shard.sha256 for shard in manifest.drop_shards}
    sums |= {folder / name: sha256 for name, sha256 in manifest.files.items()}
    for path, sha256 in sums.items():
        _check(path, sha256)
    return manifest


def _sealed(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder}: no finished step here (no {MANIFEST}); run it first")
    return manifest


def _read(folder: Path, shards: tuple[Shard, ...], cls: type[R] | None, verify: bool) -> Iterator[R]:
    for shard in shards:
        path, seen = folder / shard.name, 0
        if verify:
            _check(path, shard.sha256)
        for row in read_shard(path, cls):
            seen += 1
            yield row
        if seen != shard.rows:
            raise Damaged(f"{path}: expected {shard.rows} rows, got {seen}; {_mend(path)}")


def _check(path: Path, expected: str) -> None:
    got = _reading(path, lambda: fingerprint.file_digest(path))
    if got != expected:
        raise Damaged(
            f"{path}: altered since it was sealed: expected sha256 {expected}, got {got}; {_mend(path)}"
        )


def _reading(path: Path, read: Callable[[], X]) -> X:
    try:
        return read()
    except FileNotFoundError:
        raise Damaged(f"{path}: missing, but its manifest names it; {_mend(path)}") from None
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"{path}: cannot be read: {error}; {_mend(path)}") from error


def _class_of(path: Path, schema: pa.Schema) -> Any:
    """The row class a shard names. Only pairgen's own dataclasses are ever looked up."""
    name = (schema.metadata or {}).get(ROW_CLASS, b"").decode("utf-8", "replace")
    module, _, plain = name.rpartition(":")
    if module and not module.startswith("pairgen."):
        raise UsageError(f"{path}: holds rows of {name}, which is not pairgen's: open it with `datasets`")
    try:
        home: Any = importlib.import_module(module) if module else records
    except ImportError:  # of another version of pairgen
        home = None
    cls = getattr(home, plain, None)
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise UsageError(f"{path}: holds rows of {name or 'no class'}, which pairgen does not know")
    return cls


def _mend(path: Path) -> str:
    step = path.parent.parent if path.parent.name == DROPS else path.parent
    return f"delete {step} and run again: answers are kept"
