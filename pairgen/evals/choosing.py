"""Choosing among several answers: all shown at once under letters, or each rated by itself.

`orders: random` shows the answers once, in an order drawn by the item's content; `rotations` shows them as
often as there are answers, so that each stands in every slot once. With `verdict: ratings` the answers
are rated one by one, and an item with k joint winners is worth 1/k to a right one. An item with several
right answers is always rated: there, all right ones must be above all wrong ones.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from pairgen.engine import Completion
from pairgen.errors import UsageError
from pairgen.evals.asking import JudgedBenchmark, View, Way, check_way, conversation, fitting, needs_part, render
from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, Known, estimate_rows, said
from pairgen.evals.items import ChoiceItem
from pairgen.evals.verdicts import rated_scores, replies_of, scores_of
from pairgen.parsers.verdicts import FORMATS, RATINGS
from pairgen.prompts import Prompt, PromptFile, shipped
from pairgen.records import Messages
from pairgen.stage import row_seed

LETTERS = "ABCD"


class ChoiceBenchmark(JudgedBenchmark[ChoiceItem]):
    """Items with one right answer among up to four, judged with `prompt`; ratings are asked with `rating_prompt`.

    A suite says what the items are, and may name another prompt for some of them (`rater`).
    """

    version: ClassVar[int] = 1
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer", *(f"answer_{x.lower()}" for x in LETTERS)})

    prompt: Prompt = shipped("judges/rewardbench2.md")
    rating_prompt: Prompt = shipped("judges/rewardbench2_rating.md")
    orders: Literal["random", "rotations"] = "random"
    verdict: Way = "text"
    low: int = 1
    high: int = Field(default=10, ge=2)

    @field_validator("rating_prompt")
    @classmethod
    def _rates(cls, prompt: PromptFile) -> PromptFile:
        needs_part(prompt, "ratings")
        return fitting(prompt, cls.fills)

    @model_validator(mode="after")
    def _reads_what_it_asks(self) -> "ChoiceBenchmark":
        prompt = self.rating_prompt if self.verdict == "ratings" else self.prompt
        check_way(prompt, self.verdict, self.votes, self.opening)
        return self

    def rater(self, item: ChoiceItem) -> PromptFile:
        """The prompt that an item's answers are rated with."""
        return self.rating_prompt

    def rated(self, item: ChoiceItem) -> bool:
        """Whether an item's answers are rated one by one."""
        return self.verdict == "ratings" or item.right != 1

    def views(self, item: ChoiceItem) -> list[View]:
        if self.rated(item):
            return [
                View(str(place), self._shown(item, self.rater(item), answer=answer), "", self.rater(item), "ratings",
                     self.low, self.high)
                for place, answer in enumerate(item.answers)
            ]
        slots = sum(f"answer_{letter.lower()}" in self.prompt.vars for letter in LETTERS)
        if len(item.answers) != slots:
            raise UsageError(
                f"{self.id}: item {item.id} has {len(item.answers)} answers and prompt {self.prompt.name} "
                f"shows {slots}; use `verdict: ratings`"
            )
        return [self._view(item, order) for order in self.orders_of(item)]

    def orders_of(self, item: ChoiceItem) -> list[tuple[int, ...]]:
        """The orders in which the answers are shown, as their indices."""
        order = list(range(len(item.answers)))
        Random(row_seed(self.seed, item.id, "order")).shuffle(order)
        turns = len(order) if self.orders == "rotations" else 1
        return [tuple(order[turn:] + order[:turn]) for turn in range(turns)]

    def row(self, item: ChoiceItem, replies: tuple[EvalReply, ...]) -> EvalItem:
        return item.row(replies, rated_scores(replies, len(item.answers)) if self.rated(item) else ())

    def score(self, row: EvalItem) -> float | None:
        """The greedy credit of an item over the orders it was shown in."""
        found = credits_of(row, "greedy")
        return sum(found) / len(found) if found else None

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        return choice_metrics(rows) | self.official(rows)

    def gold(self) -> list[Known]:
        known = [
            self._known("right", True, {"accuracy": 1, "parse_rate": 1}),
            self._known("wrong", False, {"accuracy": 0, "parse_rate": 1}),
            self._known("mute", None, {"accuracy": 0, "parse_rate": 0}),
        ]
        return known if self.prompt.pattern is None and self.rating_prompt.pattern is None else []

    def _known(self, name: str, right: bool | None, expected: Mapping[str, float]) -> Known:
        slots = max(2, sum(f"answer_{letter.lower()}" in self.prompt.vars for letter in LETTERS))
        item = ChoiceItem(name, "self-check", "question", tuple(f"answer {place}" for place in range(slots)))
        replies = [[self._says(view, right)] * n for _, n in self.modes().values() for view in self.views(item)]
        return Known(item, replies, dict(expected))

    def _says(self, view: View, right: bool | None) -> Completion:
        if right is None:
            return Completion("Which one?", "stop", 0, 2, (("The", 0.0),) if view.way == "logits" else None)
        if view.way == "ratings":
            scale = RATINGS[view.prompt.parser or "rating"]
            return said(scale.form.format(self.high if (view.order == "0") == right else self.low))
        letter = view.gold if right else "BA"[view.gold == "B"]
        if view.way == "logits":
            return Completion(letter, "length", 0, 1, ((letter, -0.1),))
        return said(FORMATS[self.prompt.parser or "verdict"].say(letter))

    def _view(self, item: ChoiceItem, order: tuple[int, ...]) -> View:
        shown = {f"answer_{LETTERS[slot].lower()}": item.answers[place] for slot, place in enumerate(order)}
        messages = self._shown(item, self.prompt, **shown)
        return View(",".join(map(str, order)), messages, LETTERS[order.index(0)], self.prompt, self.verdict)

    def _shown(self, item: ChoiceItem, prompt: PromptFile, **answers: str) -> Messages:
        where = f"{self.id}: item {item.id}"
        return render(prompt, where, instruction=conversation(item.instruction, item.messages), **answers)


