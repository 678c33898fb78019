"""Stronger-preferred pairs: a stronger model's own answer over the policy's, with no judge.

CLAIR's ablation of contrastiveness (arXiv 2408.06266, section 3): as good a winner, but one that shares
nothing with the loser.
"""

from typing import ClassVar

from pydantic import field_validator

from pairgen.checks import contrast, is_refusal
from pairgen.engine import Completion, Request, Sampling
from pairgen.prompts import Prompt
from pairgen.records import Candidates, Drop, Pair, content_id
from pairgen.stage import LLMStage, row_seed
from pairgen.stages._pairing import CLAIR_SAMPLING, Fault, checked_ratio, drawn, finish_fault, length_fault


class Stronger(LLMStage):
    """Answer the conversation again with a stronger engine; its answer is chosen, the policy's first rejected.

    Dropped: truncated, content_filter, empty, refusal, identical, and length_ratio where one is given
    (stronger / policy in characters; the paper sets none). Without a `prompt` the conversation is sent
    as it is.
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Pair
    fills: ClassVar[frozenset[str]] = frozenset({"instruction"})
    parts: ClassVar[frozenset[str]] = frozenset({"text"})

    prompt: Prompt | None = None
    sampling: Sampling = CLAIR_SAMPLING
    length_ratio: tuple[float, float] | None = None

    @field_validator("length_ratio")
    @classmethod
    def _bounds(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else checked_ratio(value)

    def ask(self, row: Candidates) -> list[Request]:
        task = row.instruction
        messages = task.messages if self.prompt is None else self.prompt.render(instruction=task.text)
        return [Request(messages, self.sampling, row_seed(self.seed, row.id))]

    def read(self, row: Candidates, replies: list[list[Completion]]) -> list[Pair | Drop]:
        reply, weaker = replies[0][0], row.responses[0]
        chosen, rejected = reply.text.strip(), weaker.text.strip()
        fault = finish_fault(reply) or self._fault(chosen, rejected)
        if fault is not None:
            return [fault.drop(row.id, self.id, reply.text)]
        return [Pair(
            content_id(row.id, chosen, rejected), row.instruction, chosen, rejected, "stronger-preferred",
            None, self.engine, weaker.model, contrast(chosen, rejected), reply.text,
            rejected_score=weaker.score, rejected_sampled=weaker.sampled,
            chosen_sampled=drawn(self.sampling, row_seed(self.seed, row.id)),
        )]

    def _fault(self, chosen: str, rejected: str) -> Fault | None:
        if is_refusal(chosen):
            return Fault("refusal")
        if chosen == rejected:
            return Fault("identical", failed=False)
        return None if self.length_ratio is None else length_fault(chosen, rejected, self.length_ratio)


STAGE = Stronger
