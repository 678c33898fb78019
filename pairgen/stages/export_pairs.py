"""Preferences of pairs: the conversation, then the chosen and the rejected answer, as a trainer reads them."""

from collections.abc import Iterator
from typing import ClassVar

from pairgen.records import Drop, Message, Pair, Preference, content_id
from pairgen.stage import RowStage
from pairgen.stages._ids import IdSet

REASONS = {
    "clair": "before_revision", "on-policy-judge": "judged_worse", "off-policy-judge": "lower_score",
    "stronger-preferred": "weaker_model", "worsened": "error_injected", "verifiable": "wrong",
}
"""Why the rejected side of each construction is the worse one."""


class ExportPairs(RowStage):
    """One preference per pair. A pair that several sources hold is exported once."""

    reads: ClassVar[type] = Pair
    writes: ClassVar[type] = Preference

    def run(self, rows: Iterator[Pair]) -> Iterator[Preference | Drop]:
        seen = IdSet()
        for row in rows:
            if seen.add(row.id):
                yield preference(row)
            else:
                yield Drop(row.id, self.id, "duplicate", failed=False)


def preference(row: Pair) -> Preference:
    """A pair as a preference; its kind is the construction."""
    return Preference(
        content_id(row.id, "preference"), row.instruction.messages,
        (Message("assistant", row.chosen),), (Message("assistant", row.rejected),),
        kind=row.construction, reason=REASONS.get(row.construction, row.construction), pair_id=row.id,
        order=row.order, chosen_score=row.chosen_score, rejected_score=row.rejected_score,
    )


STAGE = ExportPairs
