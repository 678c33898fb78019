"""Reading whatever users keep instructions in: JSONL, JSON, CSV, Parquet, Arrow, or a hub dataset.

Every error names the file and the line or row; nothing is guessed silently.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairgen.errors import UsageError
from pairgen.fingerprint import JSON, file_digest
from pairgen.resources import resolve

MAX_LINE = 64 << 20
"""A line longer than this is refused: it is a binary file, not a dataset."""


@dataclass(frozen=True, slots=True)
class Record:
    """One input record and where it stood, for messages: `prompts.jsonl:12`."""

    where: str
    value: Any


def is_hub_name(path: str) -> bool:
    """Whether a path that is no file here looks like `owner/name` on the hub."""
    return path.count("/") == 1 and not resolve(path).exists() and "." not in path.split("/")[1] and path[0] not in "./~"


def source_identity(path: str, split: str, revision: str | None) -> JSON:
    """What the input is, wherever it lies: the digest of its bytes, or the hub name with its revision."""
    if is_hub_name(path):
        return {"hub": path, "split": split, "revision": revision}
    return {"sha256": file_digest(_existing(path))}


def read_records(path: str, split: str = "train", revision: str | None = None) -> Iterator[Record]:
    """The records of a file or hub dataset, streamed. Raises UsageError naming file and line."""
    if is_hub_name(path):
        yield from _hub(path, split, revision)
        return
    file = _existing(path)
    suffixes = [s.lower() for s in file.suffixes]
    kind = next((s for s in reversed(suffixes) if s not in {".gz"}), "")
    reader = READERS.get(kind)
    if reader is None:
        raise UsageError(f"{file}: unknown kind of file {kind or '(no suffix)'!r}; have: {', '.join(sorted(READERS))}")
    yield from reader(file)


def _existing(path: str) -> Path:
    file = resolve(path)
    if not file.exists():
        raise UsageError(f"{path}: no such file; data.path is a JSONL, JSON, CSV, Parquet or Arrow file, or a hub name owner/name")
    if file.is_dir():
        raise UsageError(f"{path}: is a folder; name one file")
    try:
        with file.open("rb") as opened:
            empty = not opened.read(1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if empty:
        raise UsageError(f"{path}: is empty")
    return file


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    opened = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")
    with opened as stream:
        for number, raw in enumerate(stream, 1):
            if len(raw) > MAX_LINE:
                raise UsageError(f"{file}:{number}: a line of {len(raw):,} bytes; the limit is {MAX_LINE:,}")
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UsageError(f"{file}:{number}: not UTF-8 at byte {error.start} of the line; convert the file to UTF-8") from error
            yield number, text


def _jsonl(file: Path) -> Iterator[Record]:
    for number, text in _lines(file):
        if text.strip():
            yield Record(f"{file}:{number}", _loads(text, f"{file}:{number}"))


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise UsageError(f"{where}: not JSON ({detail})") from error


def _json(file: Path) -> Iterator[Record]:
    values = _loads("".join(text for _, text in _lines(file)), str(file))
    if not isinstance(values, list):
        raise UsageError(f"{file}: a JSON file holds one list of records; for one record a line name it .jsonl")
    for index, value in enumerate(values):
        yield Record(f"{file}[{index}]", value)


def _csv(file: Path) -> Iterator[Record]:
    csv.field_size_limit(MAX_LINE)
    text = io.StringIO("".join(line for _, line in _lines(file)), newline="")
    reader = csv.DictReader(text, delimiter="\t" if ".tsv" in file.suffixes else ",", strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UsageError(f"{file}:{reader.line_num}: a row with another number of cells than the header")
            yield Record(f"{file}:{reader.line_num}", row)
    except csv.Error as error:
        raise UsageError(f"{file}:{reader.line_num}: not CSV ({error})") from error


def _parquet(file: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        yield from _numbered(file, (r for b in parquet.iter_batches(1024) for r in b.to_pylist()))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file}: not a readable Parquet file ({_one_line(error)})") from error


def _arrow(file: Path) -> Iterator[Record]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as source:
            try:
                reader = pa.ipc.open_file(source)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            except pa.ArrowInvalid:
                source.seek(0)
                batches = iter(pa.ipc.open_stream(source))
            yield from _numbered(file, (row for batch in batches for row in batch.to_pylist()))
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file}: not a readable Arrow file ({_one_line(error)})") from error


def _hub(path: str, split: str, revision: str | None) -> Iterator[Record]:
    import datasets

    try:
        rows = datasets.load_dataset(path, split=split, revision=revision, streaming=True)
        yield from _numbered(path, rows)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path}: no such file here, and the hub dataset cannot be read ({_one_line(error)})") from error


def _numbered(name: Path | str, rows: Any) -> Iterator[Record]:
    for index, row in enumerate(rows):
        yield Record(f"{name}[{index}]", row)


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


READERS = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv,
    ".parquet": _parquet, ".arrow": _arrow,
}
