"""The parsers of official scripts by name, faults included: to repeat published numbers, never to judge with.

Each takes a judge's text and gives "A", "B" (or "C", "D"), "tie", or None for what its script counts as an error.
Our own numbers come from the strict formats in `pairgen.parsers.verdicts`; how often the two differ is reported.
"""

import re
from collections.abc import Callable, Mapping

from pairgen.errors import UsageError, nearest

Parser = Callable[[str], str | None]

DIGITS_AT_END = re.compile(r"\b([1-9]|10)\b\s*$")
LLMBAR = (
    re.compile(r"(?:^|\n) ?Output \((a|b)\)"),
    re.compile(r"Output \((a|b)\) is better."),
)
ARENA = re.compile(r"\[\[([AB<>=]+)\]\]")
ARENA_WORDS = {"A>B": "A", "A>>B": "A", "B>A": "B", "B>>A": "B", "A=B": "tie", "B=A": "tie"}
ATLA = re.compile(r"\*\*Result:\*\*\s*(\w+)", re.DOTALL)
PROMETHEUS_SCORE = re.compile(
    r"(?:\[RESULT\]|Score|\[SCORE\]|\[RESULT\]:|Score:|score:|Result:|\[Result\]|score of)\s*"
    r"(?:\(\s*|\[\s*|)\s*(\d+)",
    re.IGNORECASE,
)


def rewardbench(text: str) -> str | None:
    """rewardbench/generative.py: a text that holds [[A]] anywhere is A, whatever else it holds."""
    return "A" if "[[A]]" in text else "B" if "[[B]]" in text else None


def rewardbench2(text: str) -> str | None:
    """rewardbench/generative_v2.py: the first of [[A]], [[B]], [[C]], [[D]], in that order, that is in the text."""
    return next((letter for letter in "ABCD" if f"[[{letter}]]" in text), None)


def self_taught(text: str) -> str | None:
    """facebookresearch/RAM, `parse_judgement`: both A and B is nothing; else A, B or C (a tie), in that order."""
    if "[[A]]" in text and "[[B]]" in text:
        return None
    return rewardbench(text) or ("tie" if "[[C]]" in text else None)


def prometheus(text: str) -> str | None:
    """rewardbench/generative.py for Prometheus: with [RESULT] anywhere, the very last character, space or not."""
    return text[-1] if "[RESULT]" in text and text[-1] in "AB" else None


def offsetbias(text: str) -> str | None:
    """rewardbench/generative.py for OffsetBias: Output (a) anywhere before Output (b) is looked for."""
    return "A" if "Output (a)" in text else "B" if "Output (b)" in text else None


def atla(text: str) -> str | None:
    """rewardbench/generative.py for Atla: the first word behind **Result:**; one that is no A or B is an error."""
    match = ATLA.search(text)
    return match.group(1) if match and match.group(1) in "AB" else None


def llmbar(text: str) -> str | None:
    """LLMBar's patterns without and with reasoning: (a) is looked for before (b). Also EvalBiasBench's own script.

    A text that opens a line with `Output (a)` is a plain answer, one with `Output (a) is better` a reasoned one.
    """
    plain, reasoned = LLMBAR
    found = set(reasoned.findall(text)) or set(plain.findall(text))
    return "A" if "a" in found else "B" if "b" in found else None


def sfr(text: str) -> str | None:
    """SFR-Judge, prompts/sfr.py: all that stands behind the last **Result:**, or the last character."""
    if "**Result:**" in text:
        said = text.split("**Result:**")[-1].strip()
    else:
        end = text.strip()
        said = end[-1:] if end[-1:] in ("A", "B") else "Tie" if end[-3:].lower() == "tie" else ""
    return {"A": "A", "B": "B", "Tie": "tie"}.get(said)


def judgebench(text: str) -> str | None:
    """JudgeBench's Arena-Hard judge: one distinct [[A>B]] in the whole text; strong and weak preference differ."""
    found = set(ARENA.findall(text))
    return ARENA_WORDS.get(found.pop()) if len(found) == 1 else None


def autoj(text: str) -> str | None:
    """Auto-J: what follows the last `final decision is `: response 1, response 2 or tie."""
    _, mark, rest = text.rpartition("final decision is ")
    rest = rest.strip().lower() if mark else ""
    words = (("response 1", "A"), ("response 2", "B"), ("tie", "tie"))
    return next((answer for word, answer in words if rest.startswith(word)), None)


def pandalm(text: str) -> str | None:
    """PandaLM: the first line is 1, 2 or tie; anything else counts as a tie."""
    first = (text.strip().splitlines() or [""])[0]
    return {"1": "A", "2": "B"}.get(first, "tie")


def rewardbench_rating(text: str) -> str | None:
    """RewardBench's rating: a number from 1 to 10 at the very end, so 8/10 is 10 and "9." is nothing."""
    match = DIGITS_AT_END.search(text)
    return match.group(1) if match else None


def prometheus_rating(text: str) -> str | None:
    """prometheus-eval, eval/parser.py: the first number behind [RESULT], Score or the like."""
    match = PROMETHEUS_SCORE.search(text)
    return match.group(1) if match else None


PARSERS: Mapping[str, Parser] = {
    "rewardbench": rewardbench, "rewardbench2": rewardbench2, "self-taught": self_taught, "prometheus": prometheus,
    "offsetbias": offsetbias, "atla": atla, "llmbar": llmbar, "sfr": sfr, "judgebench": judgebench, "autoj": autoj,
    "pandalm": pandalm, "rewardbench-rating": rewardbench_rating, "prometheus-rating": prometheus_rating,
}
"""Every official parser by name."""


def parser(name: str) -> Parser:
    """The official parser of this name. Raises UsageError with the nearest that there is."""
    if name not in PARSERS:
        raise UsageError(f"no parser {name!r}: {nearest(name, [*PARSERS, 'strict', 'official'])}")
    return PARSERS[name]
