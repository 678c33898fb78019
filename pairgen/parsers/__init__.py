"""Reading model text: one strict verdict parser for the whole project, and the other reply formats.

A parser takes a reply and returns its named parts, or None when the reply does not have the form.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from pairgen.parsers.verdicts import (
    FORMATS,
    RATINGS,
    Verdict,
    rating_parser,
    read_choice,
    read_verdict,
    verdict_parser,
)

CATEGORIES = (
    "Coding", "Mathematical reasoning", "Asking for Advice", "Brainstorming", "Classification",
    "Closed Question Answering", "Creative Writing", "Extraction", "Inhabiting a Character/Persona",
    "Open Question Answering", "Rewriting", "Summarization", "Knowledge and Reasoning",
    "Humanity, History or Social Studies", "Other",
)
"""The 15 instruction categories of Self-Taught Evaluators (arXiv 2408.02666, Figure 7)."""

LENGTHS = ("a", "b", "c", "d", "e")
"""The expected length of a good answer, from one sentence (a) to three paragraphs or more (e)."""


TAG_LINES = tuple(
    # a list number and Markdown emphasis before the name are common
    re.compile(rf"(?aim)^[^\w\n]*(?:[1-3][.)][ \t]*)?{name}[^\w\n]*:{value}")
    for name, value in (
        ("Category", r"[ \t]*(.+?)[ \t\r]*$"),
        ("Complexity", r"[^\w\n]*([0-9]{1,2})(?![\w.,]*[0-9])"),
        ("Length", r"[^\w\n]*([a-e])(?:[^\w\s]|[ \t\r]*$)"),
    )
)
"""Category, complexity and length, each read on its own line: "a paragraph" is not the bucket (a)."""


def parse_tags(reply: str) -> dict[str, str] | None:
    """The tagger's three lines `Category:`, `Complexity:` (1-10), `Length:` (bucket a-e)."""
    category, complexity, length = (pattern.search(reply) for pattern in TAG_LINES)
    if not (category and complexity and length) or not 1 <= int(complexity.group(1)) <= 10:
        return None
    wanted = category.group(1).strip(" .*_<>[]'\"").casefold()
    name = next((c for c in CATEGORIES if c.casefold() == wanted), None)
    if name is None:
        return None
    return {"category": name, "complexity": complexity.group(1), "length": length.group(1).lower()}


MODIFIED = re.compile(
    r"\[?User Question Modified\]?[ \t]*:?(?P<modified>.*?)"
    r"\[?The start of Assistant['’]s answer to the modified instruction\]?[ \t]*:?(?P<answer>.*?)"
    r"(?:\[?The end of Assistant['’]s answer to the modified instruction\]?|\Z)",
    re.IGNORECASE | re.DOTALL,
)
MARKERS = re.compile(
    r"User Question Modified|The (?:start|end) of Assistant['’]s answer to the modified instruction"
    r"|\[The (?:start|end) of the (?:baseline|good|worse) answer\]",
    re.IGNORECASE,
)


def parse_modified(reply: str) -> dict[str, str] | None:
    """The similar instruction and its answer; both the bracketed and the bare markers are read."""
    match = MODIFIED.search(reply)
    if match is None:
        return None
    parts = {name: text.strip() for name, text in match.groupdict().items()}
    return parts if all(parts.values()) else None


_NAME = r"(?:corrected|worsened)[ _]student[ _]solution"
_BRACED = r"\{{1,2}[ ]*" + _NAME + r"[ ]*\}{1,2}"
_DECORATION = r"(?P<mark>\*{0,3}|_{0,2}|`?)"
SOLUTION_MARKERS = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        # a heading: alone on its line or followed by a colon, braces or none, bold or not
        rf"^[ \t>]*(?:\#{{1,6}}[ \t]*)?{_DECORATION}(?:{_BRACED}|{_NAME})"
        r"(?:(?P=mark)[ \t]*:|:(?P=mark)|(?P=mark)[ \t]*$)",
        rf"^[ \t>]*{_BRACED}",
        _BRACED + r"\**[ \t]*:",
        _BRACED,
    )
)
"""Where a revision may begin, the clearest form first."""
REASONING_MARKER = re.compile(r"\{{1,2}[ ]*teacher_reasoning[ ]*\}{1,2}|^\W*teacher[ _]reasoning\W*:", re.I | re.M)


