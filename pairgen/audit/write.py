"""`--filter`: the rows that hold, as they stood in their source, and every other row with its reason.

Two passes: the first finds the row numbers of kept pairs and writes the drops, the second copies the kept rows
without looking at them. The folder appears whole or not at all.
"""

import json
import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pairgen import fs
from pairgen.audit.batches import UNREADABLE, Batch, read_batches
from pairgen.audit.filter import Array, Condition
from pairgen.audit.groups import COLUMN as GROUP
from pairgen.audit.read import Sighting, Source, rows_at
from pairgen.audit.run import Options
from pairgen.audit.run import columns as columns_of
from pairgen.audit.summary import NO_PREFERENCE, BadRow
from pairgen.errors import UsageError

DROPS = "drops.jsonl"
LINES = frozenset({"lines", "json", "joined", "hub"})
"""Kinds of places whose kept rows are written as JSONL; of the others as Parquet."""
BOM = b"\xef\xbb\xbf"
PACKED = 1000
"""Rows of a row group where the source has no batches of its own."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a filter left: pairs by fate, rows that were no pair in `bad`, and the two files."""

    pairs: int
    kept: int
    failed: dict[str, int]
    bad: dict[str, int]
    data: Path
    drops: Path

    def __str__(self) -> str:
        reasons = [f"{reason} {count:,}" for reason, count in (*self.failed.items(), *self.bad.items()) if count]
        share = f"kept {self.kept:,} of {self.pairs:,} pairs ({self.kept / self.pairs:.1%}) in {self.data}"
        return f"{share}; dropped: {', '.join(reasons) or 'none'}; see {self.drops}" if reasons else share


def filter_names(options: Options) -> list[str]:
    """The columns a filter may name: all but hashes and the numbers of groups."""
    return [name for name in columns_of(options) if not name.endswith("_hash") and name != GROUP]


def check_out(out: Path) -> None:
    """Raise UsageError unless a folder can be made there: nothing that exists is written over."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"--out {out}: exists already; name a new folder")


def write_filtered(source: Source, columns: Mapping[str, Array], condition: Condition, out: Path) -> Written:
    """Write the kept rows and the drops of a source as the folder `out`. `columns` are those of its audit, by pair.

    Raises UsageError when the folder exists, or the source is no longer what was audited.
    """
    check_out(out)
    failed = condition.failed(columns, source.pairs)
    fs.make_dirs(out.parent)
    temp = out.with_name(f".{out.name}.{os.getpid()}{fs.TEMP}")
    try:
        fs.make_dirs(temp)
        kept = _write_drops(source, columns, condition, failed, temp / DROPS)
        name = "kept.jsonl" if source.place.kind in LINES else "kept.parquet"
        with fs.atomic_file(temp / name) as file:
            _copy(source, kept, file)
        fs.adopt(temp, out)
    except BaseException:
        fs.remove(temp)
        raise
    counts = {text: int((failed == index).sum()) for index, (text, _) in enumerate(condition.parts)}
    return Written(source.pairs, int((failed < 0).sum()), counts, dict(source.bad), out / name, out / DROPS)


def _write_drops(source: Source, columns: Mapping[str, Array], condition: Condition, failed: NDArray[np.int16],
                 path: Path) -> NDArray[np.int64]:
    """The numbers of the rows that are kept, in order; the others are written with their reasons."""
    kept = array("q")
    values = {name: columns[name] for name in condition.names}
    pair = 0
    with fs.atomic_file(path) as file:
        for found in source.walk():
            if not isinstance(found, Sighting):
                file.write(_line(_bad(found)))
                continue
            if pair == len(failed):
                raise UsageError(f"{source.path}: changed while it was audited; run again")
            if failed[pair] < 0:
                kept.extend((found.row, found.other) if found.other else (found.row,))
            else:
                text, _ = condition.parts[failed[pair]]
                file.write(_line(_drop(found, text, {name: float(column[pair]) for name, column in values.items()})))
            pair += 1
    if pair != len(failed):
        raise UsageError(f"{source.path}: changed while it was audited; run again")
    return np.sort(np.frombuffer(kept, np.int64))


def _bad(found: BadRow) -> dict[str, Any]:
    """A row that is no pair; `failed` where it is damage and not a tie."""
    failed = found.reason not in NO_PREFERENCE
    return {"row": found.row, "reason": found.reason, "detail": found.detail, "failed": failed}


def _drop(found: Sighting, reason: str, values: dict[str, float]) -> dict[str, Any]:
    """A dropped pair: its row, the condition it failed, and the numbers the filter saw (null where missing)."""
    other = {"other_row": found.other} if found.other else {}
    seen = {name: None if np.isnan(value) else value for name, value in values.items()}
    return {"row": found.row, **other, "reason": reason, "values": seen, "failed": False}


def _line(value: Any) -> bytes:
    """A line of JSONL. A text that UTF-8 cannot hold is escaped, as it was in its source."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode() + b"\n"


# --- copying ------------------------------------------------------------------------------------------


def _copy(source: Source, kept: NDArray[np.int64], file: BinaryIO) -> None:
    if source.place.kind not in LINES:
        _copy_batches(_cells(source) if source.place.kind == "cells" else _batches(source), kept, file)
        return
    wanted = iter(kept.tolist())
    row = next(wanted, 0)
    for raw in rows_at(source.place):
        if raw.row == row:
            file.write(raw.line.removeprefix(BOM).rstrip(b"\r\n") + b"\n" if raw.line else _line(raw.record))
            row = next(wanted, 0)


def _copy_batches(batches: Iterator[Batch], kept: NDArray[np.int64], file: BinaryIO) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for batch in batches:
            if writer is None:
                writer = pq.ParquetWriter(cast(Any, file), batch.data.schema)
            start, end = np.searchsorted(kept, [batch.first, batch.first + len(batch.data)])
            if start < end:
                writer.write_batch(_taken(batch.data, kept[start:end] - batch.first))
    finally:
        if writer is not None:
            writer.close()


def _taken(data: pa.RecordBatch, rows: NDArray[np.int64]) -> pa.RecordBatch:
    """Rows of a batch; of a damaged one each is taken alone, since offsets of others lead outside the file."""
    try:
        data.validate(full=True)
    except UNREADABLE:
        return pa.concat_batches([data.slice(row, 1) for row in rows.tolist()])
    return pc.take(data, pa.array(rows))


def _batches(source: Source) -> Iterator[Batch]:
    return (piece for piece in read_batches(source.place) if isinstance(piece, Batch))


def _cells(source: Source) -> Iterator[Batch]:
    """Cells as columns of text, a batch as far as row numbers follow one another."""
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    first = 1
    for raw in rows_at(source.place):
        if rows and (raw.record is None or len(rows) == PACKED):
            yield Batch(first, pa.RecordBatch.from_pylist(rows, _texts(names)))
            rows = []
        if raw.record is not None:
            names, first = names or list(raw.record), first if rows else raw.row
            rows.append(raw.record)
    if rows:
        yield Batch(first, pa.RecordBatch.from_pylist(rows, _texts(names)))


def _texts(names: list[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])
