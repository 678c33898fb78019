"""Off-policy judge pairs: the best against the worst of answers that the data gives with their scores.

CLAIR's off-policy dataset takes UltraFeedback's answers this way: the first with the highest
`overall_score` against the first with the lowest (the notebook of arXiv 2408.06266).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from pairgen.checks import contrast
from pairgen.records import Drop, Instruction, Pair, Response, content_id
from pairgen.stage import RowStage


class BestWorst(RowStage):
    """Pair the first best with the first worst scored answer (`data.answers` names their column).

    Dropped: no_answers, one_answer, unscored (fewer than two scores), equal_scores (a gap of no more
    than `min_gap`) and identical texts. An answer without a score takes no part.
    """

    reads: ClassVar[type] = Instruction
    writes: ClassVar[type] = Pair

    min_gap: float = Field(default=0.0, ge=0)

    def run(self, rows: Iterator[Instruction]) -> Iterator[Pair | Drop]:
        for row in rows:
            scored = [answer for answer in row.answers if answer.score is not None and answer.text.strip()]
            reason = self._unfit(row, scored)
            yield _pair(row, scored) if reason is None else self._drop(row, reason)

    def _unfit(self, row: Instruction, scored: list[Response]) -> str | None:
        if len(row.answers) < 2:
            return "one_answer" if row.answers else "no_answers"
        if len(scored) < 2:
            return "unscored"
        best, worst = _ends(scored)
        if _score(best) - _score(worst) <= self.min_gap:
            return "equal_scores"
        return "identical" if best.text.strip() == worst.text.strip() else None

    def _drop(self, row: Instruction, reason: str) -> Drop:
        missing = "the data gives no answers; data.answers names their column" if reason == "no_answers" else ""
        return Drop(row.id, self.id, reason, missing, failed=reason in ("no_answers", "unscored"))


def _score(answer: Response) -> float:
    assert answer.score is not None
    return answer.score


def _ends(scored: list[Response]) -> tuple[Response, Response]:
    """The first best and the first worst answer."""
    return max(scored, key=_score), min(scored, key=_score)


def _pair(row: Instruction, scored: list[Response]) -> Pair:
    best, worst = _ends(scored)
    chosen, rejected = best.text.strip(), worst.text.strip()
    return Pair(
        # the answers stay in the data step: once a million pairs is enough
        content_id(row.id, chosen, rejected), replace(row, answers=()), chosen, rejected, "off-policy-judge",
        None, best.model, worst.model, contrast(chosen, rejected), "",
        chosen_score=best.score, rejected_score=worst.score,
    )


STAGE = BestWorst
