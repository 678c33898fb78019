"""Training data from wherever it is: a pairgen run, step or shard, a file, a saved or a hub dataset.

A path is opened before a row of it is read, so that what was recognised can be said first. Records that
are well formed but no training row are drops with their place; everything else that is wrong is an error
that names the file, the row and what to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairgen import sources, store
from pairgen.errors import UsageError, nearest
from pairgen.fingerprint import JSON, file_digest
from pairgen.records import Demonstration, Drop, Labelled, Message, Pair, Preference
from pairgen.resources import resolve
from pairgen.schema import schema_of
from pairgen.sources import Record
from pairgen.store import Manifest, read_manifest, read_shard, sealed_steps
from pairgen.store.write import ROW_CLASS
from pairgen.train.example import TrainRow
from pairgen.train.formats import Builder, Cells, Format, recognise
from pairgen.train.turns import NoRow

READABLE: dict[str, type] = {c.__name__: c for c in (Demonstration, Preference, Labelled, Pair)}
WHAT = "train reads Demonstration, Preference, Labelled or Pair rows"


@dataclass(slots=True)
class Data:
    """An opened training set: what it is, its rows, and, once they are read, the records that were none.

    `identity` is what the rows depend on: the bytes of the files, not where they are.
    """

    path: str
    format: Format
    identity: JSON
    rows: Iterator[TrainRow]
    drops: list[Drop] = field(default_factory=list)


def read_rows(path: str | Path, *, split: str = "train", revision: str | None = None,
              columns: Mapping[str, str] | None = None) -> Iterator[TrainRow]:
    """The training rows of a path or hub name, streamed; see `open_data`."""
    return open_data(path, split=split, revision=revision, columns=columns).rows


def open_data(path: str | Path, *, split: str = "train", revision: str | None = None,
              columns: Mapping[str, str] | None = None) -> Data:
    """Recognise what is at a path or hub name. `columns` says which column plays a part: `prompt: question`.

    Raises UsageError when there is nothing that training can read.
    """
    name, folder = str(path), resolve(str(path))
    if folder.is_dir():
        return _saved(name, folder, split, columns) if _is_saved(folder) else _step(name, folder)
    if folder.suffix == ".arrow" and folder.is_file() and _row_class(folder):
        return _shard(name, folder)
    records = sources.read_records(name, split, revision)
    return _records(name, sources.source_identity(name, split, revision), records, columns)


# --- pairgen's own shards -----------------------------------------------------------------------------


def _step(name: str, folder: Path) -> Data:
    """A sealed step, or the one step of a run that training reads."""
    manifest = read_manifest(folder)
    if manifest is None:
        folder, manifest = _step_of_run(name, folder)
    kind = manifest.row_class or "no"
    if kind not in READABLE:
        raise UsageError(f"{folder}: holds {kind} rows; {WHAT}")
    for shard in manifest.shards:
        _check_columns(folder / shard.name, kind)
    rows = map(_as_training_row, store.read_rows(folder))
    return Data(name, Format(f"{kind} rows of step {manifest.name}", {}), {"step": manifest.digest}, rows)


def _step_of_run(name: str, run: Path) -> tuple[Path, Manifest]:
    """The step a run ends with: no other step was made of it, and pairs give way to exported rows."""
    steps = sealed_steps(run)
    readable = [(folder, m) for folder, m in steps if m.row_class in READABLE]
    used = {digest for _, m in readable for digest in m.inputs.values()}
    last = [(folder, m) for folder, m in readable if m.digest not in used]
    last = [(folder, m) for folder, m in last if m.row_class != "Pair"] or last
    if len(last) == 1:
        return last[0]
    if last:
        have = ", ".join(f"{folder} ({m.rows:,} {m.row_class} rows)" for folder, m in last)
        raise UsageError(f"{name}: holds {len(last)} steps to train on; name one: {have}")
    if not steps:
        raise UsageError(f"{name}: no finished step and no saved dataset; {sources.folder_hint(run)}")
    found = ", ".join(sorted({m.row_class or "none" for _, m in steps}))
    raise UsageError(f"{name}: no step to train on (its steps hold: {found}); {WHAT}")


def _shard(name: str, path: Path) -> Data:
    """One shard file, taken as it is."""
    kind = _row_class(path)
    if kind not in READABLE:
        raise UsageError(f"{path}: holds {kind.rpartition(':')[2]} rows; {WHAT}")
    _check_columns(path, kind)
    rows = map(_as_training_row, read_shard(path))
    return Data(name, Format(f"{kind} rows of a shard", {}), {"shard": file_digest(path)}, rows)


def _check_columns(path: Path, kind: str) -> None:
    """Raise UsageError, naming what is other, when a shard was written by another version."""
    expected, found = schema_of(READABLE[kind]), _schema(path)
    if found is None or found.equals(expected):
        return  # a missing or damaged shard has its own report when it is read
    missing, extra = sorted(set(expected.names) - set(found.names)), sorted(set(found.names) - set(expected.names))
    parts = [f"lacks {', '.join(missing)}"] if missing else []
    parts += [f"has {', '.join(extra)}"] if extra else []
    other = " and ".join(parts) or "has columns of other types"
    raise UsageError(f"{path}: not the {kind} rows that train reads: it {other}; run its pipeline again with this "
                     "version, answers are kept")


def _row_class(path: Path) -> str:
    """The row class a shard names, empty for an Arrow file of others."""
    schema = _schema(path)
    return ((schema.metadata or {}).get(ROW_CLASS, b"") if schema else b"").decode("utf-8", "replace")


def _schema(path: Path) -> pa.Schema | None:
    try:
        with pa.OSFile(str(path), "rb") as file:
            return pa.ipc.open_file(file).schema
    except (OSError, pa.ArrowException):
        return None


def _as_training_row(row: Any) -> TrainRow:
    """A pair as a preference; other rows as they are."""
    if not isinstance(row, Pair):
        assert isinstance(row, Demonstration | Preference | Labelled)
        return row
    return Preference(
        id=row.id, prompt=row.instruction.messages, chosen=(Message("assistant", row.chosen),),
        rejected=(Message("assistant", row.rejected),), kind="pair", reason=row.construction, pair_id=row.id,
    )


# --- records of others --------------------------------------------------------------------------------


def _is_saved(folder: Path) -> bool:
    """Whether a folder was written by `datasets.save_to_disk`."""
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def _saved(name: str, folder: Path, split: str, columns: Mapping[str, str] | None) -> Data:
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: not a readable saved dataset ({str(error).splitlines()[0]})") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise UsageError(f"{name}: no split {split!r}: {nearest(split, map(str, found))}")
        found = found[split]
    records = (Record(f"{name}[{i}]", row) for i, row in enumerate(found))
    # its fingerprint survives saving and loading, and changes with every transformation
    return _records(name, {"saved": str(found._fingerprint), "split": split}, records, columns)


def _records(name: str, identity: JSON, records: Iterator[Record], columns: Mapping[str, str] | None) -> Data:
    first = next(records, None)
    if first is None:
        raise UsageError(f"{name}: holds no records")
    shape, build = recognise(first, columns)
    parts: JSON = {**shape.columns}
    data = Data(name, shape, {"source": identity, "format": shape.name, "columns": parts}, iter(()))
    data.rows = _built(chain([first], records), shape, build, data.drops)
    return data


def _built(records: Iterator[Record], shape: Format, build: Builder, drops: list[Drop]) -> Iterator[TrainRow]:
    for record in records:
        if not isinstance(record.value, dict):
            raise UsageError(f"{record.where}: expected a record with columns, as the first one is")
        try:
            yield build(Cells(record.where, shape, record.value))
        except NoRow as why:
            drops.append(Drop(record.where, "train", *why.args))
