"""Answer each instruction: `n` samples of the engine's own response."""

from typing import ClassVar

from pydantic import Field

from pairgen.checks import is_refusal
from pairgen.engine import Completion, Request, Sampling
from pairgen.prompts import Prompt
from pairgen.records import Candidates, Drop, Instruction, Response
from pairgen.stage import LLMStage, row_seed
from pairgen.stages._pairing import drawn


class Respond(LLMStage):
    """Sample answers. Without a `prompt` the conversation is sent as it is.

    An answer that was cut or filtered, is empty or refuses is left out; a row with no answer left is
    dropped with the first reason.
    """

    reads: ClassVar[type] = Instruction
    writes: ClassVar[type] = Candidates
    fills: ClassVar[frozenset[str]] = frozenset({"instruction"})
    parts: ClassVar[frozenset[str]] = frozenset({"text"})
    version: ClassVar[int] = 2

    prompt: Prompt | None = None
    n: int = Field(default=1, ge=1)
    sampling: Sampling = Sampling()
    keep_refusals: bool = False

    def ask(self, row: Instruction) -> list[Request]:
        messages = row.messages if self.prompt is None else self.prompt.render(instruction=row.text)
        return [Request(messages, self.sampling, row_seed(self.seed, row.id), n=self.n)]

    def read(self, row: Instruction, replies: list[list[Completion]]) -> list[Candidates | Drop]:
        faults = [self._fault(reply) for reply in replies[0]]
        seed = row_seed(self.seed, row.id)
        kept = tuple(
            Response(r.text, self.engine, r.finish, r.completion_tokens, sampled=drawn(self.sampling, seed, index))
            for index, (r, fault) in enumerate(zip(replies[0], faults, strict=True)) if fault is None
        )
        if kept:
            return [Candidates(row.id, row, kept)]
        return [Drop(row.id, self.id, faults[0] or "empty", raw=replies[0][0].text)]

    def _fault(self, reply: Completion) -> str | None:
        if reply.finish != "stop":
            return "truncated" if reply.finish == "length" else reply.finish
        if not reply.text.strip():
            return "empty"
        return "refusal" if not self.keep_refusals and is_refusal(reply.text) else None


STAGE = Respond