def choice_metrics(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """Every number of a choice. Those of sampled replies carry the prefix `sampled_`."""
    found = _mode_metrics(rows, "greedy")
    if any(reply.mode == "sampled" for row in rows for reply in row.replies):
        found |= {f"sampled_{name}": value for name, value in _mode_metrics(rows, "sampled").items()}
    return found


def _mode_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    found = {"accuracy": estimate_rows(rows, lambda row: credits_of(row, mode))}
    found["chance"] = estimate_rows(rows, lambda row: [chance(row)])
    rated = [row for row in rows if row.scores]
    if rated:
        found["ties"] = estimate_rows(rated, lambda row: [level(row, mode)])
    shown = [row for row in rows if row.replies]
    if shown or not rated:
        found |= _reply_metrics(rows, mode)
    turned = [row for row in shown if not row.scores and len(replies_of(row, mode)) > 1]
    if turned and mode == "greedy":
        found["consistent_accuracy"] = estimate_rows(turned, lambda row: [float(min(credits_of(row, mode)) == 1)])
        found["consistency"] = estimate_rows(turned, lambda row: [_same(row, mode)])
    return found


def _reply_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    def over(value: Callable[[EvalReply], float | None]) -> Estimate:
        return estimate_rows(rows, lambda row: [value(reply) for reply in replies_of(row, mode)])

    found = {
        "parse_rate": over(lambda reply: float(reply.answer is not None)),
        "truncated": over(lambda reply: float(reply.status == "truncated")),
        "tokens": over(lambda reply: float(reply.tokens)),
    }
    slots = over(lambda reply: float(reply.answer == "A") if reply.gold and reply.answer else None)
    return {"first_slot": slots, **found} if slots.n else found


def credits_of(row: EvalItem, mode: str = "greedy") -> list[float]:
    """What a row is worth, once for each reply, or once for all its scores; an unreadable one is worth nothing.

    [] where nothing was said or a scoring model could not score an answer.
    """
    if not row.scores:
        return [float(reply.right) for reply in replies_of(row, mode)]
    scores = scores_of(row, mode)
    if any(score is None for score in scores):
        return [0.0] if row.replies else []
    return [credit([score for score in scores if score is not None], row.right)]


def credit(scores: Sequence[float], right: int) -> float:
    """1/k when the one right answer is among k joint winners; with several right ones, all must beat all others."""
    if right != 1:
        return float(min(scores[:right]) > max(scores[right:]))
    return 1 / scores.count(max(scores)) if scores[0] == max(scores) else 0.0


def chance(row: EvalItem) -> float | None:
    """What a guess is worth: a right answer drawn at random; None where several must be found."""
    return 1 / len(row.answers) if row.right == 1 and row.answers else None


def level(row: EvalItem, mode: str) -> float | None:
    """Whether several answers share the highest score."""
    scores = [score for score in scores_of(row, mode) if score is not None]
    return float(scores.count(max(scores)) > 1) if scores else None


def _same(row: EvalItem, mode: str) -> float:
    """Whether every order made the judge name the same answer."""
    named = {_named(reply) for reply in replies_of(row, mode)}
    return float(len(named) == 1 and None not in named)


def _named(reply: EvalReply) -> str | None:
    """The index of the answer that a reply names."""
    if reply.answer is None or reply.answer not in LETTERS or reply.order is None:
        return None
    shown = reply.order.split(",")
    slot = LETTERS.index(reply.answer)
    return shown[slot] if slot < len(shown) else None
