"""Checks on model text that several stages share: refusals, leaked markers, length, contrast."""

import re

from rapidfuzz.distance import Levenshtein

from pairgen.parsers import MARKERS
from pairgen.records import Contrast

_CANNOT = r"(?:can ?not|can['’]t|won['’]t|will not|(?:am|['’]m) (?:not able|unable) to|must decline to)"
_HELP = (
    r"(?:help|assist|provide|fulfil?l|comply|do that|do this|create|write|generate|answer|support"
    r"|engage|discuss|share|offer|give you|participate|complete|continue|condone|promote|respond|produce"
    r"|suggest|recommend)"
)
REFUSAL = re.compile(
    # an opening of at most one clause: an apology, "unfortunately", "as an AI language model"
    r"^\W*(?:(?:I(?:['’]m| am) (?:\w+ )?sorry|sorry|I apologi[sz]e|my apologies|unfortunately"
    r"|as an AI\b[^.!?\n]{0,40}?)[,.:;]?\s*(?:but\s+)?(?:as an AI\b[^.!?\n]{0,40}?,?\s*)?)?"
    rf"I ?(?:{_CANNOT}\s+(?:\w+\s+){{0,4}}?{_HELP}\b|do(?:n['’]t| not) (?:feel comfortable|have the ability)"
    r"|(?: am|['’]m) not comfortable)",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(
    # the names a revision prompt uses, and phrases that give away that there was an earlier answer
    r"\{?\b(?:corrected|worsened)[ _]student[ _]solution\b\}?|\{?\bteacher[ _]reasoning\b\}?"
    r"|\bstudent_solution(?:_[12])?\b|\bas a (?:minimal )?(?:revision|correction)\b"
    r"|\b(?:this|the|my) (?:revised|corrected|worsened) (?:answer|solution|response)\b"
    r"|\bthe student['’]s (?:original )?(?:answer|solution|response)\b",
    re.IGNORECASE,
)
TOKEN = re.compile(r"\w+|[^\w\s]")


def is_refusal(text: str) -> bool:
    """Whether an answer opens by declining the task (English phrasing only).

    An apology or an "I can't" alone is no refusal: "I'm sorry to hear that", "I can't wait".
    """
    return REFUSAL.match(text) is not None


def leaks_marker(text: str) -> bool:
    """Whether a format marker of the construction prompt is left in the text."""
    return MARKERS.search(text) is not None


def leaked_identifier(text: str, *given: str) -> str | None:
    """The first name or phrase that tells a revision from an answer, unless one of `given` has it too.

    A task about students may well speak of the student's answer; `given` are the task and what was revised.
    """
    known = {match.group().casefold() for source in given for match in IDENTIFIER.finditer(source)}
    found = (match.group() for match in IDENTIFIER.finditer(text))
    return next((name for name in found if name.casefold() not in known), None)


def normalised(text: str) -> str:
    """Case, spacing and punctuation at the ends taken out: equal texts are the same to a reader."""
    joined = " ".join(text.casefold().split())
    return joined.strip(" .!?\"'") or joined


def contrast(chosen: str, rejected: str) -> Contrast:
    """How far apart the two texts are. Two empty texts have Jaccard 1; an empty chosen, length ratio 0.

    Jaccard is over the sets of words and single punctuation marks as written: CLAIR (arXiv
    2408.06266, Table 1) says "token-level" and names no tokenizer.
    """
    left, right = set(TOKEN.findall(chosen)), set(TOKEN.findall(rejected))
    union = left | right
    return Contrast(
        jaccard=len(left & right) / len(union) if union else 1.0,
        levenshtein=Levenshtein.distance(chosen, rejected),
        length_ratio=len(rejected) / len(chosen) if chosen else 0.0,
        chosen_chars=len(chosen), rejected_chars=len(rejected),
    )
