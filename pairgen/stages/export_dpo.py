"""Preferences between judgments: one that agrees with the construction over one that does not.

Self-Taught Evaluators' released recipe: the rejected side is wrong, a tie or unreadable, and the
reason is kept. Both sides answer the same prompt in the same order.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pairgen.prompts import Prompt, shipped
from pairgen.records import ORDERS, Drop, Judged, Judgment, Message, Order, Preference, content_id
from pairgen.stage import RowStage
from pairgen.stages.export_sft import is_twin
from pairgen.stages.judge import JUDGE_HOLES, judge_messages

Negative = Literal["wrong", "tie", "multiple", "none", "truncated"]


class ExportDpo(RowStage):
    """Up to `per_prompt` preferences per pair and order, drawn from all right x wrong combinations.

    Right is what the kept judgment says: the filter decides, this stage never looks at the
    construction. The kept judgment is always the first right one. `negatives` says which kinds of
    failure may be the rejected side. A share of the pairs gets verdict-only twins of its
    wrong-verdict preferences.
    """

    reads: ClassVar[type] = Judged
    writes: ClassVar[type] = Preference
    fills: ClassVar[frozenset[str]] = JUDGE_HOLES
    parts: ClassVar[frozenset[str]] = frozenset({"verdict"})
    version: ClassVar[int] = 2

    prompt: Prompt = shipped("judge.md")
    per_prompt: int = Field(default=1, ge=1)
    negatives: tuple[Negative, ...] = Field(
        default=("wrong", "tie", "multiple", "none", "truncated"), min_length=1
    )
    verdict_only: float = Field(default=0.0, ge=0, le=1)
    verdict_prompt: Prompt = shipped("judge_verdict_only.md")

    def run(self, rows: Iterator[Judged]) -> Iterator[Preference | Drop]:
        for row in rows:
            made = {p.id: p for order in ORDERS for p in self._of_order(row, order)}
            yield from made.values()
            if not made:
                detail = "no right and wrong judgment in one order"
                yield Drop(row.id, self.id, "no_contrast", detail, failed=False)

    def _of_order(self, row: Judged, order: Order) -> Iterator[Preference]:
        twin = is_twin(self.seed, row.id, self.verdict_only)
        for good, bad in self._draws(row, order)[: self.per_prompt]:
            yield self._preference(row, good, bad, "judgment", good.text, bad.text)
            if twin and _reason(bad) == "wrong":
                verdicts = f"[[{good.verdict}]]", f"[[{bad.verdict}]]"
                yield self._preference(row, good, bad, "verdict-only", *verdicts)

    def _draws(self, row: Judged, order: Order) -> list[tuple[Judgment, Judgment]]:
        """Right and wrong judgments of one order, in a seeded order, the kept one's first, no text twice."""
        judgments = [j for j in row.judgments if j.order == order]
        says = next((j.verdict for j in judgments if j.kept), None)
        right = [j for j in judgments if says is not None and j.verdict == says]
        wrong = [j for j in judgments if j.verdict != says and _reason(j) in self.negatives]
        drawn = sorted(((r, w) for r in right for w in wrong), key=lambda rw: self._rank(row, *rw))
        return list({(r.text, w.text): (r, w) for r, w in drawn if r.text != w.text}.values())

    def _rank(self, row: Judged, good: Judgment, bad: Judgment) -> tuple[bool, str]:
        return not good.kept, content_id(str(self.seed), row.id, str(good.sample), str(bad.sample))

    def _preference(
        self, row: Judged, good: Judgment, bad: Judgment, kind: str, chosen: str, rejected: str
    ) -> Preference:
        prompt = self.verdict_prompt if kind == "verdict-only" else self.prompt
        return Preference(
            id=content_id(row.id, good.order, kind, chosen, rejected),
            prompt=judge_messages(prompt, row.pair, good.order),
            chosen=(Message("assistant", chosen),), rejected=(Message("assistant", rejected),),
            kind=kind, reason=_reason(bad), pair_id=row.pair.id, order=good.order,
        )


def _reason(judgment: Judgment) -> str:
    return "wrong" if judgment.status == "ok" else judgment.status


STAGE = ExportDpo
