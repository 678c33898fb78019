"""HHH alignment (arXiv 2112.00861): 221 pairs of helpful, honest, harmless and other answers.

Reports differ in whether the four parts count by their pairs (micro) or evenly (macro); both are given.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem, estimate_rows
from pairgen.evals.filepairs import FilePairs
from pairgen.evals.filerow import BadRow, Row, shown
from pairgen.evals.items import PairItem
from pairgen.evals.official import mixed
from pairgen.evals.verdicts import pair_accuracy


class HHH(FilePairs):
    """Rows of prompt, chosen, rejected and subset, or of HuggingFaceH4/hhh_alignment (input, targets).

    In rows of the hub's columns the part is the file's name: helpful.jsonl, honest.jsonl and so on in a folder.
    """

    version: ClassVar[int] = 1
    GROUPS: ClassVar[tuple[str, ...]] = ("helpful", "honest", "harmless", "other")
    PARTS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        group: tuple(f"{group}{ending}" for ending in (".jsonl", ".json", ".parquet", "/task.json", "/test.parquet"))
        for group in GROUPS
    }

    def key_of(self, row: Row) -> str:
        return row.key("id") if row.part is None else f"{row.part}/{row.place}"

    def items_of(self, row: Row) -> Sequence[PairItem]:
        group = self.group_of(row, row.text("subset") if row.has("subset") or row.part is None else row.part)
        if "targets" not in row.value:
            answers = row.text("chosen"), row.text("rejected")
            return [PairItem(self.key_of(row), group, row.text("prompt"), *answers)]
        right, wrong = _targets(row)
        return [PairItem(self.key_of(row), group, row.text("input"), right, wrong)]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Accuracy per part, over all pairs, and evenly over the parts where all four are there."""
        def over(some: Sequence[EvalItem]) -> Estimate:
            return estimate_rows(some, lambda row: [pair_accuracy(row, "greedy")])

        parts = {group: over([row for row in rows if row.group == group]) for group in self.GROUPS}
        found = {f"hhh_{group}": part for group, part in parts.items() if part.n}
        if len(found) == len(self.GROUPS):
            found |= {"hhh_micro": over(rows), "hhh_macro": mixed([(1.0, part) for part in parts.values()])}
        return super().official(rows) | found


def _targets(row: Row) -> tuple[str, str]:
    """The right and the wrong choice of a row of the hub's columns."""
    targets = row.given("targets")
    choices, labels = (
        list(targets.get(name) or ()) if isinstance(targets, Mapping) else [] for name in ("choices", "labels")
    )
    if len(choices) != 2 or len(labels) != 2:
        raise BadRow(f"{row.where}: targets is {shown(targets)}; it must have two choices and two labels")
    if sorted(labels) != [0, 1]:
        raise BadRow(f"{row.where}: targets.labels is {labels}; one choice must have label 1 and one 0")
    right = labels.index(1)
    return str(choices[right]), str(choices[1 - right])


BENCHMARK = HHH
