"""Auto-J's Eval-P (arXiv 2310.05470): 1,392 pairs over 58 scenarios that are won, lost or a tie.

The official agreement counts a pair only when both orders are right; consistency stands beside it.
"""

from collections.abc import Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.filepairs import FilePairs, labelled
from pairgen.evals.filerow import Row
from pairgen.evals.items import PairItem
from pairgen.evals.official import all_shown, both_right, consistent
from pairgen.evals.said import Said
from pairgen.prompts import Prompt, shipped


class AutoJ(FilePairs):
    """testdata_pairwise.jsonl of GAIR-NLP/auto-j: label 0 is response 1, 1 is response 2, 2 is a tie."""

    version: ClassVar[int] = 1
    PARSER: ClassVar[str] = "autoj"

    prompt: Prompt = shipped("judges/autoj.md")

    def key_of(self, row: Row) -> str:
        return str(row.place)

    def items_of(self, row: Row) -> Sequence[PairItem]:
        label = {0: 1, 1: 2, 2: 0}[row.choice("label", (0, 1, 2))]
        answers = (row.text("response 1"), row.text("response 2"))
        return [labelled(self.key_of(row), row.text("scenario"), row.text("prompt"), answers, label)]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Agreement and consistency, over all pairs; of some scenarios alone there are none."""
        pairs = all_shown(rows)
        return super().official(rows) | ({} if self.subset else {
            "autoj_agreement": both_right(pairs), "autoj_consistency": consistent(pairs),
        })

    def said(self, row: Row) -> list[Said] | None:
        """A row of the leaderboard's prediction files: `output` is 0, 1 or 2, and the file says which order it is.

        It must be told by a column `order`, for the file of exchanged answers looks like the other.
        """
        if "output" not in row.value or "order" not in row.value:
            return None
        order = "file" if row.choice("order", ("file", "exchanged")) == "file" else "exchanged"
        slot = {0: "A", 1: "B", 2: "tie"}[row.choice("output", (0, 1, 2))]
        return [Said(row.where, row.key("id"), order, verdict=slot)]


BENCHMARK = AutoJ
