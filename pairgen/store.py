"""What a finished step is: Arrow shards, sealed by a manifest that is written last.

`runs/<run>/<step>@<digest>/part-00000.arrow`, `drops/part-00000.arrow`, `manifest.json`. A folder
without a manifest is unfinished work and is cleared when its step runs again. The same rows give the
same bytes. Shards are Arrow IPC *files*: a file cut anywhere fails to open, while a stream cut between
two batches would load short without an error.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, TypeVar

import pyarrow as pa
from pydantic import BeforeValidator, ValidationError

from pairgen import fingerprint, fs, records
from pairgen.engine import Frozen
from pairgen.errors import Damaged, UsageError
from pairgen.fingerprint import JSON
from pairgen.records import Drop
from pairgen.schema import from_batch, schema_of, to_batch

R = TypeVar("R")
FORMAT = 1
MANIFEST = "manifest.json"
DROPS = "drops"
BATCH_ROWS = 512
Plain = Annotated[Any, BeforeValidator(fingerprint.identity)]
"""JSON and nothing else: what is not refuses to be sealed."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as sealed. `name` is relative to the folder that holds it."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What answering took. `requests` were sent, `reused` counts samples the journal had; cost in dollars."""

    requests: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.reused + other.reused,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


class Manifest(Frozen):
    """What a step folder holds and what it was made of. Everything but `log` is equal in equal runs.

    `identity` is the whole identity of the step and `digest` its hash; `inputs` maps an upstream step
    to its digest. `failed` counts the drops that went wrong rather than were filtered. `files` maps
    the other files of the folder to their sha256.
    """

    format: int = FORMAT
    name: str
    use: str
    identity: Plain
    digest: str
    inputs: dict[str, str] = {}
    row_class: str | None = None
    rows: int = 0
    shards: tuple[Shard, ...] = ()
    drop_shards: tuple[Shard, ...] = ()
    drops: dict[str, int] = {}
    failed: int = 0
    metrics: Plain = {}
    files: dict[str, str] = {}
    code_version: str
    log: Plain = {}


# --- folders ------------------------------------------------------------------------------------------


def step_folder(run: Path, name: str, digest: str) -> Path:
    """Where a step of that identity lives: `<name>@<8 digits>`, more where another identity has those."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise UsageError(f"{name!r} cannot name a step folder: use letters, digits, - and _")
    for width in (8, 16, 32):
        folder = run / f"{name}@{digest[:width]}"
        sealed = read_manifest(folder)
        if sealed is None or sealed.digest == digest:
            return folder
    return run / f"{name}@{digest}"


def is_done(folder: Path, identity: JSON) -> bool:
    """Whether the folder is sealed and was made of exactly this; the whole identity counts."""
    sealed = read_manifest(folder)
    return sealed is not None and fingerprint.canonical(sealed.identity) == fingerprint.canonical(identity)


def sealed_steps(run: Path) -> list[tuple[Path, Manifest]]:
    """Every finished step of a run, by folder name."""
    folders = sorted(run.glob("*@*")) if run.is_dir() else []
    found = [(folder, read_manifest(folder)) for folder in folders]
    return [(folder, manifest) for folder, manifest in found if manifest is not None]


# --- manifests ----------------------------------------------------------------------------------------


def seal(folder: Path, manifest: Manifest) -> None:
    """Finish a step. The shards it names must be committed already: this is the last write."""
    if manifest.digest != fingerprint.digest(manifest.identity):
        raise ValueError(f"manifest of {manifest.name!r}: the digest is not that of the identity")
    body = json.loads(manifest.model_dump_json())
    fs.make_dirs(folder)
    fs.failpoint("manifest.write")
    fs.write_atomic(folder / MANIFEST, _render({**body, "sha256": fingerprint.digest(body)}))
    fs.failpoint("manifest.done")


