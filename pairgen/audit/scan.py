"""Reading texts at numpy's speed: their words as numbers, and counts of marks, in a few passes over code points.

Texts are joined, taken apart into code points and looked up in one table of character classes. Style, near
duplicates and n-gram overlap all start from here, so that a text is read once.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Classes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]

PIECE = 1 << 16
"""Code points worked on at once: what fits a core's cache. A longer text is cut, a word at the cut in two."""
_MARGIN = 24
"""How far marks look ahead: that many line breaks stand behind the last text."""
MARKS = (
    "chars", "letters", "newlines", "questions", "exclamations", "emoji", "non_ascii",
    "list_items", "headers", "fences", "digit_runs", "long_words",
)
"""What is counted in each text. `digit_runs`: runs of digits and what joins them (spaces, dots, dashes, brackets)
that have seven digits or three dots: where a phone, card or address may stand. `long_words`: of 16 letters and
digits or more, where a key may stand."""

PLAIN, BLANK, JOINER, BREAK, QUESTION, EXCLAMATION, EMOJI, DIGIT, LETTER, SINGLE = range(10)
_TOP = 0x20000
_BASE = 0xA0761D6478BD642F
_SINGLES = (  # scripts written without spaces: every letter is a word
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF),
)
_EMOJI = ((0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1FAFF), (0x2600, 0x27BF), (0x1F1E6, 0x1F1FF))
_BULLETS = np.isin(np.arange(0x2024), [0x2D, 0x2A, 0x2B, 0x2022])
_EMOJI_PARTS = (0x1F3FB, 0x1F400)  # skin tones belong to the emoji before them


