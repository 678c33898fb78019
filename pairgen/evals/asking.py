"""What all judges have in common: an item is shown in one or more views, and every reply to a view is read.

A prompt file says what is shown and, by its parser, how a reply is read. A verdict may be read in three ways:
`text` reads what the judge wrote, `logits` the probabilities of the letters it could open with, and
`ratings` compares answers that were rated one by one.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import field_validator

from pairgen.engine import Completion, Request, Sampling
from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem, EvalReply, I, SampledBenchmark
from pairgen.parsers.verdicts import FORMATS, RATINGS, TIE, Verdict, read_rating
from pairgen.prompts import Prompt, PromptFile, shipped
from pairgen.records import Message, Messages
from pairgen.stage import row_seed

Way = Literal["text", "logits", "ratings"]
LIKELIEST = 20
"""First tokens whose probabilities are asked for: the most that hosted APIs give."""
LEAST = 0.1
"""The probability that letters must have, all together, for one of them to be a verdict."""
WORD = re.compile(r"^\W*([A-D])\W*$")


@dataclass(frozen=True, slots=True)
class View:
    """One way an item is shown: `order` names it, `gold` is the right answer to it ("" where there is none).

    `low` and `high` bound a rating.
    """

    order: str
    messages: Messages
    gold: str
    prompt: PromptFile
    way: Way = "text"
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Read:
    """What was read in a reply; `confidence` is the probability of the answer, where it is known."""

    answer: str | None
    status: str
    confidence: float | None = None


class JudgedBenchmark(SampledBenchmark[I]):
    """A benchmark whose items are shown to a judge. `rubric` stands in for items that bring none.

    `opening` begins the judge's answer for it (`[[`), so that `verdict: logits` finds a letter next.
    """

    fills: ClassVar[frozenset[str]]

    prompt: Prompt = shipped("judge.md")
    rubric: str | None = None
    opening: str = ""

    @field_validator("prompt")
    @classmethod
    def _can_be_filled(cls, prompt: PromptFile) -> PromptFile:
        return fitting(prompt, cls.fills)

    def views(self, item: I) -> list[View]:
        """The ways an item is shown, in a fixed order. Pure."""
        raise TypeError(f"benchmark {self.use!r} does not say how to show an item")

    def row(self, item: I, replies: tuple[EvalReply, ...]) -> EvalItem:
        """The item with what was said about it. Pure."""
        raise TypeError(f"benchmark {self.use!r} does not say what a row is")

    def derivation(self, item: I, text: str) -> bool | None:
        """Whether the reasoning of a judgment is right; None where that cannot be known."""
        return None

    def ask(self, item: I) -> list[Request]:
        return [
            _request(view, sampling, row_seed(self.seed, item.id, mode, view.order), n, self.opening)
            for mode, (sampling, n) in self.modes().items() for view in self.views(item)
        ]

    def read(self, item: I, replies: list[list[Completion]]) -> EvalItem:
        asked = [(mode, view) for mode in self.modes() for view in self.views(item)]
        return self.row(item, tuple(
            self._mark(item, mode, view, sample, reply)
            for (mode, view), samples in zip(asked, replies, strict=True)
            for sample, reply in enumerate(samples)
        ))

    def _mark(self, item: I, mode: str, view: View, sample: int, reply: Completion) -> EvalReply:
        found = read_view(view, reply)
        derived = self.derivation(item, reply.text) if view.way == "text" else None
        return EvalReply(
            mode, view.order, sample, reply.text, found.answer, found.status, view.gold, reply.completion_tokens,
            derived, found.confidence,
        )


def _request(view: View, sampling: Sampling, seed: int, n: int, opening: str) -> Request:
    if view.way != "logits":
        return Request(view.messages, sampling, seed, n=n)
    one = sampling.model_copy(update={"max_tokens": 1, "stop": ()})
    begun = (Message("assistant", opening),) if opening else ()
    return Request((*view.messages, *begun), one, seed, n=1, logprobs=LIKELIEST)


def fitting(prompt: PromptFile, fills: frozenset[str]) -> PromptFile:
    """The prompt, when all its holes can be filled. Raises ValueError naming those that cannot."""
    if strange := set(prompt.vars) - fills:
        raise ValueError(f"{prompt.name} asks for {sorted(strange)}; there is {sorted(fills)} to show")
    return prompt


def render(prompt: PromptFile, where: str, **values: str | None) -> Messages:
    """The prompt filled. Raises UsageError naming the item when it lacks what the prompt shows."""
    if lacking := sorted(name for name in prompt.vars if values.get(name) is None):
        raise UsageError(
            f"{where}: prompt {prompt.name} shows a {lacking[0]} and the item has none; "
            f"take a prompt without {{{{{lacking[0]}}}}}"
            + (", or set `rubric:` (--set rubric=...)" if lacking[0] == "rubric" else "")
        )
    return prompt.render(**{name: value for name, value in values.items() if value is not None})


def conversation(instruction: str, messages: Messages) -> str:
    """What the answers answer: the instruction, or where it is a longer conversation all its turns by name."""
    if len(messages) < 2:
        return instruction
    return "\n\n".join(f"### {turn.role.capitalize()}:\n{turn.content}" for turn in messages)


def read_view(view: View, reply: Completion) -> Read:
    """A reply read as its view wants it. A reply stopped by a filter says nothing."""
    if reply.finish not in ("stop", "length"):
        return Read(None, reply.finish)
    if view.way == "logits":
        return read_odds(reply.first_logprobs)
    if view.way == "ratings":
        return read_score(view, reply)
    verdict = read_answer(view.prompt, reply)
    return Read(verdict.winner, verdict.status)


def read_answer(prompt: PromptFile, reply: Completion) -> Verdict:
    """The verdict of a reply by the prompt's parser, or by its pattern's group `verdict` or `choice`."""
    if prompt.pattern is None:
        return FORMATS[prompt.parser or "verdict"].read(reply.text, reply.finish)
    parts = prompt.read(reply.text) or {}
    named = (parts.get("verdict") or parts.get("choice") or "").strip()
    winner = {"1": "A", "2": "B", "TIE": TIE}.get(named.upper(), named.upper())
    if winner in ("A", "B", "C", "D"):
        return Verdict(winner, "ok")
    return Verdict(TIE, "tie") if winner == TIE else Verdict(None, "none")


def read_score(view: View, reply: Completion) -> Read:
    """A rating within the scale, as text; one that is not on it cannot be read."""
    if view.prompt.pattern is None:
        found = read_rating(view.prompt.parser or "rating", reply.text, reply.finish)
        value, status = found.value, found.status
    else:
        named = (view.prompt.read(reply.text) or {}).get("rating", "")
        value, status = (float(named), "ok") if re.fullmatch(r"\d+(?:\.\d+)?", named) else (None, "none")
    if value is not None and not view.low <= value <= view.high:
        return Read(None, "off-scale")
    return Read(None if value is None else f"{value:g}", status)


def read_odds(first: Sequence[tuple[str, float]] | None) -> Read:
    """The likelier letter, with its share of the probability of all letters; a dead heat is a tie."""
    if first is None:
        raise UsageError("the engine gave no log-probabilities, which `verdict: logits` reads; use `verdict: text`")
    odds = letter_odds(first)
    if not odds:
        return Read(None, "elsewhere" if first else "none")
    best = max(odds.values())
    leaders = [letter for letter, odd in odds.items() if odd == best]
    return Read(leaders[0], "ok", best) if len(leaders) == 1 else Read(TIE, "tie", best)


def letter_odds(first: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    """The probability of each letter among the letters, whatever blanks or brackets a token has around it.

    {} where all letters together are less likely than `LEAST`: the judge is about to say something else.
    """
    found: dict[str, float] = {}
    for text, logprob in first:
        if match := WORD.match(text):
            found[match.group(1)] = found.get(match.group(1), 0.0) + math.exp(logprob)
    total = math.fsum(found.values())
    return {letter: odd / total for letter, odd in found.items()} if total >= LEAST else {}


def check_way(prompt: PromptFile, way: Way, votes: int, opening: str) -> None:
    """Raise ValueError for options that do not go with a way of reading verdicts."""
    needs_part(prompt, way)
    if way == "logits" and votes:
        raise ValueError("votes: `verdict: logits` reads the probabilities themselves; there is nothing to sample")
    if way != "logits" and opening:
        raise ValueError("opening: an answer is begun for the judge with `verdict: logits` only")


def needs_part(prompt: PromptFile, way: Way) -> None:
    """Raise ValueError for a prompt whose replies cannot be read in that way."""
    rates = prompt.parser in RATINGS or "rating" in prompt.parts
    if way == "ratings" and not rates:
        raise ValueError(f"prompt {prompt.name} reads no rating; one that does is --prompt judges/mtbench_rating.md")
    if way == "text" and rates:
        raise ValueError(f"prompt {prompt.name} asks for a rating; say `verdict: ratings` (--verdict ratings)")
    if way == "text" and prompt.parser is not None and prompt.parser not in FORMATS:
        raise ValueError(f"prompt {prompt.name} has parser {prompt.parser!r}, which reads no verdict")
