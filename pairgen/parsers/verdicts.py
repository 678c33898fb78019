"""Reading a judge: who won, or how good an answer is, in every format that judges are asked for.

One rule for all verdicts: the last line that holds one decides, and only when it holds one distinct
verdict, for earlier lines may weigh both. A reply cut at its token limit was still weighing, unless its
very last word is a verdict. Statuses: ok | tie | multiple | none | truncated.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TIE = "tie"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's reply, read: `winner` is a letter only when `status` is "ok".

    It is "tie" where the judge was offered a tie and gave one, None where there is no verdict.
    """

    winner: str | None
    status: str


@dataclass(frozen=True, slots=True)
class Format:
    """How a verdict is written: `mark` finds it, its first group that is filled is looked up in `winners`.

    A verdict that is not in `winners` is a tie which nobody offered. `form` is how a judge writes one. A judge
    that `opens` with its verdict has said it in its first line, whatever becomes of the rest.
    """

    mark: re.Pattern[str]
    winners: Mapping[str, str]
    form: str = "[[{}]]"
    opens: bool = False

    def say(self, winner: str) -> str:
        """A reply that holds nothing but this verdict."""
        word = next(word for word, named in self.winners.items() if named == winner)
        return self.form.format(word)

    def read(self, text: str, finish: str = "stop") -> Verdict:
        """The verdict of a reply, by the rule of this module."""
        if self.opens:
            text, finish = next((line for line in text.splitlines() if line.strip()), ""), "stop"
        if finish == "length" and not ends_in(self.mark, text):
            return Verdict(None, "truncated")
        for line in reversed(text.splitlines()):
            found = {_group(match).upper() for match in self.mark.finditer(line)}
            if found:
                return self._decide(found)
        return Verdict(None, "none")

    def _decide(self, found: set[str]) -> Verdict:
        if len(found) > 1:
            return Verdict(None, "multiple")
        winner = self.winners.get(found.pop())
        return Verdict(winner, "tie" if winner in (None, TIE) else "ok")


@dataclass(frozen=True, slots=True)
class TwoScores(Format):
    """A judge that opens with a line of two scores and nothing else: the higher one wins, equal ones are a tie."""

    def say(self, winner: str) -> str:
        """A reply that holds nothing but the scores of such a verdict."""
        return {"A": "8 6", "B": "6 8"}.get(winner, "7 7")

    def read(self, text: str, finish: str = "stop") -> Verdict:
        """The verdict of the first line, whatever becomes of the reasons after it."""
        found = self.mark.fullmatch(next((line for line in text.splitlines() if line.strip()), ""))
        if found is None:
            return Verdict(None, "none")
        first, second = map(float, found.groups())
        return Verdict(TIE, "tie") if first == second else Verdict("A" if first > second else "B", "ok")


@dataclass(frozen=True, slots=True)
class Scale:
    """How a rating is written: the first group of `mark` is the number. `form` is how a judge writes one."""

    mark: re.Pattern[str]
    form: str


def ends_in(mark: re.Pattern[str], text: str) -> bool:
    """Whether a mark is the very last word of a text."""
    last = next((line for line in reversed(text.splitlines()) if re.search(r"\w", line)), "")
    end = max((match.end() for match in mark.finditer(last)), default=None)
    return end is not None and not re.search(r"\w", last[end:])


def _group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None)


def _letters(letters: str) -> dict[str, str]:
    return {letter: letter for letter in letters}


_TIE_TOO = {**_letters("AB"), "C": TIE, "TIE": TIE}
_OR_TIE = {**_letters("AB"), "TIE": TIE}
_NUMBERED = {"1": "A", "2": "B", "TIE": TIE}
_RESULT = r"\[RESULT\][\s:*]*(?:Response\s+)?\(?"

