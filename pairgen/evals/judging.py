"""Pairwise judging: every pair is shown in both orders, and the numbers say what the order did.

Rules, the same everywhere. A reply with no clear verdict is a wrong one, in every accuracy and in
consistency; the parse rate stands beside them. The unit is the pair: its judgments are one cluster.
A vote pools the samples of both orders, so that a preference for a slot cancels out; an exact tie is
worth one half (its expected value by a coin) and is counted; a vote with no verdict at all is wrong.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import field_validator

from pairgen.engine import Completion, Request
from pairgen.evals.benchmark import (
    Estimate,
    EvalItem,
    EvalReply,
    Known,
    SampledBenchmark,
    estimate,
    estimate_clustered,
    said,
)
from pairgen.evals.items import PairItem
from pairgen.parsers import read_verdict
from pairgen.prompts import Prompt, PromptFile, shipped
from pairgen.records import ORDERS, Messages, Order, gold_label
from pairgen.stage import row_seed

FILLS = frozenset({"instruction", "answer_a", "answer_b"})


class PairBenchmark(SampledBenchmark[PairItem]):
    """Pairs judged with a prompt in both orders. A suite says what the pairs are."""

    version: ClassVar[int] = 1

    prompt: Prompt = shipped("judge.md")

    @field_validator("prompt")
    @classmethod
    def _can_be_filled(cls, prompt: PromptFile) -> PromptFile:
        if strange := set(prompt.vars) - FILLS:
            raise ValueError(f"{prompt.name} asks for {sorted(strange)}; a judge prompt has {sorted(FILLS)}")
        return prompt

    def ask(self, item: PairItem) -> list[Request]:
        return [
            Request(self._shown(item, order), sampling, row_seed(self.seed, item.id, mode, order), n=n)
            for mode, (sampling, n) in self.modes().items() for order in ORDERS
        ]

    def read(self, item: PairItem, replies: list[list[Completion]]) -> EvalItem:
        asked = [(mode, order) for mode in self.modes() for order in ORDERS]
        marked = tuple(
            self._mark(item, mode, order, sample, reply)
            for (mode, order), samples in zip(asked, replies, strict=True)
            for sample, reply in enumerate(samples)
        )
        return EvalItem(item.id, item.group, item.instruction, (item.chosen, item.rejected), marked)

    def derivation(self, item: PairItem, text: str) -> bool | None:
        """Whether the reasoning of a judgment is right; None where that cannot be known."""
        return None

    def score(self, row: EvalItem) -> float | None:
        """The greedy accuracy of a pair over both orders."""
        return pair_accuracy(row, "greedy")

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        return judge_metrics(rows)

    def gold(self) -> list[Known]:
        return [
            self._known("right", "[[A]]", "[[B]]", {"accuracy": 1, "consistent_accuracy": 1}),
            self._known("slot", "[[A]]", "[[A]]", {"accuracy": 0.5, "consistency": 0, "first_slot": 1}),
            self._known("wrong", "[[B]]", "[[A]]", {"accuracy": 0, "consistency": 1, "parse_rate": 1}),
            self._known("mute", "A or B?", "[[A]] [[B]]", {"accuracy": 0, "consistency": 0, "parse_rate": 0}),
        ]

    def _known(self, name: str, first: str, second: str, expected: dict[str, float]) -> Known:
        item = PairItem(name, "self-check", "question", "the better answer", "the worse answer")
        replies = [[said(text)] * n for _, n in self.modes().values() for text in (first, second)]
        return Known(item, replies, expected)

    def _shown(self, item: PairItem, order: Order) -> Messages:
        a, b = (item.chosen, item.rejected) if order == "chosen_first" else (item.rejected, item.chosen)
        return self.prompt.render(instruction=item.instruction, answer_a=a, answer_b=b)

    def _mark(self, item: PairItem, mode: str, order: Order, sample: int, reply: Completion) -> EvalReply:
        verdict = read_verdict(reply.text, reply.finish)
        return EvalReply(
            mode, order, sample, reply.text, verdict.winner, verdict.status, gold_label(order),
            reply.completion_tokens, self.derivation(item, reply.text),
        )


def judge_metrics(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """Every number of a judge. Those of sampled judgments carry the prefix `sampled_`, votes `vote_`."""
    found = _mode_metrics(rows, "greedy")
    if any(reply.mode == "sampled" for row in rows for reply in row.replies):
        found |= {f"sampled_{name}": value for name, value in _mode_metrics(rows, "sampled").items()}
        votes = [vote(row) for row in rows]
        found["vote_accuracy"] = estimate(votes)
        found["vote_ties"] = estimate(None if value is None else float(value == 0.5) for value in votes)
    return found


def _mode_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    def over(value: Callable[[EvalReply], float | None], order: Order | None = None) -> Estimate:
        return estimate_clustered([value(reply) for reply in _replies(row, mode, order)] for row in rows)

    found = {
        "accuracy": over(lambda reply: float(reply.right)),
        "accuracy_chosen_first": over(lambda reply: float(reply.right), "chosen_first"),
        "accuracy_rejected_first": over(lambda reply: float(reply.right), "rejected_first"),
        "consistent_accuracy": estimate_clustered(_both(row, mode, _both_right) for row in rows),
        "consistency": estimate_clustered(_both(row, mode, _same_answer) for row in rows),
        "first_slot": over(lambda reply: None if reply.answer is None else float(reply.answer == "A")),
        "parse_rate": over(lambda reply: float(reply.answer is not None)),
        "tokens": over(lambda reply: float(reply.tokens)),
    }
    derivation = over(lambda reply: None if reply.derivation is None else float(reply.derivation))
    return found | ({"derivation": derivation} if derivation.n else {})


def _replies(row: EvalItem, mode: str, order: Order | None = None) -> list[EvalReply]:
    return [r for r in row.replies if r.mode == mode and order in (None, r.order)]


def _both(row: EvalItem, mode: str, holds: Callable[[EvalReply, EvalReply], bool]) -> list[float | None]:
    """Whether something holds of sample i in one order and sample i in the other, for each i."""
    first, second = (_replies(row, mode, order) for order in ORDERS)
    return [float(holds(one, two)) for one, two in zip(first, second, strict=True)]


def _both_right(one: EvalReply, two: EvalReply) -> bool:
    return one.right and two.right


def _same_answer(one: EvalReply, two: EvalReply) -> bool:
    return one.answer is not None and two.answer is not None and one.right == two.right


def pair_accuracy(row: EvalItem, mode: str) -> float | None:
    """The share of right judgments of one pair; None when it was never judged."""
    replies = _replies(row, mode)
    return sum(reply.right for reply in replies) / len(replies) if replies else None


def vote(row: EvalItem) -> float | None:
    """1 when most verdicts of a pair's samples name the better answer, 0.5 for a tie, else 0."""
    replies = _replies(row, "sampled")
    if not replies:
        return None
    for_chosen = sum(reply.right for reply in replies)
    for_rejected = sum(reply.answer is not None for reply in replies) - for_chosen
    if for_chosen == for_rejected:
        return 0.5 if for_chosen else 0.0
    return float(for_chosen > for_rejected)
