"""Reading whatever users keep instructions in: JSONL, JSON, CSV, Parquet, Arrow, or a hub dataset.

Every error names the file and the line or row; nothing is guessed silently.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

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
    if path.count("/") != 1 or path[0] in "./~" or "\0" in path or kind_of(Path(path)) in READERS:
        return False
    return not exists(resolve(path))


def source_identity(path: str, split: str, revision: str | None) -> JSON:
    """What the input is, in whatever folder: its name and the digest of its bytes, or the hub name.

    The file's name counts because rows keep it as their source and its ending says how to read it.
    """
    if is_hub_name(path):
        return {"hub": path, "split": split, "revision": revision}
    file = existing(path)
    return {"name": file.name, "sha256": file_digest(file)}


def source_name(path: str) -> str:
    """What rows say they come from: the file's name without its folder, or the hub name."""
    return path if is_hub_name(path) else resolve(path).name


def read_records(path: str, split: str = "train", revision: str | None = None) -> Iterator[Record]:
    """The records of a file or hub dataset, streamed. Raises UsageError naming file and line."""
    if is_hub_name(path):
        yield from _hub(path, split, revision)
        return
    file = existing(path)
    kind = kind_of(file)
    if kind not in READERS:
        have = ", ".join(sorted(READERS))
        raise UsageError(f"{file}: unknown kind of file {kind or '(no suffix)'!r}; have: {have}")
    yield from READERS[kind](file)


def kind_of(file: Path) -> str:
    """The ending that says how to read a file: `.jsonl` of `x.JSONL`, of `x.jsonl.gz` and of `x.jsonl.zst`."""
    name = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    return Path(name).suffix


def exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def existing(path: str) -> Path:
    """The file at a path. Raises UsageError when there is none, or nothing in it."""
    file = resolve(path)
    if not exists(file):
        raise UsageError(
            f"{path[:300]}: no such file; give a JSONL, JSON, CSV, Parquet or Arrow file, or a hub name owner/name"
        )
    if file.is_dir():
        raise UsageError(f"{path}: is a folder; {folder_hint(file)}")
    try:
        with file.open("rb") as opened:
            empty = not opened.read(1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if empty:
        raise UsageError(f"{path}: is empty")
    return file


def folder_hint(folder: Path) -> str:
    """What to do about a folder where a file is expected: which of its files to name.

    A .json file is not counted: in a folder it is as often some tool's own.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    files = [name for name in names if kind_of(Path(name)) in READERS.keys() - {".json"}]
    if not files:
        return "name one file" if names else "there is nothing in it"
    best = next((name for name in files if name.startswith("train")), files[0])
    others = f" (or another of its {len(files)} files)" if len(files) > 1 else ""
    return f"name the file: {folder / best}{others}"


def unpacking(file: Path) -> gzip.GzipFile | io.BufferedReader:
    """The file's bytes, unpacked when its name ends in .gz or .zst.

    Reading damage raises EOFError, zlib.error or OSError.
    """
    ending = file.suffix.lower()
    if ending == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file), "rb"), "zstd"))
    return gzip.open(file, "rb") if ending == ".gz" else file.open("rb")


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked when it is gzipped or in Zstandard. Damage raises UsageError."""
    try:
        with unpacking(file) as stream:
            yield cast(BinaryIO, stream)
    except (EOFError, zlib.error, OSError) as error:
        raise UsageError(f"{file}: cannot be read ({one_line(error)})") from error


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with opened(file) as stream:
        number = 0
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                raise UsageError(f"{file}:{number}: a line of more than {MAX_LINE:,} bytes")
            yield number, _decoded(raw, file, number)


def _decoded(raw: bytes, file: Path, first: int) -> str:
    """UTF-8 bytes that begin at line `first`, as text; a byte order mark at the start is skipped."""
    try:
        return raw.decode("utf-8-sig" if first == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = first + raw.count(b"\n", 0, error.start)
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1)
        raise UsageError(
            f"{file}:{line}: not UTF-8 at byte {column} of the line; convert the file to UTF-8"
        ) from error


def _jsonl(file: Path) -> Iterator[Record]:
    for number, text in _lines(file):
        if text.strip():
            yield Record(f"{file}:{number}", _loads(text.rstrip("\r\n"), f"{file}:{number}"))


def _loads(text: str, where: str) -> Any:
    """The value of a JSON text. `where` is its file, or its file and line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = "" if where.rpartition(":")[2].isdecimal() else f":{error.lineno}"
        what = error.msg.removesuffix(" at")
        raise UsageError(f"{where}{line}: not JSON ({what} at character {error.colno})") from error
    except RecursionError as error:
        raise UsageError(f"{where}: not JSON we can read (nested too deeply)") from error
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{where}: not JSON we can read ({one_line(error)})") from error


def _json(file: Path) -> Iterator[Record]:
    with opened(file) as stream:
        text = _decoded(stream.read(), file, 1)
    try:
        values = _loads(text, str(file))
    except UsageError as error:
        if "Extra data" in str(error):
            raise UsageError(f"{error}; for one record a line name the file .jsonl") from error
        raise
    if not isinstance(values, list):
        raise UsageError(f"{file}: a JSON file holds a list of records; for one a line name it .jsonl")
    for index, value in enumerate(values):
        yield Record(f"{file}[{index}]", value)


def _csv(file: Path) -> Iterator[Record]:
    csv.field_size_limit(MAX_LINE)
    with opened(file) as stream:
        text = io.StringIO(_decoded(stream.read(), file, 1), newline="")
    reader = csv.DictReader(text, delimiter="\t" if kind_of(file) == ".tsv" else ",", strict=True)
    try:
        header = reader.fieldnames or []
        if len(set(header)) != len(header):
            raise UsageError(f"{file}:1: two columns of one name in the header: {', '.join(header)}")
        for row in reader:
            if None in row or None in row.values():
                where = f"{file}:{reader.line_num}"
                raise UsageError(f"{where}: a row with another number of cells than the header")
            yield Record(f"{file}:{reader.line_num}", row)
    except csv.Error as error:
        raise UsageError(f"{file}:{reader.line_num}: not CSV ({error})") from error


def _parquet(file: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        yield from _numbered(file, (r for b in parquet.iter_batches(1024) for r in b.to_pylist()))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not a readable Parquet file ({one_line(error)})") from error


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
            yield from _numbered(file, (row for batch in batches for row in checked(batch).to_pylist()))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not a readable Arrow file ({one_line(error)})") from error


def checked(batch: Any) -> Any:
    """The batch, its offsets and text validated: damaged ones would be read outside the file."""
    batch.validate(full=True)
    return batch


def _hub(path: str, split: str, revision: str | None) -> Iterator[Record]:
    import datasets

    _reach(path, revision)
    try:
        rows = datasets.load_dataset(path, split=split, revision=revision, streaming=True)
        yield from _numbered(path, rows)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unread(path, error) from error


def _reach(path: str, revision: str | None) -> None:
    """Ask the hub once: `datasets` would retry for half a minute, aloud, before it says that there is no network.

    What the hub answers with an error is left to `datasets`, which says it better.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().dataset_info(path, revision=revision, timeout=10)
    except (HfHubHTTPError, HFValidationError):
        return
    except Exception as error:  # of its HTTP client, which is another one in other versions
        raise _unread(path, error) from error


def _unread(path: str, error: Exception) -> UsageError:
    return UsageError(f"{path}: no such file here, and the hub dataset cannot be read ({one_line(error)})")


def _numbered(name: Path | str, rows: Any) -> Iterator[Record]:
    for index, row in enumerate(rows):
        yield Record(f"{name}[{index}]", row)


def one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


READERS = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv,
    ".parquet": _parquet, ".arrow": _arrow,
}
