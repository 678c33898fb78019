"""Answering in the embedded world: questions on held-out lists. Training a judge must not cost this."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from pairgen.engine import Completion, Request, Sampling
from pairgen.evals.benchmark import (
    Estimate,
    EvalItem,
    EvalReply,
    Item,
    Known,
    SampledBenchmark,
    estimate_clustered,
    said,
)
from pairgen.prompts import Prompt, shipped
from pairgen.records import content_id
from pairgen.stage import row_seed
from pairgen.world import heldout, tasks

ANSWER = re.compile(r"\s*(=\d+)\s*")


@dataclass(frozen=True, slots=True)
class Question(Item):
    """A question with its one right answer."""

    text: str
    answer: str


class WorldAnswers(SampledBenchmark[Question]):
    """`n` distinct questions, all types in turn. A reply that is not just an answer is a wrong one."""

    version: ClassVar[int] = 1

    n: int = Field(default=300, ge=1)
    prompt: Prompt = shipped("world/answer.md")
    sampling: Sampling = Sampling(temperature=1.0, max_tokens=16)

    def items(self) -> Sequence[Question]:
        return [
            Question(content_id(text), tasks.parse(text)[1].name, text, answer)
            for text, answer in heldout.heldout_questions(self.n, self.seed)
        ]

    def ask(self, item: Question) -> list[Request]:
        messages = self.prompt.render(instruction=item.text)
        return [
            Request(messages, sampling, row_seed(self.seed, item.id, mode), n=n)
            for mode, (sampling, n) in self.modes().items()
        ]

    def read(self, item: Question, replies: list[list[Completion]]) -> EvalItem:
        marked = tuple(
            _mark(item, mode, sample, reply)
            for mode, samples in zip(self.modes(), replies, strict=True)
            for sample, reply in enumerate(samples)
        )
        return EvalItem(item.id, item.group, item.text, (item.answer,), marked)

    def score(self, row: EvalItem) -> float | None:
        """Whether the greedy answer is right."""
        return next((float(reply.right) for reply in row.replies if reply.mode == "greedy"), None)

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        found = _mode_metrics(rows, "greedy")
        if any(reply.mode == "sampled" for row in rows for reply in row.replies):
            found |= {f"sampled_{name}": value for name, value in _mode_metrics(rows, "sampled").items()}
        return found

    def gold(self) -> list[Known]:
        return [
            self._known("=8", {"answer_accuracy": 1, "parse_rate": 1}),
            self._known("=4", {"answer_accuracy": 0, "parse_rate": 1}),
            self._known("=8 or so", {"answer_accuracy": 0, "parse_rate": 0}),
        ]

    def _known(self, reply: str, expected: dict[str, float]) -> Known:
        item = Question(reply, "self-check", "80413: largest", tasks.solve("80413: largest"))
        return Known(item, [[said(reply)] * n for _, n in self.modes().values()], expected)


def _mark(item: Question, mode: str, sample: int, reply: Completion) -> EvalReply:
    match = ANSWER.fullmatch(reply.text)
    status = "ok" if match else "truncated" if reply.finish == "length" else "none"
    answer = match.group(1) if match else None
    return EvalReply(mode, None, sample, reply.text, answer, status, item.answer, reply.completion_tokens)


def _mode_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    replies = [[reply for reply in row.replies if reply.mode == mode] for row in rows]
    return {
        "answer_accuracy": estimate_clustered([float(r.right) for r in row] for row in replies),
        "parse_rate": estimate_clustered([float(r.answer is not None) for r in row] for row in replies),
        "tokens": estimate_clustered([float(r.tokens) for r in row] for row in replies),
    }


BENCHMARK = WorldAnswers
