"""Writing a step: rows and drops in order, into shards that are committed as they fill."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from pairgen import fingerprint, fs, records
from pairgen.failpoints import crashpoint
from pairgen.records import Drop
from pairgen.schema import schema_of, to_batch
from pairgen.store.manifest import DROPS, Shard, read_manifest

BATCH_ROWS = 512
ROW_CLASS = b"pairgen.row_class"


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a writer committed, in the manifest's own words."""

    row_class: str
    rows: int
    shards: tuple[Shard, ...]
    drop_shards: tuple[Shard, ...]
    drops: dict[str, int]
    failed: int


class StepWriter:
    """Takes a step's rows and drops in order; commits a shard as soon as it is full.

    Opening one clears what an unfinished run of the step left. As a context manager it removes the
    shard being written when the block fails; `close` commits the last one.
    """

    def __init__(self, folder: Path, row_class: type, shard_rows: int) -> None:
        if read_manifest(folder) is not None:
            raise ValueError(f"{folder} is sealed: a finished step is never written again")
        fs.make_dirs(folder)
        clear_unsealed(folder)
        self._row_class = row_class
        self._rows = _Shards(folder, row_class, shard_rows)
        self._drops = _Shards(folder / DROPS, Drop, shard_rows)
        self._reasons: Counter[str] = Counter()
        self._failed = 0

    def add(self, item: Any) -> None:
        """Write a row of the step's class, or a Drop."""
        if isinstance(item, Drop):
            self._reasons[item.reason] += 1
            self._failed += item.failed
            self._drops.add(item)
        elif type(item) is self._row_class:
            self._rows.add(item)
        else:
            raise TypeError(f"this step writes {self._row_class.__name__} rows, not {type(item).__name__}")

    def close(self) -> StepOutput:
        """Commit what is left and say what there is."""
        self._rows.commit()
        self._drops.commit()
        return StepOutput(
            row_class=class_name(self._row_class),
            rows=sum(shard.rows for shard in self._rows.done),
            shards=tuple(self._rows.done),
            drop_shards=tuple(self._drops.done),
            drops=dict(sorted(self._reasons.items())),
            failed=self._failed,
        )

    def discard(self) -> None:
        """Leave nothing half-written behind."""
        self._rows.discard()
        self._drops.discard()

    def __enter__(self) -> "StepWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is not None:
            self.discard()


def clear_unsealed(folder: Path) -> None:
    """Delete the shards and temporary files of a step that was not sealed; other files stay."""
    fs.clear_temps(folder)
    for shard in folder.glob("part-*.arrow"):
        fs.remove(shard)
    fs.remove(folder / DROPS)


def class_name(cls: type) -> str:
    """How a shard names its row class: plainly for the rows of `records`, with its module for others."""
    plain = getattr(records, cls.__name__, None) is cls
    return cls.__name__ if plain else f"{cls.__module__}:{cls.__qualname__}"


class _Shards:
    """Rows of one class into `part-00000.arrow`, `part-00001.arrow`, ... of a folder, never an empty one.

    Batches and shards are cut by row counts alone, so the same rows give the same bytes.
    """

    def __init__(self, folder: Path, cls: type, shard_rows: int) -> None:
        self.done: list[Shard] = []
        self._folder, self._cls, self._shard_rows = folder, cls, shard_rows
        self._schema = schema_of(cls).with_metadata({ROW_CLASS: class_name(cls)})
        self._buffer: list[Any] = []
        self._open: ExitStack | None = None
        self._sink: Any = None
        self._written = 0

    def add(self, row: Any) -> None:
        self._buffer.append(row)
        if self._written + len(self._buffer) >= self._shard_rows:
            self.commit()
        elif len(self._buffer) == BATCH_ROWS:
            self._flush()

    def commit(self) -> None:
        """Finish the open shard, if there is one."""
        self._flush()
        if self._open is None:
            return
        path, opened, self._open = self._path(), self._open, None
        opened.close()
        crashpoint("shard.done")
        self.done.append(Shard(path.name, self._written, fingerprint.file_digest(path)))
        self._written = 0

    def discard(self) -> None:
        """Remove the open shard, if there is one."""
        if self._open is not None:
            opened, self._open = self._open, None
            opened.__exit__(_Unwanted, _Unwanted(), None)

    def _path(self) -> Path:
        return self._folder / f"part-{len(self.done):05}.arrow"

    def _flush(self) -> None:
        if not self._buffer:
            return
        if self._open is None:
            self._start()
        batch = to_batch(self._cls, self._buffer)
        self._sink.write_batch(batch.replace_schema_metadata(self._schema.metadata))
        self._written += len(self._buffer)
        self._buffer = []

    def _start(self) -> None:
        fs.make_dirs(self._folder)
        crashpoint("shard.start")
        with ExitStack() as opening:
            file = opening.enter_context(fs.atomic_file(self._path()))
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            self._sink = opening.enter_context(pa.ipc.new_file(file, self._schema, options=options))
            self._open = opening.pop_all()


class _Unwanted(Exception):
    """Tells an open shard that it is not to be committed."""
