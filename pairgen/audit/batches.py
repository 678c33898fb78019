"""Columnar files in pieces: record batches with the number of their first row, and the damage between them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairgen import sources
from pairgen.audit.places import Place
from pairgen.audit.raw import DAMAGE, Raw
from pairgen.errors import UsageError, nearest

UNREADABLE = (pa.ArrowException, ValueError, OverflowError, OSError)
SIZE = 1000
"""Rows of a batch made into Python objects at once."""
MAGIC = b"ARROW1"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that stand together. `first` is the number of the first, from 1."""

    first: int
    data: pa.RecordBatch


Piece = Batch | Raw
"""Rows, or the damage that cost some."""


def read_batches(place: Place) -> Iterator[Piece]:
    """All rows of columnar files, batch by batch. Raises UsageError when a lone file is none of its kind."""
    if place.kind == "saved":
        yield from _saved(place)
        return
    open_file, first = (_parquet if place.kind == "parquet" else _arrow), 1
    for index, file in enumerate(place.files):
        last = first - 1
        try:
            for piece in open_file(file, first):
                last = piece.first + len(piece.data) - 1 if isinstance(piece, Batch) else piece.row + piece.lost - 1
                yield piece
        except UsageError as error:
            if len(place.files) == 1:
                raise
            yield Raw(first, None, "damaged", str(error), lost=place.lengths[index] if place.lengths else 1)
        first = first + place.lengths[index] if place.lengths else last + 1


def rows_of(piece: Piece) -> Iterator[Raw]:
    """The rows of a batch one by one; one that cannot be read costs itself alone."""
    if isinstance(piece, Raw):
        yield piece
        return
    for start in range(0, len(piece.data), SIZE):
        yield from _rows(piece.first + start, piece.data.slice(start, SIZE))


def _rows(first: int, data: pa.RecordBatch) -> Iterator[Raw]:
    try:
        data.validate(full=True)  # damaged offsets would be read outside the file
        records = data.to_pylist()
    except UNREADABLE as error:
        if len(data) == 1:
            yield Raw(first, None, "damaged", sources.one_line(error))
            return
        half = len(data) // 2
        yield from _rows(first, data.slice(0, half))
        yield from _rows(first + half, data.slice(half))
        return
    for row, record in enumerate(records, first):
        yield Raw(row, record)


def _parquet(file: Path, first: int) -> Iterator[Piece]:
    """Row group by row group: a damaged one costs its own rows."""
    try:
        parquet = pq.ParquetFile(file)
    except DAMAGE as error:
        raise UsageError(f"{file}: not a readable Parquet file ({sources.one_line(error)})") from error
    with parquet:
        for group in range(parquet.num_row_groups):
            row, end = first, first + parquet.metadata.row_group(group).num_rows
            try:
                for data in parquet.iter_batches(SIZE, row_groups=[group]):
                    yield Batch(row, data)
                    row += len(data)
            except UNREADABLE as error:
                detail = f"rows {row:,} to {end - 1:,}, of row group {group + 1}: {sources.one_line(error)}"
                yield Raw(row, None, "damaged", detail, lost=end - row)
            first = end


def _arrow(file: Path, first: int) -> Iterator[Piece]:
    """An Arrow file or stream. A file that was cut has no index any more, and is read as the stream it holds."""
    try:
        with pa.memory_map(str(file)) as source:
            magic = bytes(source.read(len(MAGIC))) == MAGIC
            if magic and (reader := _indexed(source)) is not None:
                yield from _by_index(reader, first)
                return
            source.seek(8 if magic else 0)
            yield from _in_order(pa.ipc.open_stream(source), first, cut=magic)
    except DAMAGE as error:
        raise UsageError(f"{file}: not a readable Arrow file ({sources.one_line(error)})") from error


def _indexed(source: pa.MemoryMappedFile) -> pa.RecordBatchFileReader | None:
    source.seek(0)
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        return None


def _by_index(reader: pa.RecordBatchFileReader, first: int) -> Iterator[Piece]:
    for index in range(reader.num_record_batches):
        try:
            data = reader.get_batch(index)
        except UNREADABLE as error:
            yield Raw(first, None, "damaged", f"batch {index + 1}: {sources.one_line(error)}")
            first += 1
        else:
            yield Batch(first, data)
            first += len(data)


def _in_order(batches: Any, first: int, *, cut: bool) -> Iterator[Piece]:
    detail = f"the file ends after row {first - 1:,} without its index"
    try:
        for data in batches:
            yield Batch(first, data)
            first += len(data)
    except UNREADABLE as error:
        cut, detail = True, sources.one_line(error)
    if cut:
        yield Raw(first, None, "cut file", f"nothing can be read after row {first - 1:,}: {detail}")


def _saved(place: Place) -> Iterator[Piece]:
    """A folder of `datasets.save_to_disk`."""
    import datasets

    try:
        found = datasets.load_from_disk(str(place.files[0]))
    except UNREADABLE as error:
        raise UsageError(f"{place.path}: not a readable saved dataset ({sources.one_line(error)})") from error
    if isinstance(found, datasets.DatasetDict):
        if place.split not in found:
            raise UsageError(f"{place.path}: no split {place.split!r}: {nearest(place.split, map(str, found))}")
        found = found[place.split]
    first = 1
    for table in found.with_format("arrow").iter(SIZE):
        for data in table.combine_chunks().to_batches():
            yield Batch(first, data)
            first += len(data)
