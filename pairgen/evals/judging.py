"""Pairwise judging: every pair is shown in both orders, and the numbers say what the order did.

`orders: random` shows each pair once, in an order drawn by its content: half the cost, and nothing is
known of what the order did. `verdict: logits` takes the probability of the verdict's letter, where the
prompt makes a judge answer with the letter alone. `verdict: ratings` has each answer rated by itself and
compares: such rows have scores and no order.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import model_validator

from pairgen.engine import Completion
from pairgen.evals.asking import JudgedBenchmark, View, Way, check_way, conversation, render
from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, Known, said
from pairgen.evals.items import PairItem
from pairgen.evals.slices import judge_metrics, pair_accuracy, vote
from pairgen.evals.verdicts import rated_scores
from pairgen.parsers.verdicts import FORMATS, RATINGS, TIE
from pairgen.records import ORDERS, Messages, Order, gold_label
from pairgen.stage import row_seed

__all__ = ["PairBenchmark", "judge_metrics", "pair_accuracy", "vote"]


class PairBenchmark(JudgedBenchmark[PairItem]):
    """Pairs judged with a prompt. A suite says what the pairs are.

    `low` and `high` are the scale of `verdict: ratings`.
    """

    version: ClassVar[int] = 1
    fills: ClassVar[frozenset[str]] = frozenset(
        {"instruction", "answer_a", "answer_b", "answer", "reference", "rubric"}
    )

    orders: Literal["both", "random"] = "both"
    verdict: Way = "text"
    low: int = 1
    high: int = 10

    @model_validator(mode="after")
    def _reads_what_it_asks(self) -> "PairBenchmark":
        check_way(self.prompt, self.verdict, self.votes, self.opening)
        return self

    def views(self, item: PairItem) -> list[View]:
        if self.verdict == "ratings":
            return [
                View(str(place), self._shown(item, answer=answer), "", self.prompt, "ratings", self.low, self.high)
                for place, answer in enumerate((item.chosen, item.rejected))
            ]
        return [self._view(item, order) for order in self.orders_of(item)]

    def orders_of(self, item: PairItem) -> tuple[Order, ...]:
        """The orders in which an item is shown."""
        return ORDERS if self.orders == "both" else (ORDERS[row_seed(self.seed, item.id, "order") % 2],)

    def row(self, item: PairItem, replies: tuple[EvalReply, ...]) -> EvalItem:
        return item.row(replies, rated_scores(replies, 2) if self.verdict == "ratings" else ())

    def score(self, row: EvalItem) -> float | None:
        """The greedy accuracy of a pair over the orders it was shown in."""
        return pair_accuracy(row, "greedy")

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        return judge_metrics(rows) | self.official(rows)

    def gold(self) -> list[Known]:
        if self.prompt.pattern is not None:
            return []  # how a reply looks that matches is not known
        both = self.verdict != "ratings" and self.orders == "both"
        return [
            self._known("right", 1, {"accuracy": 1} | ({"consistent_accuracy": 1} if both else {})),
            self._known("wrong", -1, {"accuracy": 0, "parse_rate": 1} | ({"consistency": 1} if both else {})),
            self._known("mute", None, {"accuracy": 0, "parse_rate": 0} | ({"consistency": 0} if both else {})),
            *([self._known("slot", 0, {"accuracy": 0.5, "consistency": 0, "first_slot": 1})] if both else []),
        ]

    def _known(self, name: str, says: int | None, expected: Mapping[str, float]) -> Known:
        """`says` 1 the right answer, -1 the wrong one, 0 the first slot, None nothing that can be read."""
        item = PairItem(
            name, "self-check", "question", "the better answer", "the worse answer", reference="x", rubric="x"
        )
        replies = [[self._says(view, says)] * n for _, n in self.modes().values() for view in self.views(item)]
        return Known(item, replies, dict(expected))

    def _says(self, view: View, says: int | None) -> Completion:
        if says is None:
            text = "A or B?"
            return Completion(text, "stop", 0, 3, (("The", 0.0),) if view.way == "logits" else None)
        if view.way == "ratings":
            scale = RATINGS[self.prompt.parser or "rating"]
            return said(scale.form.format(self.high if (view.order == "0") == (says > 0) else self.low))
        letter = "A" if says == 0 or (view.gold == "A") == (says > 0) else "B"
        if view.way == "logits":
            return Completion(letter, "length", 0, 1, ((letter, -0.1), ("AB".replace(letter, ""), -3.0)))
        return said(FORMATS[self.prompt.parser or "verdict"].say(letter))

    def _view(self, item: PairItem, order: Order) -> View:
        a, b = (item.chosen, item.rejected) if order == "chosen_first" else (item.rejected, item.chosen)
        gold = TIE if item.tie else gold_label(order)
        return View(order, self._shown(item, answer_a=a, answer_b=b), gold, self.prompt, self.verdict)

    def _shown(self, item: PairItem, **answers: str) -> Messages:
        return render(
            self.prompt, f"{self.id}: item {item.id}", instruction=conversation(item.instruction, item.messages),
            reference=item.reference, rubric=item.rubric or self.rubric, **answers,
        )
