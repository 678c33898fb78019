"""What is wrong with an answer, said by a critic: the first step of a reviser that is a system.

critique -> revise (prompt: revise_critique.md) -> verify. CLAIR asks one model for all of it in one reply.
"""

from dataclasses import replace
from typing import ClassVar

from pairgen.engine import Completion, Request, Sampling
from pairgen.prompts import Prompt, shipped
from pairgen.records import Candidates, Drop, Response
from pairgen.stage import LLMStage, row_seed
from pairgen.stages._pairing import Fault, finish_fault

NO_FAULT = "no fault"


class Critique(LLMStage):
    """Criticise each answer. Answers the critic finds no fault with leave, as do unusable critiques.

    A row with no criticised answer left is dropped with the first answer's reason: no_fault, truncated,
    content_filter or empty.
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Candidates
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer"})
    parts: ClassVar[frozenset[str]] = frozenset({"text"})

    prompt: Prompt = shipped("critique.md")
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=1024)

    def ask(self, row: Candidates) -> list[Request]:
        return [
            Request(
                self.prompt.render(instruction=row.instruction.text, answer=response.text.strip()),
                self.sampling, row_seed(self.seed, row.id, response.text),
            )
            for response in row.responses
        ]

    def read(self, row: Candidates, replies: list[list[Completion]]) -> list[Candidates | Drop]:
        faults = [finish_fault(samples[0]) or _faultless(samples[0].text) for samples in replies]
        kept: list[Response] = [
            replace(response, critique=samples[0].text.strip())
            for response, samples, fault in zip(row.responses, replies, faults, strict=True) if fault is None
        ]
        if kept:
            return [replace(row, responses=tuple(kept))]
        first = next(fault for fault in faults if fault is not None)
        return [first.drop(row.id, self.id, replies[0][0].text)]


def _faultless(text: str) -> Fault | None:
    said = text.strip(" .*_\"'\n").casefold()
    return Fault("no_fault", failed=False) if said == NO_FAULT else None


STAGE = Critique
