"""Rows into files that any reader opens: JSONL with plain UTF-8, Parquet with the row's own schema.

Names are the hub's (`train-00000-of-00002.parquet`), so the number of rows must be known first.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairgen import fs
from pairgen.schema import schema_of, to_batch

FILE_ROWS = 100_000
BATCH_ROWS = 1_000


class FileSet:
    """The files of one split, written in order; each appears whole or not at all."""

    def __init__(self, folder: Path, split: str, cls: type, kind: str, rows: int) -> None:
        self._folder, self._split, self._cls, self._kind = folder, split, cls, kind
        self._files = max(1, -(-rows // FILE_ROWS))

    def write(self, rows: Iterable[Any]) -> int:
        """Write them all; how many there were."""
        fs.make_dirs(self._folder)
        source, total = iter(rows), 0
        for number in range(self._files):
            path = self._folder / f"{self._split}-{number:05}-of-{self._files:05}.{self._kind}"
            total += self._write_one(path, islice(source, FILE_ROWS))
        return total

    def _write_one(self, path: Path, rows: Iterator[Any]) -> int:
        count = 0
        with ExitStack() as stack:
            file: Any = stack.enter_context(fs.atomic_file(path))
            sink = stack.enter_context(_parquet(file, self._cls)) if self._kind == "parquet" else None
            while batch := list(islice(rows, BATCH_ROWS)):
                made = to_batch(self._cls, batch)
                count += len(batch)
                if sink is not None:
                    sink.write_batch(made)
                else:
                    file.write(_lines(made))
        return count


def _parquet(file: Any, cls: type) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, schema_of(cls), compression="zstd")


def _lines(batch: pa.RecordBatch) -> bytes:
    """A line of JSON per row; line separators of Unicode's own are escaped, so that no reader splits at one."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
    return "".join(lines).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085").encode()