FORMATS: Mapping[str, Format] = {
    # MT-Bench, RewardBench, Self-Taught Evaluators
    "verdict": Format(re.compile(r"\[\[\s*(A|B|C|tie)\s*\]\]", re.I), _letters("AB")),
    "verdict-tie": Format(re.compile(r"\[\[\s*(A|B|C|tie)\s*\]\]", re.I), _TIE_TOO),
    "verdict-4": Format(re.compile(r"\[\[\s*([A-D])\s*\]\]", re.I), _letters("ABCD")),
    # CLAIR; how its authors read it is not published
    "choice": Format(re.compile(r"\[\s*([12])\s*\]"), {"1": "A", "2": "B"}, "[{}]"),
    # Prometheus: a verdict behind the feedback
    "result": Format(re.compile(_RESULT + r"(A|B)\b"), _letters("AB"), "[RESULT] {}"),
    # Atla and SFR-Judge: the last line of the reply
    "result-line": Format(
        re.compile(r"\*\*Result:?\*\*[\s:]*(?:Response\s+)?(A|B|tie)\b", re.I), _OR_TIE, "**Result:** {}"
    ),
    # OffsetBias and LLMBar
    "output": Format(re.compile(r"Output \((a|b)\)", re.I), _letters("AB"), "Output ({})"),
    # Auto-J
    "decision": Format(
        re.compile(r"final decision is\W*(?:Response\s+)?(1|2|tie)\b", re.I), _NUMBERED,
        "the final decision is Response {}",
    ),
    # PandaLM: a digit alone on the first line, then reasons
    "digit": Format(re.compile(r"^\W*(1|2|tie)\W*$", re.I), _NUMBERED, "{}", opens=True),
    # JudgeLM and the first GPT-4 judges
    "two-scores": TwoScores(re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)(?:\s*,\s*|\s+)([0-9]+(?:\.[0-9]+)?)\s*"), _OR_TIE,
                            opens=True),
    # a letter alone, for judges told to say nothing else
    "letter": Format(re.compile(r"^\W*([A-D])\W*$"), _letters("ABCD"), "{}"),
}
"""Every verdict format by its parser's name."""

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
RATINGS: Mapping[str, Scale] = {
    # MT-Bench's single answers
    "rating": Scale(re.compile(rf"\[\[\s*{_NUMBER}\s*\]\]"), "[[{}]]"),
    # Prometheus
    "rating-result": Scale(re.compile(rf"\[RESULT\][\s:*]*\(?{_NUMBER}(?!\w|\.\d)"), "[RESULT] {}"),
    # SFR-Judge and Atla
    "rating-line": Scale(
        re.compile(rf"\*\*(?:Result|Score|Rating):?\*\*[\s:]*{_NUMBER}(?!\w|\.\d)", re.I), "**Result:** {}"
    ),
    # RewardBench 2: the number that the reply ends with; of "8/10" the first
    "rating-last": Scale(re.compile(rf"(?<![\w./-]){_NUMBER}(?:\s*/\s*(?:5|10))?[\s.*]*\Z"), "{}"),
}
"""Every rating format by its parser's name."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A rating, read: `value` is a number only when `status` is "ok"."""

    value: float | None
    status: str


def read_rating(name: str, text: str, finish: str = "stop") -> Rating:
    """The rating of a reply: ok | multiple | none | truncated, by the same rule as verdicts."""
    mark = RATINGS[name].mark
    if finish == "length" and not ends_in(mark, text):
        return Rating(None, "truncated")
    for line in reversed(text.rstrip().splitlines()):
        found = {float(value) for value in mark.findall(line)}
        if found:
            return Rating(found.pop(), "ok") if len(found) == 1 else Rating(None, "multiple")
        if name == "rating-last":
            break
    return Rating(None, "none")


def read_verdict(text: str, finish: str = "stop") -> Verdict:
    """The verdict of a judgment in double brackets: ok | tie | multiple | none | truncated.

    A tie nobody offered has no winner.
    """
    return FORMATS["verdict"].read(text, finish)


def read_choice(text: str, finish: str = "stop") -> Verdict:
    """Which of two numbered answers a judge picked, [1] as A and [2] as B: ok | multiple | none | truncated.

    It is CLAIR's judge format; how its authors read it is not published.
    """
    return FORMATS["choice"].read(text, finish)


def verdict_parser(name: str, part: str = "verdict") -> Callable[[str], dict[str, str] | None]:
    """{part: "A"} for a whole reply with a clear winner, or {part: "tie"} where a tie is offered."""

    def parse(reply: str) -> dict[str, str] | None:
        verdict = FORMATS[name].read(reply)
        return {part: verdict.winner} if verdict.winner else None

    return parse


def rating_parser(name: str) -> Callable[[str], dict[str, str] | None]:
    """{"rating": "4"} for a whole reply with one rating."""

    def parse(reply: str) -> dict[str, str] | None:
        rating = read_rating(name, reply)
        return None if rating.value is None else {"rating": f"{rating.value:g}"}

    return parse
