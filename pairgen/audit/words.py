"""How much two texts share, word by word, for many pairs at once and without a Python object per word.

The words are exactly those of `pairgen.checks.TOKEN`: runs of letters, digits and underscores, and every other
visible character alone. A batch is spelled as one buffer of UTF-8 and one of classes, a byte each; words are cut
where the class changes, numbered by an Arrow dictionary, and sets of them are rows of bits.

Shape suffixes: B bytes of a batch, W words of it, N pairs (its 2 N texts are all chosen, then all rejected).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist

from pairgen.audit.columns import Numbers

SPACE, WORD, MARK, TAIL = range(4)
"""What a byte belongs to; TAIL is what follows the first byte of a mark that is not ASCII."""
END = b"\xff"
"""Never part of UTF-8. It closes each text and counts as a word of it until the words are counted."""
BITS = 64

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of each pair `[N]`: shared share of distinct words, and the share of words that a word diff touches.

    `jaccard` of two texts without words is 1. `word_diff` is insertions and deletions that turn one list of
    words into the other, over the words of both: 0 for the same words, 1 where none is shared.
    """

    jaccard: Numbers
    word_diff: Numbers


@dataclass(frozen=True, slots=True)
class _Words:
    """A batch as numbers: the word at each place `[W]`, where each text ends `[2 N]`, how many there are."""

    ids_W: NDArray[np.int32]
    ends_2N: Ints
    kinds: int


def overlap(chosen: Sequence[str], rejected: Sequence[str]) -> Overlap:
    """Compare `N` pairs. Memory grows with texts times distinct words: give some hundred thousand characters."""
    pairs = len(chosen)
    words = _read([*chosen, *rejected])
    counts_2N = np.diff(words.ends_2N, prepend=0)
    at_W = np.repeat(np.arange(2 * pairs) * words.kinds, counts_2N)
    at_W += words.ids_W
    seen = np.zeros(2 * pairs * words.kinds, bool)
    seen[at_W] = True
    half = pairs * words.kinds
    both = seen[:half] & seen[half:]
    at_W[words.ends_2N[pairs - 1]:] -= half
    shared_N, either_N = _size(both, pairs), _size(seen[:half] | seen[half:], pairs)
    common_N = _in_order(both, shared_N, at_W, words.ends_2N)
    total_N = counts_2N[:pairs] + counts_2N[pairs:]
    # the end of a text is no word: one of the shared, one of either, one in order, two of all
    jaccard = np.divide(shared_N - 1, either_N - 1, out=np.ones(pairs), where=either_N > 1)
    differing = total_N - 2 * common_N
    return Overlap(jaccard, np.divide(differing, total_N - 2, out=np.zeros(pairs), where=total_N > 2))


def _size(members: NDArray[np.bool_], pairs: int) -> Ints:
    """How many words each pair's row of flags has."""
    bits = np.packbits(members).view(np.uint64).reshape(pairs, -1)
    counts: Ints = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
    return counts


def _in_order(both: NDArray[np.bool_], shared_N: Ints, at_W: Ints, ends_2N: Ints) -> Ints:
    """The longest common subsequence of each pair's words `[N]`. Words on one side only cannot be in it.

    What is left is spelled with a pair's own letters from 1, as bytes where those are enough: rapidfuzz is
    fastest there.
    """
    pairs = len(shared_N)
    few = shared_N.max() < 256
    places = np.flatnonzero(both)
    letters = np.zeros(len(both), np.uint8 if few else np.int32)
    letters[places] = np.arange(1, len(places) + 1) - np.repeat(np.cumsum(shared_N) - shared_N, shared_N)
    spelled_W = letters.take(at_W)
    kept = np.flatnonzero(spelled_W != 0)
    cuts = [0, *np.searchsorted(kept, ends_2N).tolist()]
    spelled = spelled_W.take(kept)
    text: bytes | list[int] = spelled.tobytes() if few else spelled.tolist()
    texts = [text[start:stop] for start, stop in pairwise(cuts)]
    return np.asarray(cpdist(texts[:pairs], texts[pairs:], scorer=LCSseq.similarity), np.int64)


def _read(texts: Sequence[str]) -> _Words:
    """Number the words of some texts, by first appearance."""
    raw = END.join([*(text.encode("utf-8", "surrogatepass") for text in texts), b""])
    bytes_B = np.frombuffer(raw, np.uint8)
    class_B = _classes(raw, bytes_B)
    first_B = np.ones(len(raw), bool)
    np.not_equal(class_B[1:], class_B[:-1], out=first_B[1:])
    first_B |= class_B == MARK
    first_B &= class_B != TAIL
    kept = np.flatnonzero(class_B != SPACE)
    starts_W = np.flatnonzero(first_B.take(kept))
    buffers = [None, pa.py_buffer(np.append(starts_W, len(kept))), pa.py_buffer(bytes_B.take(kept))]
    found = pa.Array.from_buffers(pa.large_binary(), len(starts_W), buffers).dictionary_encode()
    ids_W = np.frombuffer(found.indices.buffers()[1], np.int32)  # to_numpy would import pandas
    ends_2N = np.flatnonzero(ids_W == ids_W[-1]) + 1
    return _Words(ids_W, ends_2N, -(-len(found.dictionary) // BITS) * BITS)


def _classes(raw: bytes, bytes_B: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class of every byte: ASCII from a table, the rest from what their characters are."""
    class_B = np.frombuffer(raw.translate(_ascii_table()), np.uint8)
    others = np.flatnonzero(class_B == TAIL)
    if not len(others):
        return class_B
    text = bytes_B.take(others).tobytes().decode("utf-8", "surrogatepass")
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    sizes = 2 + (codes > 0x7FF).astype(np.uint8) + (codes > 0xFFFF)
    class_of = np.repeat(_unicode_table().take(codes), sizes)
    tail = class_of == MARK
    tail[np.cumsum(sizes, dtype=np.int64) - sizes] = False
    class_of[tail] = TAIL
    class_B = class_B.copy()
    class_B[others] = class_of
    return class_B


@cache
def _ascii_table() -> bytes:
    """The class of each byte; those of longer characters are TAIL until their character is known."""
    return _table(128).tobytes() + bytes([TAIL]) * 127 + bytes([MARK])


@cache
def _unicode_table() -> NDArray[np.uint8]:
    """The class of every character; it takes a moment, so only for text that is not ASCII."""
    return _table(0x110000)


def _table(size: int) -> NDArray[np.uint8]:
    """The class of the first characters, as `re` sees them."""
    every = np.arange(size, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    table = np.full(size, MARK, np.uint8)
    for pattern, kind in ((r"\w+", WORD), (r"\s+", SPACE)):
        for run in re.finditer(pattern, every):
            table[run.start():run.end()] = kind
    return table
