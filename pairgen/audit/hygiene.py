"""What is wrong with a pair whatever its label says: a flag a row, and how often each is set.

Flags are cautious: one that is set should be worth looking at. What each misses is said where it is made.
"""

import re
from collections.abc import Callable, Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns, Measure, Measured, Named, Numbers
from pairgen.audit.leaks import personal, secrets, template_token
from pairgen.audit.scan import Hashes, mixed, scanned
from pairgen.audit.stats import rate
from pairgen.audit.style import OPENING
from pairgen.audit.summary import Rate
from pairgen.checks import is_refusal, leaks_marker, normalised
from pairgen.parsers import REASONING_MARKER, SOLUTION_MARKERS

FLAGS: dict[str, str] = {
    "same": "chosen = rejected",
    "near_same": "chosen = rejected but for case, spaces, end punctuation",
    "contradiction": "contradictory pairs",
    "duplicate_pair": "repeated pairs",
    "duplicate_prompt": "repeated prompts",
    "near_duplicate_pair": "near-repeated pairs",
    "near_duplicate_prompt": "near-repeated prompts",
    "contaminated": "shared with a benchmark",
    "empty_prompt": "empty prompts",
    "empty_chosen": "empty chosen",
    "empty_rejected": "empty rejected",
    "truncated_chosen": "chosen cut off",
    "truncated_rejected": "rejected cut off",
    "refusal_chosen": "refusals in chosen",
    "leaked_marker": "leaked markers",
    "template_token": "chat-template tokens",
    "pii": "personal data",
    "secret": "secrets",
}
"""Every flag and what a table calls it, in the order of a table. Those that a table lacks were not looked for."""

NAMED_ROWS = 8
"""Row numbers that a rate names."""
TAIL = 400
"""Characters at the end of an answer in which its end is judged."""
_PROSE = 40
"""Words from which an answer is long enough to have been cut by a token limit, and to be expected to end."""
_LONG_LINE = 12
_BEGINNING = 60
_STOPS = frozenset(".!?:;…。！？।؟\"'”’»)]}>*_`~|=-—/\\$#&^%+")
_HANGING = re.compile(
    r"(?:[(\[{“‘–]|,|\b(?:the|an?|of|and|or|but|to|with|for|in|on|at|by|from|that|which|is|are|was|were|be|as|if"
    r"|because|their|its|your|our))$",
    re.IGNORECASE,
)
_ITEM = re.compile(r"(?:[-*+•>|#]|\d{1,3}[.)]|\w{1,30}:|  |\t)")
_REVISION_MARKERS = (REASONING_MARKER, *SOLUTION_MARKERS)


def hygiene(columns: Columns) -> Measured:
    """The flags that need nothing but the row, `[N]` each, and the three hashes."""
    prompts, chosen, rejected = columns.prompts, columns.chosen, columns.rejected
    return {
        **_hashes(columns),
        "same": _flags(c == r for c, r in zip(chosen, rejected, strict=True)),
        "near_same": _flags(c != r and _alike(c, r) for c, r in zip(chosen, rejected, strict=True)),
        "empty_prompt": _flags(not text.strip() for text in prompts),
        "empty_chosen": _flags(not text.strip() for text in chosen),
        "empty_rejected": _flags(not text.strip() for text in rejected),
        "truncated_chosen": _flags(map(is_cut_off, chosen)),
        "truncated_rejected": _flags(map(is_cut_off, rejected)),
        "refusal_chosen": _flags(is_refusal(text[:OPENING]) for text in chosen),
        "leaked_marker": _flags(map(leaks, prompts, chosen, rejected)),
        "template_token": _flags(
            template_token(p, (c, r)) is not None for p, c, r in zip(prompts, chosen, rejected, strict=True)
        ),
        "pii": _any_text(columns, "digit_runs", lambda text, digits: any(personal(text, digits))),
        "secret": _any_text(columns, "long_words", lambda text, words: any(secrets(text, words))),
    }


MEASURES: tuple[Measure, ...] = (hygiene,)


def leaks(prompt: str, chosen: str, rejected: str) -> bool:
    """Whether an answer holds a marker of how it was made: of a construction prompt, or a judge's verdict.

    What the prompt has too was asked for, and verdicts on both sides are the data's form: pairs of judgements
    end in [[A]] or [[B]] as they should.
    """
    if has_verdict(chosen) != has_verdict(rejected) and not has_verdict(prompt):
        return True
    return (has_marker(chosen) or has_marker(rejected)) and not has_marker(prompt)


def has_verdict(text: str) -> bool:
    """Whether a judge's verdict, [[A]] or [[B]], stands in a text."""
    return "[[" in text and ("[[a]]" in (lower := text.lower()) or "[[b]]" in lower)


def has_marker(text: str) -> bool:
    """Whether a marker of a construction prompt, ours or CLAIR's, stands in a text.

    What every form has in it is looked for first, a hundred times as fast as the forms themselves.
    """
    lower = text.lower()
    if ("question modified" in lower or "[the " in lower or "of assistant" in lower) and leaks_marker(text):
        return True
    return ("student" in lower or "teacher" in lower) and any(m.search(text) for m in _REVISION_MARKERS)


