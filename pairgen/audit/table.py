"""The numbers of every row, kept on disk while a dataset streams by, read back one column at a time.

The spill file has no name: whatever ends the process, nothing is left behind.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pairgen import fs
from pairgen.audit.columns import Measured

Array = NDArray[Any]


class Table:
    """Named columns of `len(table)` rows. `add` takes chunks of all columns, `join` one more column whole.

    A column is read from disk each time it is asked for, so memory holds those that a caller keeps.
    """

    def __init__(self, folder: Path | None = None, scratch: Collection[str] = ()) -> None:
        """`folder` is where the spill file goes, the system's own place for those by default. Columns named in
        `scratch` can be read, but are neither listed nor kept."""
        self._folder = folder
        self._scratch = frozenset(scratch)
        self._spills: list[_Spill] = []
        self._rows = 0

    def add(self, found: Measured) -> None:
        """Append the rows of a chunk. Every chunk has the same columns."""
        if not self._spills:
            self._spills.append(_Spill(found, self._folder))
        self._spills[0].write(found)
        self._rows += len(next(iter(found.values())))

    def join(self, found: Measured) -> None:
        """Set columns beside the others, `[N]` each, cut as the chunks were."""
        for name, values in found.items():
            if len(values) != self._rows:
                raise ValueError(f"column {name} has {len(values)} rows, the table {self._rows}")
        if not found or not self._spills:
            return
        spill, start = _Spill(found, self._folder), 0
        for size in self._spills[0].sizes:
            spill.write({name: values[start:start + size] for name, values in found.items()})
            start += size
        self._spills.append(spill)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns there are, in the order they came."""
        return tuple(field.name for field in self._listed())

    def column(self, name: str) -> Array:
        """The values of a column, `[N]`. Raises KeyError."""
        for spill in self._spills:
            if name in spill.schema.names:
                return spill.read(name)
        raise KeyError(name)

    @property
    def columns(self) -> Mapping[str, Array]:
        """All columns by name, each read when it is looked up."""
        return _Lazily(self)

    def keep(self, path: Path) -> None:
        """Write every listed column as one Parquet file, whole or not at all."""
        schema = pa.schema(self._listed())
        with fs.atomic_file(path) as file, pq.ParquetWriter(cast(Any, file), schema) as writer:
            for pieces in zip(*(spill.batches() for spill in self._spills), strict=True):
                found = dict(pair for piece in pieces for pair in zip(piece.schema.names, piece.columns, strict=True))
                writer.write_batch(pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema))

    def _listed(self) -> list[pa.Field]:
        return [field for spill in self._spills for field in spill.schema if field.name not in self._scratch]

    def __len__(self) -> int:
        return self._rows


class _Lazily(Mapping[str, Array]):
    """A table as the filter and its writer take it."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getitem__(self, name: str) -> Array:
        return self._table.column(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.names)

    def __len__(self) -> int:
        return len(self._table.names)


class _Spill:
    """A nameless Arrow file: written batch by batch, closed for writing by the first reader."""

    def __init__(self, like: Measured, folder: Path | None) -> None:
        self.schema = pa.schema([(name, pa.from_numpy_dtype(values.dtype)) for name, values in like.items()])
        self.sizes: list[int] = []
        self._file = fs.nameless(folder)
        self._writer: pa.RecordBatchFileWriter | None = pa.ipc.new_file(self._file, self.schema)

    def write(self, found: Measured) -> None:
        if self._writer is None:
            raise ValueError("a table that was read takes no more rows")
        arrays = [_arrow(found[field.name], field.type) for field in self.schema]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.sizes.append(len(arrays[0]))

    def batches(self, names: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """The batches in order, of these columns only where some are named."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        wanted = [self.schema.names.index(name) for name in names]
        reader = pa.ipc.open_file(self._file, options=pa.ipc.IpcReadOptions(included_fields=wanted or None))
        return (reader.get_batch(place) for place in range(reader.num_record_batches))

    def read(self, name: str) -> Array:
        """A column, `[N]`."""
        kind = self.schema.field(name).type.to_pandas_dtype()
        parts = [np.frombuffer(batch.column(0).buffers()[1], kind, len(batch)) for batch in self.batches([name])]
        return np.concatenate(parts)


def _arrow(values: Array, kind: pa.DataType) -> pa.Array:
    """Numbers as they are; `pa.array` would import pandas, which takes longer than most audits."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
