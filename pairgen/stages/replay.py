"""General data against forgetting: the model's own earlier replies, as demonstrations.

Nothing here is labelled: the seed model's answers are what training must not lose.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from pairgen.prompts import Prompt
from pairgen.records import Candidates, Demonstration, Drop, Message, Messages, content_id
from pairgen.stage import RowStage


class Replay(RowStage):
    """Answers as demonstrations: `n` rows drawn by content, all of them by default.

    `prompt` must be the one the answers were sampled with (None: the conversation as it is).
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Demonstration
    fills: ClassVar[frozenset[str]] = frozenset({"instruction"})
    whole: ClassVar[bool] = True

    prompt: Prompt | None = None
    n: int | None = Field(default=None, ge=1)

    def run(self, rows: Iterator[Candidates]) -> Iterator[Demonstration | Drop]:
        ranked = sorted(rows, key=lambda row: content_id(str(self.seed), "replay", row.id))
        for rank, row in enumerate(ranked):
            if self.n is not None and rank >= self.n:
                yield Drop(row.id, self.id, "not_sampled", failed=False)
            else:
                reply = Message("assistant", row.responses[0].text)
                yield Demonstration(content_id(row.id, "replay"), (*self._prompt(row), reply), "replay")

    def _prompt(self, row: Candidates) -> Messages:
        if self.prompt is None:
            return row.instruction.messages
        return self.prompt.render(instruction=row.instruction.text)


STAGE = Replay
