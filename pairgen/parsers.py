"""Reading model text: one strict verdict parser for the whole project, and the other reply formats.

A parser takes a reply and returns its named parts, or None when the reply does not have the form.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

VERDICT = re.compile(r"\[\[\s*(A|B|C|tie)\s*\]\]", re.IGNORECASE)
ENDS_IN_VERDICT = re.compile(VERDICT.pattern + r"\W*\Z", re.IGNORECASE)

CATEGORIES = (
    "Coding", "Mathematical reasoning", "Asking for Advice", "Brainstorming", "Classification",
    "Closed Question Answering", "Creative Writing", "Extraction", "Inhabiting a Character/Persona",
    "Open Question Answering", "Rewriting", "Summarization", "Knowledge and Reasoning",
    "Humanity, History or Social Studies", "Other",
)
"""The 15 instruction categories of Self-Taught Evaluators (arXiv 2408.02666, Figure 7)."""

LENGTHS = ("a", "b", "c", "d", "e")
"""The expected length of a good answer, from one sentence (a) to three paragraphs or more (e)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's reply, read: `winner` is "A" or "B" only when `status` is "ok"."""

    winner: str | None
    status: str


def read_verdict(text: str, finish: str = "stop") -> Verdict:
    """The verdict of a judgment: ok | tie | multiple | none | truncated.

    The last line that holds a verdict decides, and only when that line holds one distinct verdict:
    earlier lines may weigh both. A reply cut at its token limit was still weighing, unless its very
    last word is a verdict.
    """
    if finish == "length" and not ENDS_IN_VERDICT.search(text):
        return Verdict(None, "truncated")
    for line in reversed(text.splitlines()):
        found = {match.upper() for match in VERDICT.findall(line)}
        if found:
            return _decide(found)
    return Verdict(None, "none")


def _decide(found: set[str]) -> Verdict:
    if len(found) > 1:
        return Verdict(None, "multiple")
    winner = found.pop()
    return Verdict(winner, "ok") if winner in "AB" else Verdict(None, "tie")


def parse_verdict(reply: str) -> dict[str, str] | None:
    """{"verdict": "A"} for a reply with a clear winner."""
    verdict = read_verdict(reply)
    return {"verdict": verdict.winner} if verdict.winner else None


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


PARSERS: dict[str, Callable[[str], dict[str, str] | None]] = {
    "verdict": parse_verdict,
    "tags": parse_tags,
    "modified": parse_modified,
}

PARTS: dict[str, frozenset[str]] = {
    "verdict": frozenset({"verdict"}),
    "tags": frozenset({"category", "complexity", "length"}),
    "modified": frozenset({"modified", "answer"}),
}
"""The named parts each parser returns, so that a stage can refuse a prompt that does not give its own."""
