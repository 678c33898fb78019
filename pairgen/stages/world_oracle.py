"""Judgments written from the embedded world's ground truth: the ceiling the loop is measured against.

Only the oracle study uses it. No other stage may read the ground truth, and a test holds that.
"""

from collections.abc import Iterator
from typing import ClassVar

from pairgen.errors import UsageError
from pairgen.records import ORDERS, Drop, Judged, Judgment, Order, Pair, gold_label
from pairgen.stage import RowStage


class WorldOracle(RowStage):
    """One right judgment per order, in the seed model's own form: derivation, option, verdict.

    Pairs whose chosen answer is not the true one, or whose rejected one is, are dropped as mislabelled.
    """

    reads: ClassVar[type] = Pair
    writes: ClassVar[type] = Judged

    def run(self, rows: Iterator[Pair]) -> Iterator[Judged | Drop]:
        from pairgen.world.tasks import solve

        for row in rows:
            try:
                truth = solve(row.instruction.text)
            except UsageError as error:
                yield Drop(row.id, self.id, "not_of_the_world", str(error))
                continue
            if row.chosen != truth or row.rejected == truth:
                yield Drop(row.id, self.id, "mislabelled", f"truth {truth}", failed=False)
            else:
                yield Judged(row.id, row, tuple(_judgment(row, order) for order in ORDERS))


def _judgment(row: Pair, order: Order) -> Judgment:
    label = gold_label(order)
    text = f"{row.chosen} ({label}) [[{label}]]"
    return Judgment(order, 0, text, label, "ok", label, len(text.split()))


STAGE = WorldOracle
