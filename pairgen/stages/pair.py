"""Make a pair: the policy's answer is chosen, and one more call writes an answer that should be worse.

`similar-instruction` (Self-Taught Evaluators, section 3.2): the call writes a modified instruction x'
and a good answer to x', which is a poor answer to x. `direct-worse` (its section 6.2 ablation): the
call is asked for a worse answer outright.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from pairgen.checks import contrast, is_refusal, leaks_marker, normalised
from pairgen.engine import Completion, Request, Sampling
from pairgen.prompts import Prompt, load_prompt
from pairgen.records import Candidates, Drop, Pair, content_id
from pairgen.stage import LLMStage, row_seed

PROMPTS = {"similar-instruction": "similar.md", "direct-worse": "worse.md"}


class MakePair(LLMStage):
    """Write `n` rejected answers per instruction; each good one makes a pair.

    A reply is dropped as truncated, unparsed, unchanged_instruction, unchanged_answer, marker_leak,
    refusal or length_ratio (rejected / chosen characters outside `length_ratio`), and kept raw.
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Pair
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer"})

    construction: Literal["similar-instruction", "direct-worse"] = "similar-instruction"
    prompt: Prompt
    n: int = Field(default=1, ge=1)
    sampling: Sampling = Sampling()
    length_ratio: tuple[float, float] = (0.2, 5.0)

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, values: Any) -> Any:
        if isinstance(values, dict) and "prompt" not in values:
            name = PROMPTS.get(values.get("construction", "similar-instruction"))
            return values if name is None else {**values, "prompt": load_prompt(name)}
        return values

    def ask(self, row: Candidates) -> list[Request]:
        messages = self.prompt.render(instruction=row.instruction.text, answer=row.responses[0].text)
        return [Request(messages, self.sampling, row_seed(self.seed, row.id), n=self.n)]

    def read(self, row: Candidates, replies: list[list[Completion]]) -> list[Pair | Drop]:
        out: list[Pair | Drop] = []
        seen: set[str] = set()
        for index, reply in enumerate(replies[0]):
            made = self._pair(row, index, reply)
            if made.id in seen if isinstance(made, Pair) else False:
                made = Drop(f"{row.id}:{index}", self.id, "duplicate", failed=False, raw=reply.text)
            elif isinstance(made, Pair):
                seen.add(made.id)
            out.append(made)
        return out

    def _pair(self, row: Candidates, index: int, reply: Completion) -> Pair | Drop:
        parts = None if reply.finish == "length" else self.prompt.read(reply.text)
        fault = self._fault(row, reply, parts)
        if parts is None or fault is not None:
            return Drop(f"{row.id}:{index}", self.id, fault or "unparsed", raw=reply.text)
        chosen, rejected, modified = row.responses[0], parts["answer"], parts.get("modified")
        return Pair(
            id=content_id(row.id, chosen.text, rejected), instruction=row.instruction,
            chosen=chosen.text, rejected=rejected, construction=self.construction, modified=modified,
            chosen_model=chosen.model, rejected_model=self.engine,
            contrast=contrast(chosen.text, rejected), raw=reply.text,
        )

    def _fault(self, row: Candidates, reply: Completion, parts: dict[str, str] | None) -> str | None:
        if reply.finish == "length":
            return "truncated"
        if parts is None:
            return "unparsed"
        chosen, rejected = row.responses[0].text, parts["answer"]
        if "modified" in parts and normalised(parts["modified"]) == normalised(row.instruction.text):
            return "unchanged_instruction"
        if normalised(rejected) == normalised(chosen):
            return "unchanged_answer"
        if leaks_marker(rejected):
            return "marker_leak"
        if is_refusal(rejected):
            return "refusal"
        low, high = self.length_ratio
        return None if low <= len(rejected) / max(1, len(chosen)) <= high else "length_ratio"


STAGE = MakePair
