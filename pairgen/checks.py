"""Checks on model text that several stages share: refusals, leaked markers, length, contrast."""

import re

from rapidfuzz.distance import Levenshtein

from pairgen.parsers import MARKERS
from pairgen.records import Contrast

REFUSAL = re.compile(
    r"^\W*(?:I(?:['’]m| am) (?:sorry|unable|not able)|I (?:cannot|can['’]t|won['’]t|am not able to)|Sorry,? (?:but )?I"
    r"|As an AI\b|Unfortunately, I (?:cannot|can['’]t))",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether an answer opens with a refusal (English phrasing only)."""
    return REFUSAL.match(text) is not None


def leaks_marker(text: str) -> bool:
    """Whether a format marker of the construction prompt is left in the text."""
    return MARKERS.search(text) is not None


def normalised(text: str) -> str:
    """Case, spacing and punctuation at the ends taken out: equal texts are the same to a reader."""
    return " ".join(text.casefold().split()).strip(" .!?\"'")


def contrast(chosen: str, rejected: str) -> Contrast:
    """How far apart the two texts are. Equal or empty sides count as ratio 1 and 0."""
    left, right = set(chosen.split()), set(rejected.split())
    union = left | right
    return Contrast(
        jaccard=len(left & right) / len(union) if union else 1.0,
        levenshtein=Levenshtein.distance(chosen, rejected),
        length_ratio=len(rejected) / len(chosen) if chosen else 0.0,
    )