@dataclass(frozen=True, slots=True)
class Scanned:
    """`N` texts: hashes of their `W` lower-case words, text `i` having `words[bounds[i]:bounds[i + 1]]`.

    A word is a run of letters and digits (so "don't" is two), a letter alone in scripts without spaces.
    `marks` has an `[N]` count for each of `MARKS`.
    """

    words: Hashes
    bounds: Counts
    marks: dict[str, Counts]

    @property
    def lengths(self) -> Counts:
        """Words of each text, `[N]`."""
        return np.diff(self.bounds)

    @property
    def owners(self) -> Counts:
        """The text of each word, `[W]`."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.lengths)


_memo: list[tuple[list[str], Scanned]] = []


def scanned(texts: list[str]) -> Scanned:
    """Words and marks of each text. The last three lists are remembered: the sides of one chunk."""
    for known, result in _memo:
        if known is texts:
            return result
    result = scan(texts)
    _memo.append((texts, result))
    del _memo[:-3]
    return result


def scan(texts: list[str]) -> Scanned:
    """Words and marks of each text, read afresh."""
    marks = {name: np.zeros(len(texts), np.int64) for name in MARKS}
    lengths = np.zeros(len(texts), np.int64)
    words: list[Hashes] = [np.zeros(0, np.uint64)]
    for owners, pieces in _batches(texts):
        found = _read(pieces, len(owners))
        words.append(found.words)
        np.add.at(lengths, owners, found.lengths)
        for name, counts in found.marks.items():
            np.add.at(marks[name], owners, counts)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Scanned(np.concatenate(words), bounds, marks)


def _batches(texts: list[str]) -> list[tuple[Counts, list[str]]]:
    """The texts in lower case, in batches of about `PIECE` code points, with the text each piece is of."""
    batches: list[tuple[list[int], list[str]]] = []
    room = 0
    for index, text in enumerate(texts):
        lower = text.lower()
        for start in range(0, max(1, len(lower)), PIECE):
            piece = lower[start : start + PIECE]
            if room < len(piece) or not batches:
                batches.append(([], []))
                room = PIECE
            batches[-1][0].append(index)
            batches[-1][1].append(piece)
            room -= len(piece) + 1
    return [(np.array(owners, np.int64), pieces) for owners, pieces in batches]


def _read(pieces: list[str], n: int) -> Scanned:
    """One batch. Every piece is followed by a line break, so that nothing runs over into the next."""
    joined = "\n".join(pieces) + "\n" * (1 + _MARGIN)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    classes = _classes().take(codes, mode="clip")
    ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, n) + 1)
    starts = ends - np.array([len(piece) + 1 for piece in pieces])
    words, first, letters = _words(codes, classes)
    bounds = np.searchsorted(first, np.append(starts, ends[-1]))
    marks = _marks(codes, classes, starts, ends)
    marks["long_words"] = np.diff(np.searchsorted(first[letters >= 16], np.append(starts, ends[-1])))
    marks["letters"] = np.diff(np.concatenate([[0], np.cumsum(letters)])[bounds])
    return Scanned(words, bounds, marks)


def _words(codes: Codes, classes: Classes) -> tuple[Hashes, Counts, Counts]:
    """Each word's hash, where it begins and its letters.

    The hash is a polynomial in the word's code points modulo 2^64, read off a running sum over all of them, then
    mixed. Words end where no letter follows; line breaks stand at the end of everything.
    """
    inside = classes >= DIGIT
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    if inside[0]:
        edges = np.concatenate([[0], edges])
    first, end = edges[::2], edges[1::2]
    if (classes == SINGLE).any():
        first, end = _alone(classes, first, end)
    powers, inverse = _powers(len(codes))
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    return mixed((sums[end] - sums[first]) * inverse[first]), first, end - first


def _alone(classes: Classes, first: Counts, end: Counts) -> tuple[Counts, Counts]:
    """Words taken apart at the letters that stand alone: begins and ends again."""
    alone = np.flatnonzero(classes == SINGLE)
    begins = np.union1d(first, np.concatenate([alone, alone + 1]))
    begins = begins[classes[begins] >= DIGIT]
    return begins, np.minimum(np.append(begins[1:], len(classes)), end[np.searchsorted(end, begins, "right")])


def _marks(codes: Codes, classes: Classes, starts: Counts, ends: Counts) -> dict[str, Counts]:
    def per_text(at: Counts) -> Counts:
        found = np.searchsorted(at, ends) - np.searchsorted(at, starts)
        return found.astype(np.int64)

    at = np.flatnonzero((classes >= BREAK) & (classes <= DIGIT))
    kinds = classes[at]
    breaks = at[kinds == BREAK]
    lines = np.concatenate([[0], breaks[:-_MARGIN] + 1])
    marks = {name: per_text(found) for name, found in _line_marks(codes, classes, lines).items()}
    return marks | {
        "chars": ends - starts - 1,
        "newlines": per_text(breaks) - 1,
        "questions": per_text(at[kinds == QUESTION]),
        "exclamations": per_text(at[kinds == EXCLAMATION]),
        "emoji": per_text(at[kinds == EMOJI]),
        "non_ascii": per_text(np.flatnonzero(codes > 127)),
        "digit_runs": per_text(_digit_runs(codes, classes, at[kinds == DIGIT])),
    }


def _line_marks(codes: Codes, classes: Classes, lines: Counts) -> dict[str, Counts]:
    """Where lines are list items, headings or code fences, as Markdown has them (indented by 12 at most)."""
    at = lines.copy()
    for _ in range(12):
        at += classes[at] == BLANK
    sign, then = codes[at], classes[at + 1]
    bullet = _BULLETS[np.minimum(sign, 0x2023)] & (then == BLANK)
    point = at + 1
    for _ in range(2):
        point += classes[point] == DIGIT
    dot = (codes[point] == 0x2E) | (codes[point] == 0x29)
    number = (classes[at] == DIGIT) & dot & (classes[point + 1] == BLANK)
    after = at.copy()
    for _ in range(6):
        after += codes[after] == 0x23
    header = (sign == 0x23) & (classes[after] == BLANK)
    fence = ((sign == 0x60) | (sign == 0x7E)) & (codes[at + 1] == sign) & (codes[at + 2] == sign)
    return {"list_items": at[bullet | number], "headers": at[header], "fences": at[fence]}


def _digit_runs(codes: Codes, classes: Classes, at: Counts) -> Counts:
    """Where a run begins that has seven digits or three dots, of the digits at `at`.

    Digits are of one run when there are at most two joiners and nothing else between them.
    """
    if not len(at):
        return at
    gaps = np.diff(at)
    between = np.ones(len(gaps), bool)
    for step in (1, 2):
        kinds = classes[at[:-1] + step]
        between &= (gaps <= step) | (kinds == JOINER) | (kinds == BLANK)
    first = np.flatnonzero(np.concatenate([[True], (gaps > 3) | ~between]))
    digits = np.diff(np.append(first, len(at)))
    dots = np.add.reduceat(np.concatenate([[False], (gaps == 2) & (codes[at[1:] - 1] == 0x2E)]), first, dtype=np.int64)
    return at[first[(digits >= 7) | (dots >= 3)]]


def mixed(values: Hashes) -> Hashes:
    """Every bit of each hash made to depend on every other (the finaliser of splitmix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _powers(n: int) -> tuple[Hashes, Hashes]:
    """The first powers of the polynomial's base and of its inverse modulo 2^64, `n` at least."""
    size = 1 << max(19, n.bit_length())
    return _powers_of(_BASE, size), _powers_of(pow(_BASE, -1, 1 << 64), size)


@cache
def _powers_of(base: int, size: int) -> Hashes:
    factors = np.full(size, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)


@cache
def _classes() -> Classes:
    """The class of every code point below `_TOP`; those above (rare ideographs) stand alone as words."""
    table = np.zeros(_TOP + 1, np.uint8)
    signs = [chr(code) for code in range(_TOP)]
    table[[code for code, sign in enumerate(signs) if sign.isalnum()]] = LETTER
    table[[code for code, sign in enumerate(signs) if sign.isdecimal()]] = DIGIT
    for low, high in _SINGLES:
        part = table[low : high + 1]
        part[part == LETTER] = SINGLE
    for low, high in _EMOJI:
        table[low : high + 1] = EMOJI
    table[_EMOJI_PARTS[0] : _EMOJI_PARTS[1]] = PLAIN
    table[[ord(sign) for sign in " \t\u00a0"]] = BLANK
    table[[ord(sign) for sign in ".-()/+\u2013\u2011"]] = JOINER
    table[ord("\n")] = BREAK
    table[[ord(sign) for sign in "?？؟"]] = QUESTION
    table[[ord(sign) for sign in "!！"]] = EXCLAMATION
    table[_TOP] = SINGLE
    return table
