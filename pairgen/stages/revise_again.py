"""Increasing revision: revise a revision, and pair it with the answer everything started from.

CLAIR's paper asks what amount of change is best for training (section 7). Each round changes more, and
its pair keeps the round and the contrast, so datasets of one answer and several distances can be compared.
"""

from typing import ClassVar

from pydantic import Field

from pairgen.checks import contrast, normalised
from pairgen.engine import Completion, Request
from pairgen.records import Drop, Pair, content_id
from pairgen.stage import row_seed
from pairgen.stages._pairing import Fault, drawn
from pairgen.stages.revise import Rewriting


class ReviseAgain(Rewriting):
    """Add round `round` to the pairs of the round before; pairs of other rounds pass through.

    `rounds: K` in a pipeline file writes rounds 2 to K out as steps. Lengths are bounded by the
    first answer's; a round that changes nothing of the one before is dropped as unchanged.
    """

    reads: ClassVar[type] = Pair
    fills: ClassVar[frozenset[str]] = frozenset({"instruction", "answer"})

    round: int = Field(default=2, ge=2)

    def ask(self, row: Pair) -> list[Request]:
        if row.rounds != self.round - 1:
            return []
        messages = self.prompt.render(instruction=row.instruction.text, answer=row.chosen)
        return [Request(messages, self.sampling, row_seed(self.seed, row.id))]

    def read(self, row: Pair, replies: list[list[Completion]]) -> list[Pair | Drop]:
        return [row, self._again(row, replies[0][0])] if replies else [row]

    def _again(self, row: Pair, reply: Completion) -> Pair | Drop:
        name = f"{row.id}:{self.round}"
        rewritten = self.rewritten(reply, row.rejected, row.instruction.text, name)
        if isinstance(rewritten, Drop):
            return rewritten
        revision = rewritten["revision"]
        if normalised(revision) == normalised(row.chosen):
            return Fault("unchanged", failed=False).drop(name, self.id, reply.text)
        return Pair(
            content_id(row.instruction.id, revision, row.rejected), row.instruction, revision, row.rejected,
            row.construction, None, self.engine, row.rejected_model, contrast(revision, row.rejected), reply.text,
            rationale=rewritten.get("rationale"), rounds=self.round, rejected_score=row.rejected_score,
            chosen_sampled=drawn(self.sampling, row_seed(self.seed, row.id)),
            rejected_sampled=row.rejected_sampled,
        )


STAGE = ReviseAgain
