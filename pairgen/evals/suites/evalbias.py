"""EvalBiasBench (arXiv 2407.06551): 80 hand-made pairs, each a trap of one of six biases of judges."""

from collections.abc import Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.filepairs import FilePairs, labelled
from pairgen.evals.filerow import Row
from pairgen.evals.items import PairItem
from pairgen.evals.official import all_shown, both_right, consistent, either_order
from pairgen.prompts import Prompt, shipped


class EvalBias(FilePairs):
    """biasbench.json of ncsoft/offsetbias, or rows of its columns."""

    version: ClassVar[int] = 1
    GROUPS: ClassVar[tuple[str, ...]] = (
        "length bias", "concreteness", "empty reference", "content_continuation", "nested_instruction",
        "familiar knowledge preference bias",
    )
    PARSER: ClassVar[str] = "llmbar"

    prompt: Prompt = shipped("judges/offsetbias.md")

    def key_of(self, row: Row) -> str:
        return f"{row.value.get('bias', row.part)}/{row.place}"

    def items_of(self, row: Row) -> Sequence[PairItem]:
        group = self.group_of(row, row.text("bias"))
        answers = (row.text("response1"), row.text("response2"))
        return [labelled(self.key_of(row), group, row.text("instruction"), answers, row.choice("label", (1, 2)))]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Single accuracy over both orders, pair accuracy and agreement, of all six biases; pair accuracy per bias."""
        pairs, found = all_shown(rows), super().official(rows)
        if not self.missing(rows):
            found |= {
                "evalbias_single_accuracy": either_order(pairs), "evalbias_pair_accuracy": both_right(pairs),
                "evalbias_pair_agreement": consistent(pairs),
            }
        for group in dict.fromkeys(row.group for row in rows):
            found[f"evalbias_{group}"] = both_right(all_shown([row for row in rows if row.group == group]))
        return found


BENCHMARK = EvalBias