def is_cut_off(text: str) -> bool:
    """Whether an answer looks as if a token limit had ended it.

    An unclosed code fence; or, from `_PROSE` words on, a last line that ends on a word or comma that nothing
    can end on ("the", "and"), or a last line of more than `_LONG_LINE` words that ends on a letter where the line
    before does have a stop. List items, headings, table rows, indented code, greetings and addresses of pages
    may end as they like. Not found: an answer cut right after a sentence, inside a closed fence or in a list,
    in writing without spaces, and (but for open fences) where the end is not ASCII.
    """
    end = text[-TAIL:].rstrip()
    if text.count("```") % 2 and _fences(text) % 2:
        return True
    if not end or end[-1] in _STOPS or not end.isascii() or text.count(" ") < _PROSE:
        return False
    *before, last = [line for line in end.split("\n") if line.strip()]
    words = last.split()
    if len(words) < 5 or _ITEM.match(last) or "://" in words[-1] or words[-1][0] == "#":
        return False
    if _HANGING.search(last[-20:]):
        return True
    return end[-1].isalpha() and len(words) > _LONG_LINE and (not before or before[-1].rstrip()[-1] in _STOPS)


def _fences(text: str) -> int:
    """Lines that open or close a code block."""
    return sum(line.lstrip(" \t>").startswith("```") for line in text.split("\n") if "```" in line)


def _alike(one: str, other: str) -> bool:
    """Equal after normalisation; most texts already differ at their beginning."""
    left, right = normalised(one[:200]), normalised(other[:200])
    if min(len(left), len(right)) > _BEGINNING and left[:_BEGINNING] != right[:_BEGINNING]:
        return False
    return normalised(one) == normalised(other)


def _any_text(columns: Columns, mark: str, found: Callable[[str, bool], bool]) -> Numbers:
    """1 where something is found in a text of the pair; `found` gets a text and whether it has a mark."""
    flags = np.zeros(len(columns))
    for texts in (columns.prompts, columns.chosen, columns.rejected):
        marked = (scanned(texts).marks[mark] > 0).tolist()
        flags += _flags(map(found, texts, marked))
    return np.minimum(flags, 1.0)


def _flags(values: Iterable[bool]) -> Numbers:
    return np.fromiter(values, np.float64)


def _hashes(columns: Columns) -> Measured:
    """64 bits of BLAKE2 of each text as it stands: equal texts, equal hashes, on every machine."""
    sides = {"prompt": columns.prompts, "chosen": columns.chosen, "rejected": columns.rejected}
    return {f"{side}_hash": np.fromiter(map(_hash, texts), np.uint64, len(texts)) for side, texts in sides.items()}


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def repeats(table: Named) -> Measured:
    """The flags that need all rows: `duplicate_prompt`, `duplicate_pair` and `contradiction`, `[N]` each.

    A repeat is a row that says again what an earlier one said: filtering it out leaves one of each.
    Contradictory are all rows of a prompt between which a text is chosen in one and rejected in the other
    against the same text: A>B and B>A. Chosen = rejected is its own flag, no contradiction.
    """
    prompt, chosen, rejected = (_column(table, f"{side}_hash") for side in ("prompt", "chosen", "rejected"))
    pair = _together(prompt, chosen, rejected)
    turned = _together(prompt, rejected, chosen)
    against = np.isin(pair, turned) & (chosen != rejected)
    return {
        "duplicate_prompt": _again(prompt), "duplicate_pair": _again(pair), "contradiction": against.astype(np.float64)
    }


def _column(table: Named, name: str) -> Hashes:
    return table.column(name).astype(np.uint64)


def _together(*parts: Hashes) -> Hashes:
    """One hash of several, in their order."""
    total = np.zeros_like(parts[0])
    for part in parts:
        total = mixed(total * np.uint64(0x9E3779B97F4A7C15) + part)
    return total


def _again(hashes: Hashes) -> Numbers:
    """1 where an earlier row has the same hash."""
    flags = np.ones(len(hashes))
    flags[np.unique(hashes, return_index=True)[1]] = 0
    return flags


def rates(table: Named, rows: NDArray[np.int64] | None = None) -> tuple[Rate, ...]:
    """How often each flag of the table is set, with a Wilson interval and the first rows of each.

    `rows` are the row numbers in the source (the table's `row` column). Rows with nan were not looked at.
    """
    numbers = table.column("row").astype(np.int64) if rows is None else rows
    found = []
    for name, label in FLAGS.items():
        try:
            flags = table.column(name).astype(np.float64)
        except KeyError:
            continue
        hits = np.flatnonzero(flags > 0)
        known = int(np.isfinite(flags).sum())
        found.append(rate(name, label, len(hits), known, tuple(numbers[hits[:NAMED_ROWS]].tolist())))
    return tuple(found)