def _render(body: JSON) -> bytes:
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a sealed folder, None when it is not sealed. Damaged when a byte is not as written."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return _parse(data)
    except (ValueError, ValidationError, RecursionError) as error:
        raise Damaged(
            f"{path}: not as it was sealed ({error}); delete {folder} and run again: answers are kept"
        ) from error


def _parse(data: bytes) -> Manifest:
    body = json.loads(data)
    if not isinstance(body, dict) or _render(body) != data:
        raise ValueError("altered")
    if body.get("format") != FORMAT:
        raise ValueError(f"format {body.get('format')!r}, and this pairgen reads format {FORMAT}")
    expected, got = body.pop("sha256", None), fingerprint.digest(body)
    if expected != got:
        raise ValueError(f"expected sha256 {expected}, got {got}")
    manifest = Manifest.model_validate_json(json.dumps(body))
    if manifest.digest != fingerprint.digest(manifest.identity):
        raise ValueError("its digest is not that of its identity")
    return manifest


# --- writing ------------------------------------------------------------------------------------------


class _Shards:
    """Rows of one class into `part-00000.arrow`, `part-00001.arrow`, ... of a folder, never an empty one."""

    def __init__(self, folder: Path, cls: type, shard_rows: int) -> None:
        self.done: list[Shard] = []
        self._folder, self._cls, self._shard_rows = folder, cls, shard_rows
        self._schema = schema_of(cls).with_metadata({"pairgen": f"{cls.__name__} {FORMAT}"})
        self._buffer: list[Any] = []
        self._open: ExitStack | None = None
        self._sink: Any = None
        self._rows = 0

    def add(self, row: Any) -> None:
        self._buffer.append(row)
        if self._rows + len(self._buffer) == self._shard_rows:
            self.commit()
        elif len(self._buffer) == BATCH_ROWS:
            self._flush()

    def commit(self) -> None:
        """Close the open shard, if there is one."""
        self._flush()
        if self._open is None:
            return
        opened, self._open = self._open, None
        path = self._path()
        opened.close()
        fs.failpoint("shard.done")
        self.done.append(Shard(path.name, self._rows, fingerprint.file_digest(path)))
        self._rows = 0

    def discard(self) -> None:
        """Remove the shard being written."""
        if self._open is not None:
            opened, self._open = self._open, None
            opened.__exit__(_Discarded, _Discarded(), None)

    def _path(self) -> Path:
        return self._folder / f"part-{len(self.done):05}.arrow"

    def _flush(self) -> None:
        if not self._buffer:
            return
        if self._open is None:
            self._start()
        batch = to_batch(self._cls, self._buffer)
        self._sink.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
        self._rows += len(self._buffer)
        self._buffer = []

    def _start(self) -> None:
        fs.make_dirs(self._folder)
        fs.failpoint("shard.start")
        self._open = ExitStack()
        file = self._open.enter_context(fs.atomic_file(self._path()))
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._sink = self._open.enter_context(pa.ipc.new_file(file, self._schema, options=options))


class _Discarded(Exception):
    """Tells an open shard that it will not be wanted."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a writer committed, in the manifest's own words."""

    row_class: str
    rows: int
    shards: tuple[Shard, ...]
    drop_shards: tuple[Shard, ...]
    drops: dict[str, int]
    failed: int


