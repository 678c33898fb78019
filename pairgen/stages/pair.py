"""Make a pair: the policy's answer is chosen, and one more call writes an answer that should be worse.

`similar-instruction` (Self-Taught Evaluators, section 3.2): the call writes a modified instruction x'
and a good answer to x', which is a poor answer to x. `direct-worse` (its section 6.2 ablation): the
call is asked for a worse answer outright.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from pairgen.checks import contrast, is_refusal, leaks_marker, normalised
from pairgen.engine import Completion, Request, Sampling
from pairgen.prompts import Prompt
from pairgen.records import Candidates, Drop, Pair, content_id
from pairgen.stage import FormStage, row_seed
from pairgen.stages._pairing import drawn

PROMPTS = {"similar-instruction": "similar.md", "direct-worse": "worse.md"}


class MakePair(FormStage):
    """Write `n` rejected answers per instruction; each good one makes a pair.

    A reply is dropped as truncated, content_filter, unparsed, unchanged_instruction, unchanged_answer,
    marker_leak, refusal or length_ratio (rejected / chosen characters outside `length_ratio`), and
    kept raw. `prompt` may map each construction to its own file. Both answers lose outer blanks, so
    that none tells them apart.
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Pair
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer"})
    parts: ClassVar[frozenset[str]] = frozenset({"answer"})
    version: ClassVar[int] = 3

    construction: Literal["similar-instruction", "direct-worse"] = "similar-instruction"
    prompt: Prompt
    n: int = Field(default=1, ge=1)
    sampling: Sampling = Sampling()
    length_ratio: tuple[float, float] = (0.2, 5.0)

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("construction", "similar-instruction") not in PROMPTS:
            return values
        construction = values.get("construction", "similar-instruction")
        prompt = values.get("prompt", PROMPTS)
        if isinstance(prompt, dict) and set(prompt) <= set(PROMPTS):
            return {**values, "prompt": {**PROMPTS, **prompt}[construction]}
        return values

    @model_validator(mode="after")
    def _prompt_constructs(self) -> "MakePair":
        if ("modified" in self.prompt.parts) != (self.construction == "similar-instruction"):
            raise ValueError(
                f"prompt: {self.prompt.name} is not for construction {self.construction!r}, which "
                f"{'writes' if self.construction == 'similar-instruction' else 'has no'} modified instruction"
            )
        if not 0 <= self.length_ratio[0] <= self.length_ratio[1]:
            raise ValueError("length_ratio: the lower end first")
        return self

    def ask(self, row: Candidates) -> list[Request]:
        messages = self.prompt.render(instruction=row.instruction.text, answer=row.responses[0].text.strip())
        return [Request(messages, self.sampling, row_seed(self.seed, row.id), n=self.n)]

    def has_form(self, reply: Completion) -> bool:
        return self.prompt.read(reply.text) is not None

    def read(self, row: Candidates, replies: list[list[Completion]]) -> list[Pair | Drop]:
        out: list[Pair | Drop] = []
        seen: set[str] = set()
        for index, reply in enumerate(replies[0]):
            made = self._pair(row, index, reply)
            if isinstance(made, Pair) and made.id in seen:
                made = Drop(f"{row.id}:{index}", self.id, "duplicate", failed=False, raw=reply.text)
            elif isinstance(made, Pair):
                seen.add(made.id)
            out.append(made)
        return out

    def _pair(self, row: Candidates, index: int, reply: Completion) -> Pair | Drop:
        parts = self.prompt.read(reply.text) if reply.finish == "stop" else None
        if parts is None:
            fault = {"stop": "unparsed", "length": "truncated"}.get(reply.finish, reply.finish)
            return Drop(f"{row.id}:{index}", self.id, fault, raw=reply.text)
        chosen, rejected = row.responses[0].text.strip(), parts["answer"].strip()
        modified = parts.get("modified")
        if problem := self._fault(row.instruction.text, modified, chosen, rejected):
            return Drop(f"{row.id}:{index}", self.id, problem, raw=reply.text)
        return Pair(
            id=content_id(row.id, chosen, rejected), instruction=row.instruction,
            chosen=chosen, rejected=rejected, construction=self.construction, modified=modified,
            chosen_model=row.responses[0].model, rejected_model=self.engine,
            contrast=contrast(chosen, rejected), raw=reply.text,
            chosen_sampled=row.responses[0].sampled,
            rejected_sampled=drawn(self.sampling, row_seed(self.seed, row.id), index),
        )

    def _fault(self, instruction: str, modified: str | None, chosen: str, rejected: str) -> str | None:
        """Why the two answers make no pair, or None."""
        if not rejected:
            return "unparsed"
        if modified is not None and normalised(modified) == normalised(instruction):
            return "unchanged_instruction"
        if normalised(rejected) == normalised(chosen):
            return "unchanged_answer"
        if leaks_marker(rejected) or leaks_marker(modified or ""):
            return "marker_leak"
        if is_refusal(rejected):
            return "refusal"
        low, high = self.length_ratio
        return None if low <= len(rejected) / max(1, len(chosen)) <= high else "length_ratio"


STAGE = MakePair
