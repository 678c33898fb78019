"""Direct assessment: one answer, one number. How well ratings agree with those that were given.

Pearson's r is the number to compare by. It says nothing of the level and little of the spread: a judge that
uses two grades can have a high r, so the tie rate and the share of each grade stand beside it. A reply without a
rating is unscored and counted (`parse_rate`), never a zero.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import model_validator

from pairgen.engine import Completion
from pairgen.evals.asking import JudgedBenchmark, View, check_way, conversation, render
from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, Known, estimate_rows, said
from pairgen.evals.correlation import correlations
from pairgen.evals.items import RatingItem
from pairgen.evals.verdicts import replies_of
from pairgen.parsers.verdicts import RATINGS
from pairgen.prompts import Prompt, shipped
from pairgen.records import Message, Messages

GRADES = 12
"""Up to so many different ratings the share of each is printed."""


class RatingBenchmark(JudgedBenchmark[RatingItem]):
    """Answers rated with a rubric. A suite says what they are and which ratings they were given.

    `votes` more ratings are drawn by `sampling`; their mean is the rating of the `sampled_` numbers.
    """

    version: ClassVar[int] = 1
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer", "reference", "rubric"})

    prompt: Prompt = shipped("judges/prometheus_absolute.md")

    @model_validator(mode="after")
    def _rates(self) -> "RatingBenchmark":
        check_way(self.prompt, "ratings", self.votes, self.opening)
        return self

    def views(self, item: RatingItem) -> list[View]:
        return [View("0", self._shown(item), "", self.prompt, "ratings", item.low, item.high)]

    def row(self, item: RatingItem, replies: tuple[EvalReply, ...]) -> EvalItem:
        return item.row(replies)

    def score(self, row: EvalItem) -> float | None:
        """How far the greedy rating is from the one given, in negative points: nearer is higher."""
        error = absolute_error(row, "greedy")
        return None if error is None else -error

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        return rating_metrics(rows) | self.official(rows)

    def gold(self) -> list[Known]:
        if self.prompt.pattern is not None:
            return []
        return [
            self._known("right", "2", {"exact": 1, "absolute_error": 0, "parse_rate": 1}),
            self._known("near", "3", {"exact": 0, "absolute_error": 1, "bias": 1}),
            self._known("mute", None, {"parse_rate": 0}),
        ]

    def _known(self, name: str, says: str | None, expected: Mapping[str, float]) -> Known:
        item = RatingItem(name, "self-check", "question", "answer", (2.0,), rubric="x", reference="x")
        form = RATINGS[self.prompt.parser or "rating"].form
        reply = Completion("Good.", "stop", 0, 1) if says is None else said(form.format(says))
        return Known(item, [[reply] * n for _, n in self.modes().values()], dict(expected))

    def _shown(self, item: RatingItem) -> Messages:
        if item.ready:
            system = () if self.prompt.system is None else (Message("system", self.prompt.system),)
            return (*system, Message("user", item.instruction))
        return render(
            self.prompt, f"{self.id}: item {item.id}", instruction=conversation(item.instruction, item.messages),
            answer=item.answer, reference=item.reference, rubric=item.rubric or self.rubric,
        )


def given(row: EvalItem, mode: str = "greedy") -> float | None:
    """The rating that an answer got: a scoring model's score, or the mean of the ratings that could be read."""
    if row.scores:
        return row.scores[0]
    values = [float(reply.answer) for reply in replies_of(row, mode) if reply.answer is not None]
    return statistics.fmean(values) if values else None


def rating_metrics(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """Every number of a rater. The means of sampled ratings carry the prefix `sampled_`.

    Where several ratings were given to an answer the first one is the label.
    """
    found = _mode_metrics(rows, "greedy")
    if any(reply.mode == "sampled" for row in rows for reply in row.replies):
        found |= {f"sampled_{name}": value for name, value in _mode_metrics(rows, "sampled").items()}
    return found


def _mode_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    found = correlations(rows, {id(row): given(row, mode) for row in rows})
    if any(row.scores for row in rows):  # a scoring model's scale is its own: only the order of its scores counts
        return found
    found |= {
        "exact": estimate_rows(rows, lambda row: [_exact(row, mode)]),
        "absolute_error": estimate_rows(rows, lambda row: [absolute_error(row, mode)]),
        "bias": estimate_rows(rows, lambda row: [_off(row, mode)]),
        "parse_rate": estimate_rows(rows, lambda row: [float(r.answer is not None) for r in replies_of(row, mode)]),
        "truncated": estimate_rows(rows, lambda row: [float(r.status == "truncated") for r in replies_of(row, mode)]),
        "tokens": estimate_rows(rows, lambda row: [float(reply.tokens) for reply in replies_of(row, mode)]),
    }
    return found | _shares(rows, mode)


def _shares(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    """The tie rate, and the share of each grade where there are few."""
    values = [value for row in rows if (value := given(row, mode)) is not None]
    counts = {value: values.count(value) for value in sorted(set(values))}
    found: dict[str, Estimate] = {}
    if len(values) > 1:
        level = sum(count * (count - 1) for count in counts.values()) / (len(values) * (len(values) - 1))
        found["tie_rate"] = Estimate(level, None, len(values), len(rows) - len(values))
    if len(counts) <= GRADES:
        found |= {f"rated_{grade:g}": _share(rows, mode, grade) for grade in counts}
    return found


def _share(rows: Sequence[EvalItem], mode: str, grade: float) -> Estimate:
    return estimate_rows(rows, lambda row: [_equals(given(row, mode), grade)])


def _equals(value: float | None, grade: float) -> float | None:
    return None if value is None else float(value == grade)


def _off(row: EvalItem, mode: str) -> float | None:
    value = given(row, mode)
    return None if value is None or not row.ratings else value - row.ratings[0]


def absolute_error(row: EvalItem, mode: str) -> float | None:
    """How far a rating is from the one given."""
    off = _off(row, mode)
    return None if off is None else abs(off)


def _exact(row: EvalItem, mode: str) -> float | None:
    """Whether the rating, rounded half up, is the one given, rounded likewise."""
    value = given(row, mode)
    return None if value is None or not row.ratings else float(int(value + 0.5) == int(row.ratings[0] + 0.5))