def parse_revision(reply: str) -> dict[str, str] | None:
    """CLAIR's reasoning and revision: what stands before and after the marker of the corrected solution.

    The last marker of the clearest form after the reasoning's own decides, so a name that is only
    mentioned, before or after, cuts nothing off. None without a marker or with nothing behind it.
    """
    reasoning = REASONING_MARKER.search(reply)
    start = reasoning.end() if reasoning else 0
    for marker in SOLUTION_MARKERS:
        found = [match for match in marker.finditer(reply) if match.start() >= start]
        if found:
            revision = reply[found[-1].end():].strip()
            rationale = reply[start : found[-1].start()].strip(" \t\r\n:*_")
            return {"revision": revision, "rationale": rationale} if revision else None
    return None


NOTEBOOK_MARKERS = tuple(
    form.format(name) for name in ("Corrected", "Worsened")
    for form in ("**{} Student Solution:**", "{{{}_student_solution}}:", "{{{}_student_solution}}")
)
"""The forms CLAIR's notebook looks for, in its order (names in braces are lower case)."""


def parse_revision_notebook(reply: str) -> dict[str, str] | None:
    """What CLAIR's published notebook reads, faults included: to repeat its results, not to make data.

    The first form found anywhere decides, and the revision ends where the marker is named again.
    """
    forms = (form if form.startswith("*") else form.lower() for form in NOTEBOOK_MARKERS)
    marker = next((form for form in forms if form in reply), None)
    if marker is None:
        return None
    rationale, revision, *_ = reply.split(marker)
    if "{teacher_reasoning}" in rationale:
        rationale = rationale.split("{teacher_reasoning}")[1].strip(":")
    return {"revision": revision.strip(), "rationale": rationale.strip()}


_FINAL = (
    re.compile(r"^\s*####\s*(.+?)\s*$", re.MULTILINE),
    re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"),
    re.compile(r"^[\s*_]*(?:A|Answer|Final answer)[*_]*\s*:[\s*_]*(.+?)[\s*_]*$", re.MULTILINE | re.IGNORECASE),
    re.compile(r"\bthe (?:final )?answer is:?\s*(\S+)", re.IGNORECASE),
)
"""How a solution says its final answer: GSM8K's line, LaTeX's box, and two plain forms; the last one counts."""
_NUMBER = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?)(?:\s*%|\s+[a-z].*)?", re.IGNORECASE)
"""A number, with a percent sign or a unit behind it."""


def final_answer(solution: str) -> str | None:
    """The final answer of a worked solution in one spelling, None where it states none.

    Numbers lose currency, thousands separators and units: "$1,234.50" and "1234.5 dollars" are one.
    """
    for form in _FINAL:
        stated: list[str] = form.findall(solution)
        if stated:
            return _canonical(stated[-1])
    return None


def _canonical(stated: str) -> str | None:
    plain = re.sub(r"\\(?:text|mathrm)\{[^{}]*\}|\\[,!;%$ ]|[$€£*`\\]", "", stated)
    plain = re.sub(r"[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", plain)
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain).strip().rstrip(".")
    number = _NUMBER.fullmatch(plain)
    if number is None:
        return plain.casefold() or None
    try:
        return str(Fraction(number.group(1)))
    except (ValueError, ZeroDivisionError):
        return plain.casefold()


PARSERS: dict[str, Callable[[str], dict[str, str] | None]] = {
    **{name: verdict_parser(name) for name in FORMATS},
    **{name: rating_parser(name) for name in RATINGS},
    "tags": parse_tags,
    "modified": parse_modified,
    "choice": verdict_parser("choice", "choice"),
    "revision": parse_revision,
    "revision-notebook": parse_revision_notebook,
}

PARTS: dict[str, frozenset[str]] = {
    **{name: frozenset({"verdict"}) for name in FORMATS},
    **{name: frozenset({"rating"}) for name in RATINGS},
    "tags": frozenset({"category", "complexity", "length"}),
    "modified": frozenset({"modified", "answer"}),
    "choice": frozenset({"choice"}),
    "revision": frozenset({"revision", "rationale"}),
    "revision-notebook": frozenset({"revision", "rationale"}),
}
"""The named parts each parser returns, so that a stage can refuse a prompt that does not give its own."""

__all__ = [
    "CATEGORIES", "FORMATS", "LENGTHS", "PARSERS", "PARTS", "RATINGS", "Verdict", "final_answer", "parse_modified",
    "parse_revision", "parse_revision_notebook", "parse_tags", "read_choice", "read_verdict",
]
