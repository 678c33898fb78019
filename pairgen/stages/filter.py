"""Rejection sampling: mark one judgment per pair and order that agrees with the construction.

Pairs with no such judgment leave; so do pairs nearly every judgment contradicts, as likely failures
of the construction. Then the labels A and B are balanced without splitting the two orders of a pair.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pairgen.records import ORDERS, Drop, Judged, Judgment, Order, content_id, gold_label
from pairgen.stage import RowStage


class Filter(RowStage):
    """Mark the judgments to train on (`kept`); rows with none are dropped.

    `keep: random` is the control experiment: it marks readable judgments without looking at what the
    construction says. `min_agreement` quarantines pairs whose share of agreeing judgments is below
    it. `both_orders` asks for an agreeing judgment in each order. `quotes_answer` keeps only
    judgments that quote the answer their verdict names, a label-free check of the reasoning.
    """

    reads: ClassVar[type] = Judged
    writes: ClassVar[type] = Judged
    whole: ClassVar[bool] = True
    version: ClassVar[int] = 2

    keep: Literal["agreeing", "random"] = "agreeing"
    pick: Literal["random", "shortest"] = "random"
    min_agreement: float = Field(default=0.0, ge=0, le=1)
    max_agreement: float = Field(default=1.0, ge=0, le=1)
    both_orders: bool = False
    quotes_answer: bool = False
    balance: bool = True

    @model_validator(mode="after")
    def _range(self) -> "Filter":
        if self.min_agreement > self.max_agreement:
            raise ValueError("min_agreement is above max_agreement: nothing could be kept")
        return self

    def run(self, rows: Iterator[Judged]) -> Iterator[Judged | Drop]:
        kept: list[Judged] = []
        for row in rows:
            marked = self._mark(row)
            if isinstance(marked, Drop):
                yield marked
            else:
                kept.append(marked)
        surplus = self._surplus(kept) if self.balance else set()
        for row in kept:
            yield Drop(row.id, self.id, "balance", failed=False) if row.id in surplus else row

    def _mark(self, row: Judged) -> Judged | Drop:
        """The row with its picks marked, or why it leaves."""
        if all(j.status != "ok" for j in row.judgments):
            return Drop(row.id, self.id, "unparsed", raw=row.judgments[0].text if row.judgments else None)
        agreement = sum(j.agrees for j in row.judgments) / len(row.judgments)
        if self.keep == "agreeing":
            if agreement == 0:
                return Drop(row.id, self.id, "none_agree", failed=False)
            if not self.min_agreement <= agreement <= self.max_agreement:
                return Drop(row.id, self.id, "agreement", f"{agreement:.3f}", failed=False)
        picks = self._picks(row)
        if not picks or (self.both_orders and len(picks) < 2):
            return Drop(row.id, self.id, "one_order" if picks else "no_pick", failed=False)
        return replace(
            row, judgments=tuple(replace(j, kept=(j.order, j.sample) in picks) for j in row.judgments)
        )

    def _picks(self, row: Judged) -> set[tuple[Order, int]]:
        picks: set[tuple[Order, int]] = set()
        for order in ORDERS:
            fitting = [j for j in row.judgments if j.order == order and self._fits(row, j)]
            if fitting:
                best = min(fitting, key=lambda j: self._rank(row, j))
                picks.add((best.order, best.sample))
        return picks

    def _fits(self, row: Judged, judgment: Judgment) -> bool:
        if judgment.status != "ok" or (self.keep == "agreeing" and not judgment.agrees):
            return False
        return not self.quotes_answer or _winner(row, judgment) in judgment.text

    def _rank(self, row: Judged, judgment: Judgment) -> tuple[int, str]:
        """Sort key of the pick: its length when the shortest is wanted, then a seeded draw."""
        draw = content_id(str(self.seed), row.id, judgment.order, str(judgment.sample))
        return (judgment.tokens if self.pick == "shortest" else 0), draw

    def _surplus(self, rows: list[Judged]) -> set[str]:
        """Pairs to leave out so that A and B are told equally often.

        A pair is left out whole. One that holds an A and a B is never touched; pairs that hold the
        same label twice go first, so that one label more or less can make the rest even.
        """
        lean = {row.id: sum(1 if j.verdict == "A" else -1 for j in row.judgments if j.kept) for row in rows}
        total, out = sum(lean.values()), set()
        for row_id in sorted(lean, key=lambda i: (-abs(lean[i]), content_id(str(self.seed), "balance", i))):
            if lean[row_id] * total > 0 and abs(lean[row_id]) <= abs(total):
                out.add(row_id)
                total -= lean[row_id]
        return out


def _winner(row: Judged, judgment: Judgment) -> str:
    """The text of the answer a verdict names, by the slot it was shown in."""
    chosen_slot = gold_label(judgment.order)
    return row.pair.chosen if judgment.verdict == chosen_slot else row.pair.rejected


STAGE = Filter
