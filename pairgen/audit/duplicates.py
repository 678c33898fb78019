"""Near duplicates of prompts and of whole pairs: MinHash signatures made in the workers, LSH over all rows.

A text is its set of word bigrams; one hash function and a number of bins make its signature (one-permutation MinHash:
Li, Owen and Zhang 2012), empty bins borrow from full ones (optimal densification: Shrivastava 2017), and eight
bits of each minimum are kept (b-bit MinHash: Li and König 2010). Rows that agree in a band of bins are compared
by whole signatures. Two pairs are near when their prompts are, their chosen and their rejected answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns, Measure, Measured, Named, Numbers
from pairgen.audit.scan import Counts, Hashes, mixed, scanned

Signatures = NDArray[np.uint8]
"""`[N, bins]`: eight bits of the smallest hash in each bin. Of several texts of a row the bins take turns."""
Bools = NDArray[np.bool_]

BINS = {"prompt": 128, "chosen": 64, "rejected": 64}
"""Bins by side, of which a pair's comparison takes 64 of each: an estimate of .8 is then good to ± .05."""
PARTS = {"prompt": ("prompt",), "pair": ("prompt", "chosen", "rejected")}
THRESHOLD = 0.8
"""Jaccard similarity of word bigrams from which two texts are near duplicates: in twenty words, one changed."""
BAND = 6  # an integer of 8 bytes holds a band and the two bins behind it
"""Bins of a band, of a pair two of each side. A prompt's 21 bands find one of similarity .8 with chance .998, one of
.5 in 28 of 100 cases and one of .3 in 2; the latter two are then compared and let go. A pair has 32."""
LIMIT = 2_000_000
"""Rows that are looked at: signatures take up to 192 bytes of memory a row while they are compared."""
NEIGHBOURS = 4
"""Rows of a band that each row is compared with besides the band's first: the last ones before it."""
COLUMNS = tuple(f"near_{side}_{place}" for side, bins in BINS.items() for place in range(bins // 8))
"""What `signatures` makes: of use to `near` alone, so no filter need know of them."""
_EMPTY = np.uint64(np.iinfo(np.uint64).max)
_NEXT = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True)
class Near:
    """The flags `near_duplicate_prompt` and `near_duplicate_pair`, `[N]` each, and what was looked at, in words.

    A row is flagged whose text is much like an earlier row's but not equal to any earlier one (that is a
    duplicate). nan where the search did not look.
    """

    flags: Measured
    note: str


def signatures(columns: Columns) -> Measured:
    """Packed signatures of the three texts, `COLUMNS`, `[N]` each: eight bins in a column.

    All zeros for a text without words.
    """
    texts = {"prompt": columns.prompts, "chosen": columns.chosen, "rejected": columns.rejected}
    packed = {side: sign(shingles(texts[side]), len(columns), bins).view(np.uint64) for side, bins in BINS.items()}
    return {
        f"near_{side}_{place}": signed[:, place] for side, signed in packed.items() for place in range(signed.shape[1])
    }


MEASURES: tuple[Measure, ...] = (signatures,)


@dataclass(frozen=True, slots=True)
class Shingles:
    """Hashes of word bigrams and the text that each is of, `[S]` each. A text of one word has that one."""

    hashes: Hashes
    owners: Counts


def shingles(texts: list[str]) -> Shingles:
    """The word bigrams of each text, repeated ones as often as they come."""
    found = scanned(texts)
    owners, words = found.owners, found.words
    inside = np.flatnonzero(owners[1:] == owners[:-1])
    alone = found.bounds[:-1][found.lengths == 1]
    return Shingles(
        np.concatenate([mixed(words[inside] * _NEXT + words[inside + 1]), words[alone]]),
        np.concatenate([owners[inside], owners[alone]]),
    )


def sign(found: Shingles, n: int, bins: int) -> Signatures:
    """MinHash signatures of `n` sets, from all their elements. `bins` is a power of two."""
    bits = np.uint64(64 - (bins.bit_length() - 1))
    places = found.owners * bins + (found.hashes >> bits).astype(np.int64)
    smallest = np.full(n * bins, _EMPTY)
    np.minimum.at(smallest, places, found.hashes & ((np.uint64(1) << bits) - np.uint64(1)))
    table = _densified(smallest.reshape(n, bins))
    # bits of its own in each bin, so that bins which borrowed one minimum do not agree by chance all together
    signed = mixed(table + _NEXT * np.arange(bins, dtype=np.uint64)).astype(np.uint8)
    signed[table[:, 0] == _EMPTY] = 0
    return signed


def _densified(table: Hashes) -> Hashes:
    """Each empty bin filled from a full one, found by walking an order of chance that is the same for all sets."""
    empty, bins = table == _EMPTY, table.shape[1]
    missing = np.flatnonzero((empty & ~empty.all(axis=1, keepdims=True)).ravel())
    filled = table.ravel().copy()
    for step in _walks(bins):
        if not len(missing):
            break
        found = table[missing // bins, step[missing % bins]]
        filled[missing] = found
        missing = missing[found == _EMPTY]
    return filled.reshape(table.shape)


@cache
def _walks(bins: int) -> NDArray[np.int64]:
    """For every empty bin an order of all bins, `[step, bin]`."""
    rng = np.random.default_rng(2017)
    return np.stack([rng.permutation(bins) for _ in range(bins)], axis=1)


def near(table: Named, limit: int = LIMIT) -> Near:
    """Rows that are much like an earlier one, of the first `limit` rows."""
    n = len(table)
    flags: Measured = {}
    for name, parts in PARTS.items():
        signed = np.empty((min(n, limit), _bins_of(parts) * len(parts)), np.uint8)
        for part, side in enumerate(parts):
            for place in range(_bins_of(parts) // 8):
                column = table.column(f"near_{side}_{place}")[:limit].astype(np.uint64)
                first = 8 * place * len(parts) + part
                signed[:, first : first + 8 * len(parts) : len(parts)] = column.view(np.uint8).reshape(-1, 8)
        same = _identity([table.column(f"{side}_hash")[:limit].astype(np.uint64) for side in parts])
        found = np.full(n, np.nan)
        found[:limit] = repeated(signed, same, len(parts))
        flags[f"near_duplicate_{name}"] = found
    looked = f"all {n:,} rows" if n <= limit else f"the first {limit:,} of {n:,} rows"
    return Near(flags, f"Near duplicates: {looked}, by similarity of word pairs from {THRESHOLD:g} on (MinHash).")


def _bins_of(parts: tuple[str, ...]) -> int:
    """The bins that a comparison takes of each text."""
    return min(BINS[side] for side in parts)


def _identity(hashes: list[Hashes]) -> Hashes:
    total = np.zeros_like(hashes[0])
    for part in hashes:
        total = mixed(total * _NEXT + part)
    return total


def repeated(signed: Signatures, same: Hashes, parts: int = 1) -> Numbers:
    """1 for each row that is near an earlier one and equal to none: `[N, bins]`, `[N]` -> `[N]`.

    `parts` texts of a row take turns in its signature, and all of them must be near. `same` is equal for equal
    rows. Only the first of those is looked at: what is near it is near them all.
    """
    flags = np.zeros(len(signed))
    rows = np.sort(np.unique(same, return_index=True)[1])
    rows = rows[np.any(signed, axis=1, out=np.empty(len(signed), bool))[rows]]
    for one, other in _candidates(signed, rows):
        later, earlier = np.maximum(one, other), np.minimum(one, other)
        undecided = flags[later] == 0
        later, earlier = later[undecided], earlier[undecided]
        flags[later[similarity(signed, later, earlier, parts) >= THRESHOLD]] = 1
    return flags


def _candidates(signed: Signatures, rows: Counts) -> Iterator[tuple[Counts, Counts]]:
    """Pairs of rows that agree in a band: each row with the band's first and with those before it.

    In a band rows are in the order of the two bins behind it, so that the likest stand side by side.
    """
    for band in range(signed.shape[1] // BAND):
        start = min(band * BAND, signed.shape[1] - 8)
        key = np.ascontiguousarray(signed[:, start : start + 8][rows]).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(key, kind="stable")
        bucket = key[order] >> np.uint64(16)
        begins = np.concatenate([[True], bucket[1:] != bucket[:-1]])[: len(order)]
        first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        place = np.arange(len(order)) - first
        ordered = rows[order]
        for back in range(1, NEIGHBOURS + 1):
            at = np.flatnonzero(place >= back)
            yield ordered[at], ordered[at - back]
        at = np.flatnonzero(place > NEIGHBOURS)
        yield ordered[at], ordered[first[at]]


def similarity(signed: Signatures, one: Counts, other: Counts, parts: int = 1) -> Numbers:
    """Jaccard similarity of rows `one` and rows `other`, estimated; of several texts the least similar ones'.

    The share of agreeing bins, less those that agree by chance.
    """
    agree = np.empty(len(one))
    for start in range(0, len(one), 65_536):  # some 20 MB of signatures at once
        here = slice(start, start + 65_536)
        same = signed[one[here]] == signed[other[here]]
        agree[here] = same.reshape(len(same), -1, parts).mean(axis=1).min(axis=1)
    return np.asarray((agree - 1 / 256) / (1 - 1 / 256))
