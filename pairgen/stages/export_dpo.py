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
from pairgen.stages.judge import judge_messages

Negative = Literal["wrong", "tie", "multiple", "none", "truncated"]


class ExportDpo(RowStage):
    """Up to `per_prompt` preferences per pair and order, drawn from all right x wrong combinations.

    The kept judgment is always the first right one. `negatives` says which kinds of failure may be
    the rejected side. Verdict-only twins are made of a share of the wrong-verdict preferences.
    """

    reads: ClassVar[type] = Judged
    writes: ClassVar[type] = Preference

    prompt: Prompt = shipped("judge.md")
    per_prompt: int = Field(default=1, ge=1)
    negatives: tuple[Negative, ...] = ("wrong", "tie", "multiple", "none", "truncated")
    verdict_only: float = Field(default=0.0, ge=0, le=1)
    verdict_prompt: Prompt = shipped("judge_verdict_only.md")

    def run(self, rows: Iterator[Judged]) -> Iterator[Preference | Drop]:
        for row in rows:
            made = [p for order in ORDERS for p in self._of_order(row, order)]
            yield from made
            if not made:
                yield Drop(row.id, self.id, "no_contrast", "no right and wrong judgment in one order", failed=False)

    def _of_order(self, row: Judged, order: Order) -> Iterator[Preference]:
        judgments = [j for j in row.judgments if j.order == order]
        if not any(j.kept for j in judgments):
            return
        right = sorted((j for j in judgments if j.agrees), key=lambda j: not j.kept)
        wrong = [j for j in judgments if not j.agrees and _reason(j) in self.negatives]
        drawn = sorted(
            ((r, w) for r in right for w in wrong),
            key=lambda rw: (not rw[0].kept, content_id(str(self.seed), row.id, str(rw[0].sample), str(rw[1].sample))),
        )
        for good, bad in drawn[: self.per_prompt]:
            yield self._preference(row, good, bad, "judgment", good.text, bad.text)
            if _reason(bad) == "wrong" and is_twin(self.seed, row.id, order, self.verdict_only):
                yield self._preference(row, good, bad, "verdict-only", f"[[{good.verdict}]]", f"[[{bad.verdict}]]")

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
