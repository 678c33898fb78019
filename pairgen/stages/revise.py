"""CLAIR: a stronger model minimally improves the policy's own answer, and the two make a pair.

arXiv 2408.06266, section 2: the winner differs from the loser only where it is better, so the contrast
is what training learns from. The paper leaves open how much change is best: `intensity` and the stage
`revise-again` vary it, and every pair carries its contrast.
"""

from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from pairgen.checks import contrast
from pairgen.engine import Completion, Request, Sampling
from pairgen.parsers import PARSERS
from pairgen.prompts import Prompt
from pairgen.records import Candidates, Drop, Pair, Response, content_id
from pairgen.stage import FormStage, row_seed
from pairgen.stages._pairing import CLAIR_SAMPLING, checked_ratio, drawn, finish_fault, rewrite_fault

PROMPTS = {"minimal": "revise.md", "moderate": "revise_moderate.md", "free": "revise_free.md"}


class Rewriting(FormStage):
    """What the stages share whose engine writes an answer anew: the prompt, and how its reply is read."""

    writes: ClassVar[type] = Pair
    parts: ClassVar[frozenset[str]] = frozenset({"revision"})

    intensity: Literal["minimal", "moderate", "free"] = "minimal"
    prompt: Prompt
    parser: Literal["revision", "revision-notebook"] | None = None
    sampling: Sampling = CLAIR_SAMPLING
    length_ratio: tuple[float, float] = (0.5, 2.0)

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, values: Any) -> Any:
        if isinstance(values, dict) and "prompt" not in values:
            name = PROMPTS.get(str(values.get("intensity", "minimal")), PROMPTS["minimal"])
            return {**values, "prompt": name}
        return values

    @field_validator("length_ratio")
    @classmethod
    def _bounds(cls, value: tuple[float, float]) -> tuple[float, float]:
        return checked_ratio(value)

    def has_form(self, reply: Completion) -> bool:
        return self._parts(reply) is not None

    def _parts(self, reply: Completion) -> dict[str, str] | None:
        return self.prompt.read(reply.text) if self.parser is None else PARSERS[self.parser](reply.text)

    def rewritten(self, reply: Completion, original: str, task: str, name: str) -> dict[str, str] | Drop:
        """The parts of a reply whose revision can stand beside `original`, or why it leaves."""
        fault = finish_fault(reply)
        if fault is not None:
            return fault.drop(name, self.id, reply.text)
        parts = self._parts(reply)
        if parts is None:
            return Drop(name, self.id, "unparsed", "no marked revision in the reply", raw=reply.text)
        parts = {key: text.strip() for key, text in parts.items()}
        fault = rewrite_fault(parts["revision"], original, task, self.length_ratio)
        return parts if fault is None else fault.drop(name, self.id, reply.text)


class Revise(Rewriting):
    """Revise each answer; the revision is chosen, the answer rejected.

    A reply is dropped as truncated, content_filter, unparsed, empty, unchanged, refusal, identifier_leak
    or length_ratio (revision / answer in characters outside `length_ratio`; `[0.5, 1.0]` keeps revisions
    from growing longer), and kept raw. `parser: revision-notebook` reads as the paper's notebook does. A
    prompt with a hole for a critique needs the stage `critique` above.
    """

    reads: ClassVar[type] = Candidates
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer", "critique"})

    def ask(self, row: Candidates) -> list[Request]:
        return [self._request(row, response) for response in self._answers(row)]

    def read(self, row: Candidates, replies: list[list[Completion]]) -> list[Pair | Drop]:
        answers = self._answers(row)
        if not answers:
            return [Drop(row.id, self.id, "no_critique", "the prompt works from one")]
        return [
            self._made(row, response, replies[index][0], f"{row.id}:{index}")
            for index, response in enumerate(answers)
        ]

    def _answers(self, row: Candidates) -> list[Response]:
        needs_critique = "critique" in self.prompt.vars
        return [r for r in row.responses if r.critique is not None or not needs_critique]

    def _request(self, row: Candidates, response: Response) -> Request:
        messages = self.prompt.render(
            instruction=row.instruction.text, answer=response.text.strip(), critique=response.critique or ""
        )
        return Request(messages, self.sampling, self._seed(row, response))

    def _seed(self, row: Candidates, response: Response) -> int:
        return row_seed(self.seed, row.id, response.text)

    def _made(self, row: Candidates, response: Response, reply: Completion, name: str) -> Pair | Drop:
        answer, task = response.text.strip(), row.instruction.text
        rewritten = self.rewritten(reply, answer, task, name)
        if isinstance(rewritten, Drop):
            return rewritten
        revision = rewritten["revision"]
        return Pair(
            content_id(row.id, revision, answer), row.instruction, revision, answer, "clair", None,
            self.engine, response.model, contrast(revision, answer), reply.text,
            rationale=rewritten.get("rationale"), rounds=1, rejected_score=response.score,
            chosen_sampled=drawn(self.sampling, self._seed(row, response)), rejected_sampled=response.sampled,
        )


STAGE = Revise
