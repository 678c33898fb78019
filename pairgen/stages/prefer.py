"""On-policy judge pairs: the policy answers twice, a judge picks the better answer.

One of CLAIR's three datasets to compare with (arXiv 2408.06266, section 3; its judge prompt is Table 3).
How the authors ordered the two answers and read the reply is not published: the order is random here
and kept with the pair, or both orders must agree.
"""

from typing import ClassVar

from pairgen.checks import contrast
from pairgen.engine import Completion, Request
from pairgen.records import Candidates, Drop, Pair, content_id
from pairgen.stages._pairing import Fault
from pairgen.stages._picking import Picking


class Prefer(Picking):
    """Pick the better of the first two answers; the other is rejected.

    Rows with one answer or two equal ones are dropped unasked (one_answer, identical); judgments that
    are cut, filtered or unreadable, ties, and orders that disagree (`disagreement`) are dropped with
    the judge's reply.
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Pair

    def ask(self, row: Candidates) -> list[Request]:
        if self._fault(row) is not None:
            return []
        first, second = (r.text.strip() for r in row.responses[:2])
        return self.requests(row.id, row.instruction.text, first, second)

    def _fault(self, row: Candidates) -> Fault | None:
        if len(row.responses) < 2:
            return Fault("one_answer", "the other sample was left out")
        first, second = (r.text.strip() for r in row.responses[:2])
        return Fault("identical", failed=False) if first == second else None

    def read(self, row: Candidates, replies: list[list[Completion]]) -> list[Pair | Drop]:
        fault = self._fault(row)
        if fault is not None:
            return [fault.drop(row.id, self.id, None)]
        picks = self.picked(row.id, replies)
        if isinstance(picks, Drop):
            return [picks]
        raw = "\n\n[the other order]\n\n".join(samples[0].text for samples in replies)
        if len(set(picks)) > 1:
            return [Fault("disagreement", "each order picks another", failed=False).drop(row.id, self.id, raw)]
        return [self._pair(row, first_wins=picks[0], raw=raw, rationale=replies[0][0].text.strip())]

    def _pair(self, row: Candidates, *, first_wins: bool, raw: str, rationale: str) -> Pair:
        first, second = row.responses[:2]
        won, lost = (first, second) if first_wins else (second, first)
        chosen, rejected = won.text.strip(), lost.text.strip()
        return Pair(
            content_id(row.id, chosen, rejected), row.instruction, chosen, rejected, "on-policy-judge", None,
            won.model, lost.model, contrast(chosen, rejected), raw,
            rationale=rationale, order=self._order(row.id, first_wins),
            chosen_score=won.score, rejected_score=lost.score,
            chosen_sampled=won.sampled, rejected_sampled=lost.sampled,
        )

    def _order(self, row_id: str, first_wins: bool) -> str:
        """Where the winner stood when the judge was shown it: chosen_first, rejected_first or both."""
        shown = self.shown(row_id)
        if len(shown) > 1:
            return "both"
        return "chosen_first" if (shown[0] == "chosen_first") == first_wins else "rejected_first"


STAGE = Prefer
