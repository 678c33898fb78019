"""Benchmark files: every row becomes an item, or is named as one that cannot be.

A bad row (a column that is not there, a label outside its set, an answer that is no text) stops the load, or is
left out and counted where the user says `on_bad_row: skip`. It never becomes an item that scores zero.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal

from pairgen.errors import UsageError, nearest
from pairgen.evals.benchmark import Benchmark, EvalItem, I
from pairgen.evals.filerow import BadRow, Row, shown
from pairgen.evals.said import Said
from pairgen.fingerprint import JSON, Runtime, file_digest
from pairgen.resources import resolve
from pairgen.sources import Record, is_hub_name, read_records


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that was left out: the id its item would have had, and why."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[I]):
    """The items of a benchmark's file, and the rows that were left out."""

    items: tuple[I, ...]
    skipped: tuple[Skipped, ...]


class FromFile(Benchmark[I]):
    """A benchmark whose items are rows of a file (`path`), a folder of the benchmark's files, or a hub dataset.

    Without a path the suite's own hub dataset (`HUB`) is read. `on_bad_row` refuses a row that is no item, or
    skips and counts it (`skipped`). In a folder, `PARTS` says which file holds which part.
    """

    HUB: ClassVar[str | None] = None
    SPLIT: ClassVar[str] = "test"
    PARTS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    GROUPS: ClassVar[tuple[str, ...]] = ()

    path: Runtime[str | None] = None
    split: str | None = None
    revision: str | None = None
    on_bad_row: Literal["refuse", "skip"] = "refuse"

    def items_of(self, row: Row) -> Sequence[I]:
        """The items that a row is. Raises BadRow."""
        raise TypeError(f"benchmark {self.use!r} does not say what a row is")

    def parts(self) -> tuple[str, ...]:
        """The parts that are read of a folder."""
        return tuple(self.PARTS)

    def key_of(self, row: Row) -> str:
        """The id of a row's item, also of one that is bad."""
        return row.key("id")

    def outside(self) -> JSON:
        """The content of the files, wherever they lie and whatever they are called, or the hub dataset."""
        source = self._source()
        if is_hub_name(source):
            return {"hub": source, "split": self.split or self.SPLIT, "revision": self.revision}
        return {part or "rows": file_digest(file) for part, file in self._files(source)}

    def items(self) -> Sequence[I]:
        return self.load().items

    def skipped(self) -> tuple[str, ...]:
        """One line for each row that was left out by `on_bad_row: skip`."""
        return tuple(skipped.why for skipped in self.load().skipped)

    def load(self) -> Loaded[I]:
        """Read every row. Raises UsageError naming the first bad one, unless it may be skipped."""
        items: list[I] = []
        skipped: list[Skipped] = []
        for row in self._rows():
            try:
                items += self.items_of(row)
            except BadRow as bad:
                if self.on_bad_row == "refuse":
                    skip = "on_bad_row: skip (--on-bad-row skip)"
                    raise BadRow(f"{bad}; mend the row, or leave such rows out with {skip}") from bad
                skipped.append(Skipped(self.key_of(row), str(bad)))
        if not items:
            raise UsageError(f"{self._source()}: no row of it is an item of {self.use}{_first(skipped)}")
        return self.joined(Loaded(tuple(items), tuple(skipped)))

    def joined(self, loaded: Loaded[I]) -> Loaded[I]:
        """The items made of all rows, where a row alone is only a part of one."""
        return loaded

    def group_of(self, row: Row, found: str) -> str:
        """A subset that the benchmark has. Raises BadRow with the list of those it has."""
        if found not in self.GROUPS:
            raise BadRow(f"{row.where}: {self.use} has no subset {found!r}: {_hint(found, self.GROUPS)}")
        return found

    def missing(self, rows: Sequence[EvalItem]) -> tuple[str, ...]:
        """The subsets that no row is of, in the benchmark's order."""
        found = {row.group for row in rows}
        return tuple(group for group in self.GROUPS if group not in found)

    def said(self, row: Row) -> list[Said] | None:
        """What a row of a published result file says; None where the suite does not know its format. Raises BadRow."""
        return None

    def _source(self) -> str:
        if self.path is None and self.HUB is None:
            raise UsageError(f"{self.id}: needs `path:` (--path), the benchmark's file; none ships with pairgen")
        return self.path or str(self.HUB)

    def _rows(self) -> Iterator[Row]:
        source = self._source()
        if is_hub_name(source):
            yield from _placed(read_records(source, self.split or self.SPLIT, self.revision), None)
            return
        for part, file in self._files(source):
            yield from _placed(_records(file), part)

    def _files(self, source: str) -> list[tuple[str | None, Path]]:
        """The files of a path, with the part that each holds."""
        file = resolve(source)
        if not file.is_dir():
            return [(self._part(file), file)] if file.exists() else [*_refused(source)]
        found: list[tuple[str | None, Path]] = []
        for part in self.parts():
            found += [(part, file / name) for name in self.PARTS[part] if (file / name).is_file()][:1]
        if not found:
            wanted = ", ".join(self.PARTS[part][0] for part in self.parts())
            raise UsageError(f"{source}: is a folder; " + (f"none of {wanted} is in it" if wanted else "name one file"))
        return found

    def _part(self, file: Path) -> str | None:
        """The part whose file this is called, or lies in a folder called as it should."""
        ends = {part: names for part, names in self.PARTS.items() if any(str(file).endswith(f"/{n}") for n in names)}
        return next(iter(ends), None)


def rows_of(path: str) -> Iterator[Row]:
    """The rows of any one file, numbered."""
    file = resolve(path)
    yield from _placed(_records(file) if file.is_file() else read_records(path), None)


def _refused(source: str) -> Iterator[tuple[str | None, Path]]:
    """What is no file and no hub name: `sources` says so best."""
    next(read_records(source))
    yield None, Path(source)


def _records(file: Path) -> Iterator[Record | tuple[Record, str]]:
    """The records of a file; those of a JSON object of lists with the list's name, of an object of records alone."""
    value = _object(file)
    if value is None:
        yield from read_records(str(file))
        return
    for key, found in value.items():
        if isinstance(found, list):
            yield from ((Record(f"{file}[{key}][{place}]", row), key) for place, row in enumerate(found))
        else:
            yield Record(f"{file}[{key}]", found)


def _object(file: Path) -> dict[str, Any] | None:
    """The JSON object that is a whole .json file; None where it is anything else."""
    if file.suffix.lower() != ".json":
        return None
    try:
        with file.open("rb") as opened:
            if not opened.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                return None
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: not JSON we can read ({str(error).splitlines()[0][:200]})") from error
    return value if isinstance(value, dict) else None


def _placed(records: Iterator[Record] | Iterator[Record | tuple[Record, str]], part: str | None) -> Iterator[Row]:
    places: dict[str | None, int] = {}
    for found in records:
        record, name = found if isinstance(found, tuple) else (found, part)
        place = places.setdefault(name, 0)
        places[name] += 1
        if not isinstance(record.value, Mapping):
            raise UsageError(f"{record.where}: a row of a benchmark has named columns; found {shown(record.value)}")
        yield Row(record.where, record.value, place, name)


def _first(skipped: Sequence[Skipped]) -> str:
    return f" ({len(skipped)} were bad, the first: {skipped[0].why})" if skipped else ""


def _hint(found: str, known: Sequence[str]) -> str:
    """The nearest name, and always the list: subsets are few."""
    close = nearest(found, known)
    return close if close.startswith("have") else f"{close} (have: {', '.join(known)})"
