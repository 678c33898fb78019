"""Model text made safe to look at, and the words in which two texts differ."""

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffc\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls, directional overrides, invisible format characters, tags and halves of surrogate pairs."""

WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
DIFF_WORDS = 1500
"""Words of each side that are compared."""

REPETITIVE = 300_000
"""Equal word pairs from which on frequent words start no match: a text that loops would take minutes."""

TEXT_LIMIT = 20_000
"""Characters of one text that are shown."""


def visible(text: str) -> str:
    """The text with everything that acts on a screen instead of showing replaced by a visible mark.

    Escape sequences, hyperlinks, direction overrides and hidden characters stay readable as text:
    `ESC` becomes `␛`, a right-to-left override `⟨U+202E⟩`. What is over the limit is cut, and says so.
    """
    shown = INVISIBLE.sub(_mark, text[:TEXT_LIMIT].replace("\r\n", "\n"))
    left = len(text) - TEXT_LIMIT
    return shown if left <= 0 else f"{shown} … ({left:,} more characters)"


def _mark(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def one_line(text: str, limit: int = 100) -> str:
    """A text on one line of at most `limit` characters, made visible."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of words that one side shares with the other, or has alone."""

    kind: Literal["same", "only"]
    text: str


@dataclass(frozen=True, slots=True)
class Diff:
    """Both texts, cut where they differ. `cut` says that words past the limit were not compared."""

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    cut: bool


def diff_words(left: str, right: str) -> Diff:
    """Where two texts differ, by words; the longest common runs are kept together."""
    a, b = WORD.findall(visible(left)), WORD.findall(visible(right))
    cut = max(len(a), len(b)) > DIFF_WORDS
    a, b = a[:DIFF_WORDS], b[:DIFF_WORDS]
    ours: list[Piece] = []
    theirs: list[Piece] = []
    counts = Counter(b)
    loops = sum(counts[word] for word in a) > REPETITIVE
    for tag, i, j, k, m in SequenceMatcher(None, a, b, autojunk=loops).get_opcodes():
        ours += _pieces("".join(a[i:j]), same=tag == "equal")
        theirs += _pieces("".join(b[k:m]), same=tag == "equal")
    return Diff(tuple(ours), tuple(theirs), cut)


def _pieces(text: str, same: bool) -> list[Piece]:
    """The space before a word that differs is not part of the difference, unless it is all of it."""
    if same or not text.strip():
        return [Piece("same" if same else "only", text)] if text else []
    words = text.lstrip()
    space = text[: len(text) - len(words)]
    return ([Piece("same", space)] if space else []) + [Piece("only", words)]
