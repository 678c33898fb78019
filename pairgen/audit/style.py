"""What an answer looks like, whatever it says: features of each side that a label should not hang on.

Every feature is a plain count or a 0/1 flag, in English where it is about words.
"""

import re
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns, Measure, Measured, Numbers
from pairgen.audit.scan import Hashes, Scanned, scan, scanned
from pairgen.checks import is_refusal

FEATURES: dict[str, str] = {
    "words": "words",
    "list_items": "list items",
    "headers": "headings",
    "bold": "bold passages",
    "code_blocks": "code blocks",
    "links": "links",
    "questions": "question marks",
    "exclamations": "exclamation marks",
    "politeness": "polite words",
    "hedges": "hedging words",
    "first_person": "I, me, my",
    "refusal": "refusals",
    "emoji": "emoji",
    "non_ascii": "characters beyond ASCII",
    "avg_word": "word length",
    "newline_share": "share of line breaks",
}
"""Features by name, with what a table calls them. Columns are `chosen_<name>` and `rejected_<name>`."""

PHRASES: dict[str, tuple[str, ...]] = {
    "politeness": (
        "please", "thank", "thanks", "welcome", "sorry", "apologize", "apologise", "apologies", "appreciate",
        "kindly", "glad to", "happy to", "pleasure", "hope this", "hope that", "feel free", "let me", "certainly",
        "of course",
    ),
    "hedges": (
        "perhaps", "maybe", "possibly", "probably", "likely", "unlikely", "might", "may be", "may not", "could be",
        "seems", "seem", "appears", "appear", "suggests", "apparently", "generally", "usually", "typically", "often",
        "sometimes", "somewhat", "roughly", "approximately", "arguably", "i think", "i believe", "i guess",
        "in general", "not sure", "not certain", "it depends",
    ),
    "first_person": ("i", "me", "my", "mine", "myself"),
}
"""Words and pairs of words that count. Apostrophes divide words, so "i" counts I'm and I've too."""

BOLD = re.compile(r"\*\*(?<!\w\*\*)[^\s*](?:[^*\n]*[^\s*])?\*\*|__(?<!\w__)[^\s_](?:[^_\n]*[^\s_])?__")
OPENING = 400
"""Characters of an answer in which a refusal is looked for."""
_SLOT_BITS = np.uint64(64 - 18)
_NEXT = np.uint64(0x9E3779B97F4A7C15)


def style(columns: Columns) -> Measured:
    """The features of both sides, `[N]` each."""
    return {
        f"{side}_{name}": values
        for side, texts in (("chosen", columns.chosen), ("rejected", columns.rejected))
        for name, values in features(texts).items()
    }


def features(texts: list[str]) -> dict[str, Numbers]:
    """The features of each text, `[N]` by name. The word length of a text without words is nan."""
    found = scanned(texts)
    marks = {name: counts.astype(np.float64) for name, counts in found.marks.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        average = marks["letters"] / found.lengths
    return {
        "words": found.lengths.astype(np.float64),
        "list_items": marks["list_items"],
        "headers": marks["headers"],
        "bold": _each(texts, _bold),
        "code_blocks": np.ceil(marks["fences"] / 2),
        "links": _each(texts, _links),
        "questions": marks["questions"],
        "exclamations": marks["exclamations"],
        **_phrases(found),
        "refusal": np.fromiter((is_refusal(text[:OPENING]) for text in texts), np.float64, len(texts)),
        "emoji": marks["emoji"],
        "non_ascii": marks["non_ascii"],
        "avg_word": average,
        "newline_share": marks["newlines"] / np.maximum(marks["chars"], 1),
    }


def _bold(text: str) -> int:
    return len(BOLD.findall(text)) if "**" in text or "__" in text else 0


def _links(text: str) -> int:
    """Addresses, and Markdown links that lead elsewhere."""
    links = text.count("](") - text.count("](http") if "](" in text else 0
    return links + (text.count("http://") + text.count("https://") if "http" in text else 0)


def _each(texts: list[str], count: Callable[[str], int]) -> Numbers:
    return np.fromiter(map(count, texts), np.float64, len(texts))


def _phrases(found: Scanned) -> dict[str, Numbers]:
    """How many of the words and pairs of words of `PHRASES` each text has."""
    names, slots, keys, kinds = _lookup()
    owners = found.owners
    counts = np.zeros((len(names), len(found.bounds) - 1))
    pairs = _pairs(found.words)
    pairs = pairs[owners[1:] == owners[:-1]]
    inside = owners[1:][owners[1:] == owners[:-1]]
    for hashes, texts in ((found.words, owners), (pairs, inside)):
        slot = slots[hashes >> _SLOT_BITS]
        hits = np.flatnonzero(slot)
        hits = hits[keys[slot[hits]] == hashes[hits]]
        np.add.at(counts, (kinds[slot[hits]], texts[hits]), 1.0)
    return {name: counts[row] for row, name in enumerate(names)}


def _pairs(words: Hashes) -> Hashes:
    """A hash of each word with the next one, `[W - 1]`."""
    return np.asarray(words[:-1] * _NEXT + words[1:])


@cache
def _lookup() -> tuple[tuple[str, ...], NDArray[np.uint8], Hashes, NDArray[np.int64]]:
    """The phrases as a table of 2^18 slots by the upper bits of a hash: one look tells that a word is none."""
    known: list[tuple[int, int]] = [(0, 0)]
    for kind, phrases in enumerate(PHRASES.values()):
        known += [(_phrase_hash(phrase), kind) for phrase in phrases]
    slots = np.zeros(1 << 18, np.uint8)
    for index, (key, _) in enumerate(known[1:], 1):
        assert slots[key >> int(_SLOT_BITS)] == 0, "two phrases share a slot: change the table's size"
        slots[key >> int(_SLOT_BITS)] = index
    keys = np.array([key for key, _ in known], np.uint64)
    return tuple(PHRASES), slots, keys, np.array([kind for _, kind in known])


def _phrase_hash(phrase: str) -> int:
    words = scan([phrase]).words
    return int(words[0] if len(words) == 1 else _pairs(words)[0])


MEASURES: tuple[Measure, ...] = (style,)
