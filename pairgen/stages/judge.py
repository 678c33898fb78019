"""Judge every pair: N sampled judgments in both orders, each read by the one strict parser.

Self-Taught Evaluators, section 3.3, samples 15 judgments at temperature 0.7, top_p 0.9. Both orders
are asked because a judge that always prefers the first slot is right in one of them.
"""

from typing import ClassVar, Literal

from pydantic import Field

from pairgen.engine import Completion, Request, Sampling
from pairgen.parsers import FORMATS
from pairgen.prompts import Prompt, PromptFile, shipped
from pairgen.records import ORDERS, Drop, Judged, Judgment, Messages, Order, Pair, gold_label
from pairgen.stage import LLMStage, row_seed

JUDGE_HOLES = frozenset({"instruction", "answer_a", "answer_b"})
"""What `judge_messages` has values for."""


class Judge(LLMStage):
    """Sample `n` judgments per order. `orders: random` asks one order per pair, drawn by content."""

    reads: ClassVar[type] = Pair
    writes: ClassVar[type] = Judged
    fills: ClassVar[frozenset[str]] = JUDGE_HOLES
    parts: ClassVar[frozenset[str]] = frozenset({"verdict"})
    version: ClassVar[int] = 2

    prompt: Prompt = shipped("judge.md")
    n: int = Field(default=8, ge=1)
    orders: Literal["both", "random"] = "both"
    sampling: Sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=2048)

    def ask(self, row: Pair) -> list[Request]:
        return [self._request(row, order) for order in self._orders(row)]

    def _request(self, row: Pair, order: Order) -> Request:
        messages = judge_messages(self.prompt, row, order)
        return Request(messages, self.sampling, row_seed(self.seed, row.id, order), n=self.n)

    def read(self, row: Pair, replies: list[list[Completion]]) -> list[Judged | Drop]:
        judgments = tuple(
            _judgment(self.prompt, order, sample, reply)
            for order, samples in zip(self._orders(row), replies, strict=True)
            for sample, reply in enumerate(samples)
        )
        return [Judged(row.id, row, judgments)]

    def requests_per_row(self) -> float:
        return 2 if self.orders == "both" else 1

    def _orders(self, row: Pair) -> tuple[Order, ...]:
        return ORDERS if self.orders == "both" else (ORDERS[row_seed(self.seed, row.id) % 2],)


def judge_messages(prompt: PromptFile, pair: Pair, order: Order) -> Messages:
    """The judge prompt with the pair's answers in the slots that `order` gives them."""
    first, second = (pair.chosen, pair.rejected) if order == "chosen_first" else (pair.rejected, pair.chosen)
    return prompt.render(instruction=pair.instruction.text, answer_a=first, answer_b=second)


def _judgment(prompt: PromptFile, order: Order, sample: int, reply: Completion) -> Judgment:
    verdict = FORMATS.get(prompt.parser or "", FORMATS["verdict"]).read(reply.text, reply.finish)
    winner = verdict.winner if verdict.status == "ok" else None
    return Judgment(
        order, sample, reply.text, winner, verdict.status, gold_label(order), reply.completion_tokens
    )


STAGE = Judge
