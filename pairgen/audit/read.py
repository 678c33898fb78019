"""Any preference dataset as chunks of pairs: a run or step of pairgen, a file, a saved or a hub dataset.

A source is recognised from its first records and then read as often as one likes, always in the same order.
A row that is no pair is counted with its number and its reason, and the rest goes on; only a source without
one readable pair is an error.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

import numpy as np

from pairgen.audit.batches import read_batches, rows_of
from pairgen.audit.cells import Bad
from pairgen.audit.columns import Columns
from pairgen.audit.halves import Halves
from pairgen.audit.joined import columns_for, joined
from pairgen.audit.pairs import Half, Sides
from pairgen.audit.places import Place, find
from pairgen.audit.raw import Raw, hub_rows, text_rows
from pairgen.audit.shapes import Shape, recognise
from pairgen.audit.summary import BadRow
from pairgen.errors import UsageError, nearest

CHUNK = 1000
"""Pairs of a chunk."""
SAMPLE = 100
"""Records a format is recognised by."""
SHOWN = 5
"""Bad rows kept of each reason."""
DETAIL = 200
"""Characters kept of what is said of a bad row."""
GROUPS = ("subset", "source", "category", "dataset", "bias", "task", "domain", "construction", "kind")
"""Columns that say where a row comes from, the first that tells rows apart wins; `by` comes before them."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A pair and the rows it stands in: its own, and for a pair of two halves the other one's."""

    row: int
    sides: Sides
    group: str
    other: int = 0


@dataclass(slots=True)
class Source:
    """An opened dataset. `format` says what it was recognised as and what is taken for better.

    What a pass has seen is kept: `rows` read, `pairs` made of them, and of the others `bad` by reason, with the
    first `bad_rows` of each. A new pass begins from nothing. Of a `sample` the chunks hold so many pairs drawn at
    random, the same ones each time; they are held in memory.
    """

    name: str
    path: str
    place: Place
    shape: Shape
    group: str = ""
    chunk: int = CHUNK
    sample: int | None = None
    rows: int = 0
    pairs: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    bad_rows: list[BadRow] = field(default_factory=list)

    @property
    def format(self) -> str:
        """For a report: `preference (prompt = question, chosen, rejected); grouped by source`."""
        drawn = f"a random sample of {self.sample:,} of {self.pairs:,} pairs" if self._sampled else ""
        parts = [str(self.shape), self.place.note, f"grouped by {self.group}" if self.group else "", drawn]
        return "; ".join(part for part in parts if part)

    def chunks(self) -> Iterator[Columns]:
        """All pairs, `chunk` at a time, in the order of the source. Raises UsageError when there is none."""
        found = self.sightings() if self.sample is None else iter(self._drawn(self.sample))
        while piece := list(islice(found, self.chunk)):
            yield _columns(piece)

    @property
    def _sampled(self) -> bool:
        return self.sample is not None and self.sample < self.pairs

    def _drawn(self, size: int) -> list[Sighting]:
        """So many pairs drawn in one pass (reservoir sampling, Vitter's algorithm R), in their order."""
        draw, kept = Random(0), list[Sighting]()
        for index, found in enumerate(self.sightings()):
            place = index if index < size else draw.randrange(index + 1)
            if place < size:
                kept[place:place + 1] = [found]
        return sorted(kept, key=lambda found: found.row)

    def sightings(self) -> Iterator[Sighting]:
        """All pairs one by one; the same pairs as `chunks` in the same order, with the rows they stand in."""
        return (found for found in self.walk() if isinstance(found, Sighting))

    def walk(self) -> Iterator[Sighting | BadRow]:
        """All pairs, and the rows that make none where they stand (halves without a partner at the end)."""
        self.rows, self.pairs, self.bad, self.bad_rows = 0, 0, Counter(), []
        with Halves() as halves:
            for raw in rows_at(self.place):
                self.rows += raw.lost
                found = self._read(raw, halves)
                if isinstance(found, BadRow):
                    self._count(found, raw.lost)
                    yield found
                elif found is not None:
                    self.pairs += 1
                    yield found
            for row in halves.left():
                left = BadRow(row, "unpaired", "no answer to its prompt with the other label")
                self._count(left)
                yield left
        self.bad_rows.sort(key=lambda bad: bad.row)
        if not self.pairs:
            raise UsageError(f"{self.path}: holds no pair an audit can read: {self._why()}")

    def _why(self) -> str:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in self.bad.most_common()) or "no rows"
        first = self.bad_rows[0] if self.bad_rows else None
        return f"{counts}; row {first.row}: {first.detail or first.reason}" if first else counts

    def _read(self, raw: Raw, halves: Halves) -> Sighting | BadRow | None:
        """The pair that a row makes or completes, or why it makes none; None for a half that waits for its other."""
        if raw.record is None:
            return BadRow(raw.row, raw.reason, raw.detail[:DETAIL])
        try:
            found = self.shape.build(raw.record, self.shape.parts)
        except Bad as why:
            return BadRow(raw.row, why.args[0], why.args[1][:DETAIL])
        except RecursionError:
            return BadRow(raw.row, "nested too deep")
        group = _name(_value(raw.record, self.group)) if self.group else ""
        if isinstance(found, Half):
            return _of_halves(halves, raw.row, found, group)
        return Sighting(raw.row, found, group)

    def _count(self, bad: BadRow, lost: int = 1) -> None:
        self.bad[bad.reason] += lost
        if sum(other.reason == bad.reason for other in self.bad_rows) < SHOWN:
            self.bad_rows.append(bad)


