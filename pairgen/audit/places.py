"""Where a dataset is: which files its rows stand in, and how they are read, decided before a row is."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pairgen import sources
from pairgen.errors import UsageError
from pairgen.resources import resolve
from pairgen.store import Manifest, read_manifest, sealed_steps

Kind = Literal["lines", "json", "cells", "parquet", "arrow", "saved", "hub", "joined"]
KINDS: dict[str, Kind] = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "cells", ".tsv": "cells",
    ".parquet": "parquet", ".arrow": "arrow",
}
AUDITED = frozenset({"Pair", "Judged", "Preference", "Labelled"})
"""Rows of pairgen's own that hold two answers, or halves of pairs."""


@dataclass(frozen=True, slots=True)
class Place:
    """Files of one kind, read one after the other as one dataset. `path` is what the user named.

    `note` says what in it was chosen, such as the step of a run; `lengths` are rows by file where they are known.
    `sides` are the two places of a join, of the better and of the worse answers, `columns` their prompts and answers.
    """

    path: str
    kind: Kind
    files: tuple[Path, ...] = ()
    split: str = "train"
    revision: str | None = None
    note: str = ""
    lengths: tuple[int, ...] = ()
    sides: "tuple[Place, ...]" = ()
    columns: tuple[dict[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What a table calls it: the file's name without its endings, the folder's, or the hub name."""
        if self.sides:
            return " against ".join(side.name for side in self.sides)
        if self.kind == "hub" or not self.files:
            return self.path
        file = resolve(self.path)
        return file.name if file.is_dir() else file.name.split(".")[0] or file.name


def find(path: str, split: str = "train", revision: str | None = None) -> Place:
    """What is at a path or hub name. Raises UsageError when there is nothing an audit reads."""
    if sources.is_hub_name(path):
        return Place(path, "hub", (), split, revision)
    folder = resolve(path)
    if folder.is_dir():
        return _folder(path, folder, split)
    if sources.exists(folder) and not folder.is_file():  # before anything waits for a pipe to be written to
        raise UsageError(f"{path}: is a pipe or a device, and an audit reads more than once; write it to a file first")
    file = sources.existing(path)
    kind = KINDS.get(sources.kind_of(file))
    if kind is None:
        have = ", ".join(sorted(KINDS))
        raise UsageError(f"{path}: unknown kind of file {file.suffix or '(no suffix)'!r}; have: {have}")
    return Place(path, kind, (file,), split)


def _folder(path: str, folder: Path, split: str) -> Place:
    if any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return Place(path, "saved", (folder,), split)
    manifest = read_manifest(folder)
    if manifest is not None:
        return _step(path, folder, manifest)
    steps = sealed_steps(folder)
    if not steps and (published := _published(path, folder, split)):
        return published
    if not steps:
        raise UsageError(f"{path}: no finished step and no saved dataset; {sources.folder_hint(folder)}")
    return _step(path, *_last(path, steps))


def _published(path: str, folder: Path, split: str) -> Place | None:
    """Files that hubs and our exports know a split by, `data/train-00000-of-00002.parquet`, or what a filter kept.

    Text in several files is no place: a row number would name several lines.
    """
    known = re.compile(rf"(?:{re.escape(split)}(?:-\d+-of-\d+)?|kept)\.[^/]*")
    for inside in (folder / "data", folder):
        found = sorted(file for file in inside.glob("*") if known.fullmatch(file.name) and file.is_file())
        kinds = {KINDS.get(sources.kind_of(file)) for file in found}
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is not None and (len(found) == 1 or kind in ("parquet", "arrow")):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            return Place(path, kind, tuple(found), split, note=f"{found[0].relative_to(folder)}{more}")
    return None


def _last(path: str, steps: list[tuple[Path, Manifest]]) -> tuple[Path, Manifest]:
    """The step with pairs that a run ends with: no other step with pairs was made of it."""
    paired = [(folder, m) for folder, m in steps if m.row_class in AUDITED]
    used = {digest for _, m in paired for digest in m.inputs.values()}
    last = [(folder, m) for folder, m in paired if m.digest not in used]
    if len(last) == 1:
        return last[0]
    if last:
        have = ", ".join(f"{folder} ({m.rows:,} {m.row_class} rows)" for folder, m in last)
        raise UsageError(f"{path}: holds {len(last)} steps to audit; name one: {have}")
    found = ", ".join(sorted({m.row_class or "none" for _, m in steps}))
    raise UsageError(f"{path}: no step to audit (its steps hold: {found}); an audit reads {', '.join(sorted(AUDITED))}")


def _step(path: str, folder: Path, manifest: Manifest) -> Place:
    if manifest.row_class not in AUDITED:
        have = ", ".join(sorted(AUDITED))
        raise UsageError(f"{folder}: holds {manifest.row_class or 'no'} rows; an audit reads {have}")
    files = tuple(folder / shard.name for shard in manifest.shards)
    lengths = tuple(shard.rows for shard in manifest.shards)
    return Place(path, "arrow", files, note=f"step {manifest.name}", lengths=lengths)
