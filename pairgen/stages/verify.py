"""Keep a pair only where a judge agrees that chosen is better: the last step of a reviser that is a system.

A revision is not better because it was asked to be. Both orders are asked by default, so that a judge
that always picks one slot lets nothing through.
"""

from typing import ClassVar, Literal

from pairgen.engine import Completion, Request
from pairgen.records import Drop, Pair
from pairgen.stages._pairing import Fault
from pairgen.stages._picking import Picking


class Verify(Picking):
    """Judge each pair; chosen must win in every order that is asked, or the pair leaves as `not_better`.

    A judgment that is cut, filtered, a tie or unreadable drops the pair too, with the reply.
    """

    reads: ClassVar[type] = Pair
    writes: ClassVar[type] = Pair

    orders: Literal["random", "both", "fixed"] = "both"

    def ask(self, row: Pair) -> list[Request]:
        return self.requests(row.id, row.instruction.text, row.chosen, row.rejected)

    def read(self, row: Pair, replies: list[list[Completion]]) -> list[Pair | Drop]:
        picks = self.picked(row.id, replies)
        if isinstance(picks, Drop):
            return [picks]
        if all(picks):
            return [row]
        lost = picks.index(False)
        detail = f"rejected was picked in {picks.count(False)} of {len(picks)} orders"
        return [Fault("not_better", detail, failed=False).drop(row.id, self.id, replies[lost][0].text)]


STAGE = Verify