@dataclass(slots=True)
class _DropCount:
    reasons: dict[str, int] = field(default_factory=dict)
    failed: int = 0

    def add(self, drop: Drop) -> None:
        self.reasons[drop.reason] = self.reasons.get(drop.reason, 0) + 1
        self.failed += drop.failed


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
        self._count = _DropCount()

    def add(self, item: Any) -> None:
        """Write a row of the step's class, or a Drop."""
        if isinstance(item, Drop):
            self._count.add(item)
            self._drops.add(item)
        elif type(item) is self._row_class:
            self._rows.add(item)
        else:
            raise TypeError(f"this step writes {self._row_class.__name__}, not {type(item).__name__}")

    def close(self) -> StepOutput:
        """Commit what is left and say what there is."""
        self._rows.commit()
        self._drops.commit()
        shards = tuple(self._rows.done)
        return StepOutput(
            row_class=self._row_class.__name__,
            rows=sum(shard.rows for shard in shards),
            shards=shards,
            drop_shards=tuple(self._drops.done),
            drops=dict(sorted(self._count.reasons.items())),
            failed=self._count.failed,
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
    """Delete the shards and temporary files of a step that was not sealed."""
    fs.clear_temps(folder)
    for shard in folder.glob("part-*.arrow"):
        fs.remove(shard)
    fs.remove(folder / DROPS)


# --- reading ------------------------------------------------------------------------------------------


def read_rows(folder: Path, cls: type[R] | None = None, *, verify: bool = True) -> Iterator[R]:
    """The rows of a sealed step, a batch in memory at a time. `cls` defaults to the manifest's row class.

    Raises Damaged, naming the file, before any row of a shard that is not as sealed.
    """
    manifest = _sealed(folder)
    if cls is None:
        cls = _row_class(folder, manifest)
    return _read(folder, manifest.shards, cls, verify)


def read_drops(folder: Path, *, verify: bool = True) -> Iterator[Drop]:
    """The drops of a sealed step."""
    return _read(folder / DROPS, _sealed(folder).drop_shards, Drop, verify)


def verify_step(folder: Path) -> Manifest:
    """Check every shard and file of a sealed step against its manifest; Damaged names the first that differs."""
    manifest = _sealed(folder)
    for shard in manifest.shards:
        _check(folder / shard.name, shard.sha256)
    for shard in manifest.drop_shards:
        _check(folder / DROPS / shard.name, shard.sha256)
    for name, sha256 in manifest.files.items():
        _check(folder / name, sha256)
    return manifest


def _sealed(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder}: no finished step here (no {MANIFEST}); run it first")
    return manifest


def _row_class(folder: Path, manifest: Manifest) -> Any:
    cls = getattr(records, manifest.row_class or "", None)
    if not isinstance(cls, type):
        raise UsageError(f"{folder}: holds no rows that pairgen knows (row class {manifest.row_class!r})")
    return cls


def _read(folder: Path, shards: tuple[Shard, ...], cls: type[R], verify: bool) -> Iterator[R]:
    for shard in shards:
        path = folder / shard.name
        if verify:
            _check(path, shard.sha256)
        yield from _read_shard(path, shard.rows, cls)


def _check(path: Path, expected: str) -> None:
    got = _reading(path, lambda: fingerprint.file_digest(path))
    if got != expected:
        raise Damaged(f"{path}: altered since it was sealed: expected sha256 {expected}, got {got}; {_mend(path)}")


def _read_shard(path: Path, rows: int, cls: type[R]) -> Iterator[R]:
    with ExitStack() as stack:
        reader = _reading(path, lambda: pa.ipc.open_file(stack.enter_context(pa.OSFile(str(path), "rb"))))
        if not reader.schema.equals(schema_of(cls)):
            raise Damaged(f"{path}: its columns are not those of {cls.__name__}; {_mend(path)}")
        seen = 0
        for index in range(reader.num_record_batches):
            batch = _reading(path, lambda index=index: reader.get_batch(index))  # type: ignore[misc]
            seen += batch.num_rows
            yield from from_batch(cls, batch)
        if seen != rows:
            raise Damaged(f"{path}: expected {rows} rows, got {seen}; {_mend(path)}")


def _reading(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError:
        raise Damaged(f"{path}: missing, but its manifest names it; {_mend(path)}") from None
    except (OSError, pa.ArrowException) as error:
        raise Damaged(f"{path}: cannot be read: {error}; {_mend(path)}") from error


def _mend(path: Path) -> str:
    step = path.parent.parent if path.parent.name == DROPS else path.parent
    return f"delete {step} and run again: answers are kept"
