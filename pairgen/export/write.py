"""The export of one step: files and card are made aside and take their name together, or not at all."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pairgen import fs
from pairgen.errors import UsageError
from pairgen.export.card import CardFacts, card
from pairgen.export.contrast import ContrastTable
from pairgen.export.files import FileSet
from pairgen.export.provenance import Source, command_of, models_of, sources_of
from pairgen.export.rows import TO_TRL, PairRecord, pair_record
from pairgen.export.split import TEST, Split, split_of
from pairgen.store import read_rows

FORMATS = ("trl", "jsonl", "parquet")
SIDE = "pairs"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export to where. `replace` lets an earlier export go; `heldout` is the share of the prompts
    whose rows become the split `test`, drawn by `seed`."""

    to: str
    out: Path
    license: str = "unknown"
    title: str | None = None
    replace: bool = False
    heldout: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `heldout` of the rows are in the split `test`."""

    folder: Path
    step: str
    rows: int
    heldout: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A configuration of the dataset: its rows' class and how one is made of a step's row."""

    folder: str
    cls: type
    make: Callable[[Any], Any]


def export_step(step: Path, wanted: Wanted) -> Exported:
    """Export a sealed step. Raises UsageError for what cannot be exported, before anything is written."""
    fs.put_back(wanted.out)
    sources = sources_of(step)
    last = sources[-1]
    _check(last, wanted)
    shapes = _shapes(last, wanted.to, models_of(sources))
    parts, table = split_of(sources, wanted.heldout, wanted.seed), ContrastTable()
    counts = _counted(last, parts, table)
    temp = wanted.out.with_name(f".{wanted.out.name}.{os.getpid()}{fs.TEMP}")
    fs.remove(temp)
    try:
        for shape in shapes:
            _write(last, shape, wanted.to, temp, parts, counts)
        text = card(_facts(last, shapes, wanted, sources, counts), sources, table)
        fs.write_atomic(temp / "README.md", text.encode("utf-8", "replace"))
        files = tuple(sorted(str(p.relative_to(temp)) for p in temp.rglob("*") if p.is_file()))
        fs.adopt(temp, wanted.out)
    except BaseException:
        fs.remove(temp)
        raise
    return Exported(wanted.out, last.manifest.name, last.manifest.rows, counts.get(TEST, 0), files)


def _check(last: Source, wanted: Wanted) -> None:
    if last.manifest.rows == 0:
        raise UsageError(f"{last.folder}: holds no rows, nothing to export")
    out = wanted.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder")
    if out.is_dir() and any(out.iterdir()):
        if not wanted.replace:
            raise UsageError(f"--out {out}: is not empty; name another folder, or --overwrite an earlier export")
        if not (out / "README.md").is_file() or not (out / "data").is_dir():
            raise UsageError(f"--out {out}: is no earlier export (no README.md and data/); it stays as it is")


def _shapes(last: Source, to: str, models: dict[str, str]) -> list[_Shape]:
    name = last.manifest.row_class or ""
    if to == "trl":
        if name not in TO_TRL:
            have = ", ".join(TO_TRL)
            raise UsageError(f"{last.folder}: holds {name or 'no'} rows; TRL has a format for: {have}")
        main = _Shape("data", *TO_TRL[name])
        return [main, _Shape(SIDE, PairRecord, lambda row: pair_record(row, models))] if name == "Pair" else [main]
    if not name:
        raise UsageError(f"{last.folder}: holds no rows (a training or an evaluation)")
    if name == "Pair":
        return [_Shape("data", PairRecord, lambda row: pair_record(row, models))]
    return [_Shape("data", type(next(read_rows(last.folder))), lambda row: row)]


def _counted(last: Source, parts: Split, table: ContrastTable) -> dict[str, int]:
    """How many rows each split gets, and their contrast. Raises UsageError when one would get none."""
    counts = dict.fromkeys(parts.names, 0)
    rows: Iterator[Any] = read_rows(last.folder)
    for row in rows:
        counts[parts.of(row)] += 1
        table.add(row)
    if empty := [name for name, count in counts.items() if count == 0]:
        raise UsageError(
            f"--heldout {parts.share:g}: leaves the split {empty[0]!r} without rows, of {last.manifest.rows:,} in "
            "all; give another share or another --seed"
        )
    return counts


def _write(last: Source, shape: _Shape, to: str, temp: Path, parts: Split, counts: dict[str, int]) -> None:
    kind = "jsonl" if to == "jsonl" else "parquet"
    for name, count in counts.items():
        rows: Iterator[Any] = read_rows(last.folder)
        made = (shape.make(row) for row in rows if parts.of(row) == name)
        FileSet(temp / shape.folder, name, shape.cls, kind, count).write(made)


def _facts(
    last: Source, shapes: list[_Shape], wanted: Wanted, sources: list[Source], counts: dict[str, int]
) -> CardFacts:
    return CardFacts(
        title=wanted.title or last.manifest.name, license=wanted.license, to=wanted.to, rows=last.manifest.rows,
        columns=[f.name for f in fields(shapes[0].cls)], side=SIDE if len(shapes) > 1 else None,
        command=command_of(last.folder.parent, last.manifest.name), models=models_of(sources),
        splits=counts, share=wanted.heldout, seed=wanted.seed,
    )
