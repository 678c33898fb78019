"""Rows that share a run of 13 words with a set they must not know: the 13-gram overlap of GPT-3's data report.

Brown et al. 2020 (arXiv 2005.14165, appendix C): lower case, no punctuation, 13 words. Paraphrases and
translations are not found. The sets' n-grams go into files that workers map, so that no chunk carries them.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns, Measured, Named, Numbers
from pairgen.audit.places import find
from pairgen.audit.read import rows_at
from pairgen.audit.scan import Counts, Hashes, Scanned, mixed, scan, scanned
from pairgen.audit.stats import rate
from pairgen.audit.summary import Rate
from pairgen.errors import UsageError

WORDS = 13
FEWEST = 5
"""Words from which a shorter text of a set counts, as a whole: "Yes." is in every set."""
BOILERPLATE = 0.1
"""An n-gram in more than this share of a set's items (and in ten at least) is its template, and is left out."""
BATCH = 2048
_BASE = np.uint64(0x9FB21C651E98DF25)
_NAMED_ROWS = 8
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reference:
    """A set to keep out of training, by the hashes of its n-grams and of its short texts, sorted in a file.

    `column` is 1 where a row shares something with it. `items` are its rows, `boilerplate` n-grams left out.
    """

    name: str
    column: str
    file: Path
    items: int
    boilerplate: int

    def __str__(self) -> str:
        left_out = f", {self.boilerplate:,} runs of its template left out" if self.boilerplate else ""
        return f"{self.name} ({self.items:,} item{'s' if self.items != 1 else ''}{left_out})"


@dataclass(frozen=True, slots=True)
class Overlap:
    """The measure: `contaminated`, and a flag for each set, `[N]` each.

    A row is contaminated when its prompt or one of its answers has a run of 13 words that a text of the set has,
    or is, in all its words, a text of 5 to 12 words of the set.
    """

    references: tuple[Reference, ...]

    def __call__(self, columns: Columns) -> Measured:
        grams = [_grams(scanned(texts)) for texts in (columns.prompts, columns.chosen, columns.rejected)]
        flags: dict[str, Numbers] = {"contaminated": np.zeros(len(columns))}
        for reference in self.references:
            known, found = _loaded(reference.file), np.zeros(len(columns))
            for side in grams:
                found[side.owners[known.has(side.hashes)]] = 1
            flags[reference.column] = found
            flags["contaminated"] = np.maximum(flags["contaminated"], found)
        return {**flags}

    def rates(self, table: Named) -> tuple[Rate, ...]:
        """How many rows share something with each set, and the first of them."""
        rows = table.column("row").astype(np.int64)
        found = []
        for reference in self.references:
            hits = np.flatnonzero(table.column(reference.column).astype(np.float64) > 0)
            named = tuple(rows[hits[:_NAMED_ROWS]].tolist())
            found.append(rate(reference.column, f"shared with {reference.name}", len(hits), len(table), named))
        return tuple(found)

    @property
    def note(self) -> str:
        """What was compared, for a report."""
        return f"Contamination: runs of {WORDS} words, against {', '.join(map(str, self.references))}."


@contextmanager
def against(paths: Sequence[str], folder: Path | None = None) -> Iterator[Overlap]:
    """The measure against some sets: files, saved folders or hub names.

    All texts of a set count, in whatever columns. `folder` is where the n-grams are kept meanwhile. Raises
    UsageError for a set that cannot be read or holds no text to compare with.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="pairgen-contamination-") as spill:
        taken: set[str] = set()
        references = []
        for place, path in enumerate(paths):
            found = _reference(path, Path(spill) / f"{place}.npy", taken)
            taken.add(found.column)
            references.append(found)
        try:
            yield Overlap(tuple(references))
        finally:
            _loaded.cache_clear()


def _reference(path: str, file: Path, taken: set[str]) -> Reference:
    place = find(path)
    name = place.name
    grams, items = _item_grams(_items(rows_at(place)))
    known, counts = np.unique(grams, return_counts=True)
    template = counts > max(9, BOILERPLATE * items)
    if template.all():
        raise UsageError(f"{path}: holds no texts of {FEWEST} words or more to look for; give the set's questions")
    np.save(file, known[~template])
    column = base = "in_" + (re.sub(r"\W+", "_", name.lower()).strip("_") or "set")
    while column in taken:
        column = f"{base}_{len(taken) + 1}"
    return Reference(name, column, file, items, int(template.sum()))


def _items(rows: Iterator[Any]) -> Iterator[list[str]]:
    """The texts of each readable row."""
    return (list(_texts(raw.record)) for raw in rows if raw.record is not None)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a record, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


@dataclass(frozen=True, slots=True)
class _Grams:
    """Hashes of what is compared, and the text that each is of."""

    hashes: Hashes
    owners: Counts


def _item_grams(items: Iterator[list[str]]) -> tuple[Hashes, int]:
    """What is compared of all items, each once an item, and how many items there are."""
    found: list[Hashes] = [np.zeros(0, np.uint64)]
    count = 0
    while batch := list(islice(items, BATCH)):
        texts = [text for item in batch for text in item]
        item_of = np.repeat(np.arange(len(batch)), [len(item) for item in batch])
        grams = _grams(scan(texts))
        in_item = mixed(grams.hashes + item_of[grams.owners].astype(np.uint64) * _BASE)
        found.append(grams.hashes[np.unique(in_item, return_index=True)[1]])
        count += len(batch)
    return np.concatenate(found), count


def _grams(texts: Scanned) -> _Grams:
    """The 13-grams of each text; of one that is shorter but has `FEWEST` words, all of it."""
    words, lengths = texts.words, texts.lengths
    starts = len(words) - WORDS + 1
    hashes = np.zeros(max(0, starts), np.uint64)
    for place in range(WORDS):
        hashes = hashes * _BASE + words[place : place + len(hashes)]
    owners = texts.owners[: len(hashes)]
    inside = texts.bounds[1:][owners] >= np.arange(len(hashes)) + WORDS
    short = np.flatnonzero((lengths >= FEWEST) & (lengths < WORDS))
    return _Grams(
        mixed(np.concatenate([hashes[inside], _wholes(texts, short)])), np.concatenate([owners[inside], short])
    )


def _wholes(texts: Scanned, short: Counts) -> Hashes:
    """A hash of all words of each of some texts shorter than `WORDS`; their number is part of it."""
    total = texts.lengths[short].astype(np.uint64)
    for place in range(WORDS):
        at = texts.bounds[short] + place
        inside = at < texts.bounds[short + 1]
        step = total * _BASE + texts.words[np.minimum(at, len(texts.words) - 1)] if len(texts.words) else total
        total = np.where(inside, step, total)
    return total


class _Known:
    """Sorted hashes, with a table of bits that turns most of the others away at one look."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        bits = max(16, len(hashes).bit_length() + 3)
        self._shift = np.uint64(64 - bits)
        self._seen = np.zeros(1 << bits, bool)
        self._seen[hashes >> self._shift] = True

    def has(self, hashes: Hashes) -> NDArray[np.int64]:
        """Places of those that are known."""
        likely = np.flatnonzero(self._seen[hashes >> self._shift])
        at = np.searchsorted(self._hashes, hashes[likely])
        same = self._hashes[np.minimum(at, len(self._hashes) - 1)] == hashes[likely]
        return np.asarray(likely[same])


@lru_cache(maxsize=16)
def _loaded(file: Path) -> _Known:
    return _Known(np.load(file, mmap_mode="r"))
