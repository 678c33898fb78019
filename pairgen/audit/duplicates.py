"""Near duplicates of prompts and of whole pairs: MinHash signatures made in the workers, LSH over all rows.

A text is its set of word bigrams; one hash function and `BINS` bins make its signature (one-permutation MinHash:
Li, Owen and Zhang 2012), empty bins borrow from full ones (optimal densification: Shrivastava 2017), and eight
bits of each minimum are kept (b-bit MinHash: Li and König 2010). Rows that agree in a band of bins are compared
by whole signatures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns, Measure, Measured, Named, Numbers
from pairgen.audit.scan import Counts, Hashes, mixed, scanned

Signatures = NDArray[np.uint8]
"""`[N, BINS]`: eight bits of the smallest hash in each bin."""
Bools = NDArray[np.bool_]

BINS = 128
THRESHOLD = 0.8
"""Jaccard similarity of word bigrams from which two texts are near duplicates: in twenty words, one changed."""
BAND = 6  # an integer of 8 bytes holds a band and the two bins behind it
"""Bins of a band: 21 bands find a pair of similarity .8 with chance .998, one of .5 in 28 of 100 rows and one
of .3 in 2; the latter two are then compared and let go."""
LIMIT = 2_000_000
"""Rows that are looked at: signatures take 128 bytes of memory a row while they are compared, and as much on disk."""
NEIGHBOURS = 4
"""Rows of a band that each row is compared with besides the band's first: the last ones before it."""
WHOLES = ("prompt", "pair")
_PACKED = BINS // 8
COLUMNS = tuple(f"near_{name}_{place}" for name in WHOLES for place in range(_PACKED))
"""What `signatures` makes: of use to `near` alone, so no filter need know of them."""
_EMPTY = np.uint64(np.iinfo(np.uint64).max)
_SIDES = tuple(np.uint64(k) for k in (0, 0x5851F42D4C957F2D, 0xB5026F5AA96619E9))
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
    """Packed signatures of prompts and pairs: `near_prompt_0`... and `near_pair_0`..., 16 columns of `[N]` each.

    A pair is its prompt, its chosen and its rejected text, each with bigrams of its own, so that turning a pair
    round makes another one. All zeros for a text without words.
    """
    sides = [shingles(texts) for texts in (columns.prompts, columns.chosen, columns.rejected)]
    n = len(columns)
    wholes = {
        "prompt": sign(*_joined(sides[:1]), n),
        "pair": sign(*_joined(sides), n),
    }
    return {
        f"near_{name}_{place}": packed[:, place]
        for name, signed in wholes.items()
        for packed in [np.ascontiguousarray(signed).view(np.uint64)]
        for place in range(_PACKED)
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


def _joined(sides: list[Shingles]) -> tuple[Hashes, Counts]:
    """The bigrams of several texts of a row, told apart by the text they are in."""
    hashes = [mixed(side.hashes ^ _SIDES[place]) for place, side in enumerate(sides)]
    return np.concatenate(hashes), np.concatenate([side.owners for side in sides])


def sign(hashes: Hashes, owners: Counts, n: int) -> Signatures:
    """MinHash signatures of `n` sets, from all their elements and the set that each is of."""
    bins = (hashes >> np.uint64(57)).astype(np.int64)
    smallest = np.full(n * BINS, _EMPTY)
    np.minimum.at(smallest, owners * BINS + bins, hashes & np.uint64((1 << 57) - 1))
    table = _densified(smallest.reshape(n, BINS))
    signed = table.astype(np.uint8)  # the low bits of a minimum are as good as random
    nothing = table[:, 0] == _EMPTY
    signed[nothing] = 0
    return signed


def _densified(table: Hashes) -> Hashes:
    """Each empty bin filled from a full one, found by walking an order of chance that is the same for all sets."""
    empty = table == _EMPTY
    missing = np.flatnonzero((empty & ~empty.all(axis=1, keepdims=True)).ravel())
    filled = table.ravel().copy()
    for step in _walks():
        if not len(missing):
            break
        rows, bins = np.divmod(missing, BINS)
        found = table[rows, step[bins]]
        filled[missing] = found
        missing = missing[found == _EMPTY]
    return filled.reshape(table.shape)


@cache
def _walks() -> NDArray[np.int64]:
    """For every empty bin an order of all bins, `[step, bin]`."""
    rng = np.random.default_rng(2017)
    return np.stack([rng.permutation(BINS) for _ in range(BINS)], axis=1)


def near(table: Named, limit: int = LIMIT) -> Near:
    """Rows that are much like an earlier one, of the first `limit` rows."""
    n = len(table)
    flags: Measured = {}
    exact = {"prompt": ("prompt_hash",), "pair": ("prompt_hash", "chosen_hash", "rejected_hash")}
    for name in WHOLES:
        packed = np.empty((min(n, limit), _PACKED), np.uint64)
        for place in range(_PACKED):
            packed[:, place] = table.column(f"near_{name}_{place}")[:limit]
        same = _identity([table.column(column)[:limit].astype(np.uint64) for column in exact[name]])
        found = np.full(n, np.nan)
        found[:limit] = repeated(packed.view(np.uint8), same)
        flags[f"near_duplicate_{name}"] = found
    looked = f"all {n:,} rows" if n <= limit else f"the first {limit:,} of {n:,} rows"
    return Near(flags, f"Near duplicates: {looked}, by similarity of word pairs from {THRESHOLD:g} on (MinHash).")


def _identity(hashes: list[Hashes]) -> Hashes:
    total = np.zeros_like(hashes[0])
    for part in hashes:
        total = mixed(total * _NEXT + part)
    return total


def repeated(signed: Signatures, same: Hashes) -> Numbers:
    """1 for each text that is near an earlier one and equal to none: `[N, BINS]`, `[N]` -> `[N]`.

    `same` is equal for equal texts. Only the first of those is looked at: what is near it is near them all.
    """
    flags = np.zeros(len(signed))
    rows = np.sort(np.unique(same, return_index=True)[1])
    rows = rows[np.any(signed, axis=1, out=np.empty(len(signed), bool))[rows]]
    for one, other in _candidates(signed, rows):
        later, earlier = np.maximum(one, other), np.minimum(one, other)
        undecided = flags[later] == 0
        later, earlier = later[undecided], earlier[undecided]
        flags[later[similarity(signed, later, earlier) >= THRESHOLD]] = 1
    return flags


def _candidates(signed: Signatures, rows: Counts) -> Iterator[tuple[Counts, Counts]]:
    """Pairs of rows that agree in a band: each row with the band's first and with those before it.

    In a band rows are in the order of the two bins behind it, so that the likest stand side by side.
    """
    for band in range(BINS // BAND):
        bins = slice(band * BAND, band * BAND + 8)
        key = np.ascontiguousarray(signed[:, bins][rows]).view(">u8").ravel().astype(np.uint64)
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


def similarity(signed: Signatures, one: Counts, other: Counts) -> Numbers:
    """Jaccard similarity of rows `one` and rows `other`, estimated: agreeing bins, less those that agree by chance.

    Its standard error at .8 is .035 for long texts.
    """
    agree = np.empty(len(one))
    for start in range(0, len(one), 65_536):  # 16 MB of signatures at once
        part = slice(start, start + 65_536)
        agree[part] = (signed[one[part]] == signed[other[part]]).mean(axis=1)
    return np.asarray((agree - 1 / 256) / (1 - 1 / 256))