def open_source(path: str, *, split: str = "train", revision: str | None = None,
                columns: Mapping[str, str] | None = None, by: str | None = None, chunk: int = CHUNK) -> Source:
    """Recognise what is at a path or hub name. `columns` says which column plays a part, `by` which one groups rows.

    Raises UsageError when nothing in it can be read as preference data.
    """
    return _opened(find(str(path), split, revision), columns or {}, by, chunk)


def open_joined(chosen: str, rejected: str, *, split: str = "train", columns: Mapping[str, str] | None = None,
                by: str | None = None, chunk: int = CHUNK) -> Source:
    """Two files of answers to the same prompts as one source; `columns` may name `prompt` and `completion`."""
    sides = find(chosen, split), find(rejected, split)
    parts = [columns_for(side.path, _sample(side)[0], columns or {}) for side in sides]
    better, worse = (f"{part['completion']} of {side.path}" for part, side in zip(parts, sides, strict=True))
    note = f"joined on the prompt ({parts[0]['prompt']}): {better} over {worse}"
    files = tuple(file for side in sides for file in side.files)
    place = Place(f"{chosen} against {rejected}", "joined", files, split, note=note, sides=sides, columns=tuple(parts))
    return _opened(place, {}, by, chunk)


def _opened(place: Place, columns: Mapping[str, str], by: str | None, chunk: int) -> Source:
    sample = [raw.record for raw in _sample(place) if raw.record is not None]
    shape = recognise(place.path, sample, columns)
    return Source(place.name, place.path, place, shape, _group(place.path, sample, by, shape), chunk)


def _sample(place: Place) -> list[Raw]:
    """The first readable rows, or of a bad beginning the first one after it. Raises UsageError without any."""
    sample = [raw for raw in islice(rows_at(place), SAMPLE) if raw.record is not None]
    sample = sample or list(islice((raw for raw in rows_at(place) if raw.record is not None), 1))
    if not sample:
        raw = next(rows_at(place), None)
        detail = f" ({raw.detail})" if raw and raw.detail else ""
        why = f"; row {raw.row}: {raw.reason}{detail}" if raw else ": it is empty"
        raise UsageError(f"{place.path}: no row can be read{why}")
    return sample


def rows_at(place: Place) -> Iterator[Raw]:
    """The rows of a place as they stand, good and bad. Raises UsageError when it is not of its kind at all."""
    if place.kind == "joined":
        chosen, rejected = place.sides
        return joined(rows_at(chosen), rows_at(rejected), place.columns, rejected.path)
    if place.kind == "hub":
        return hub_rows(place)
    if place.kind in ("lines", "json", "cells"):
        return text_rows(place)
    return (raw for piece in read_batches(place) for raw in rows_of(piece))


def _of_halves(halves: Halves, row: int, half: Half, group: str) -> Sighting | None:
    partner = halves.partner(row, half)
    if partner is None:
        return None
    good, bad = (half.completion, partner.completion) if half.desirable else (partner.completion, half.completion)
    return Sighting(row, Sides(half.prompt, good, bad), group, partner.row)


def _columns(found: list[Sighting]) -> Columns:
    sides = [one.sides for one in found]
    return Columns(
        np.array([one.row for one in found], np.int64), [s.prompt for s in sides], [s.chosen for s in sides],
        [s.rejected for s in sides], [one.group for one in found],
        np.array([s.chosen_score for s in sides], np.float64), np.array([s.rejected_score for s in sides], np.float64),
    )


# --- groups -------------------------------------------------------------------------------------------


def _group(path: str, sample: list[dict[str, Any]], by: str | None, shape: Shape) -> str:
    """The column that groups rows: the one asked for, or the first usual one that tells rows apart."""
    names = {str(name) for record in sample for name in record} | set(_nested(sample[0]))
    if by is not None:
        if by not in names:
            raise UsageError(f"{path}: --by {by}: no such column; {nearest(by, names)}")
        return by
    usual = [name for group in GROUPS for name in (group, f"instruction.{group}", f"pair.{group}") if name in names]
    return next((name for name in usual if name not in shape.parts.values() and _groups(sample, name)), "")


def _nested(record: Mapping[str, Any]) -> list[str]:
    """`instruction.category` of a pair, one level down."""
    return [f"{name}.{inner}" for name, value in record.items() if isinstance(value, dict) for inner in value]


def _value(record: Mapping[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    outer, _, inner = name.partition(".")
    value = record.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _groups(sample: list[dict[str, Any]], name: str) -> bool:
    """Whether a column names groups: short texts, each of which stands in two rows on average."""
    values = [value for record in sample if (value := _value(record, name)) is not None]
    if not values or not all(isinstance(value, str) and len(value) <= 80 for value in values):
        return False
    return len(values) < 4 or 2 * len(set(values)) <= len(values)


def _name(value: Any) -> str:
    return "" if value is None else str(value)[:80]
