"""Label each instruction with one of 15 categories, a complexity from 1 to 10 and a length bucket.

Self-Taught Evaluators, Figure 7: the categories the instruction selection works on.
"""

import re
from dataclasses import replace
from typing import ClassVar

from pairgen.engine import Completion, Request, Sampling
from pairgen.prompts import Prompt, shipped
from pairgen.records import Drop, Instruction
from pairgen.stage import FormStage, row_seed


class Tag(FormStage):
    """Tag instructions. A reply that cannot be read drops the row as `unparsed`, with the reply kept."""

    reads: ClassVar[type] = Instruction
    writes: ClassVar[type] = Instruction
    fills: ClassVar[frozenset[str]] = frozenset({"instruction"})
    parts: ClassVar[frozenset[str]] = frozenset({"category", "complexity", "length"})

    prompt: Prompt = shipped("tag.md")
    sampling: Sampling = Sampling(temperature=0, max_tokens=64)

    def ask(self, row: Instruction) -> list[Request]:
        messages = self.prompt.render(instruction=row.text)
        return [Request(messages, self.sampling, row_seed(self.seed, row.id))]

    def has_form(self, reply: Completion) -> bool:
        return self._tags(reply) is not None

    def _tags(self, reply: Completion) -> dict[str, str] | None:
        tags = self.prompt.read(reply.text)
        return tags if tags and re.fullmatch("[0-9]{1,2}", tags["complexity"]) else None

    def read(self, row: Instruction, replies: list[list[Completion]]) -> list[Instruction | Drop]:
        reply = replies[0][0]
        tags = self._tags(reply)
        if tags is None:
            detail = "no category, complexity and length in the reply"
            return [Drop(row.id, self.id, "unparsed", detail, raw=reply.text)]
        complexity = int(tags["complexity"])
        return [replace(row, category=tags["category"], complexity=complexity, length=tags["length"])]


STAGE = Tag
