"""Any pairs of the user's own: a file of prompts with a better and a worse answer, or two answers and a label.

`columns` maps our names to the file's. With `chosen` and `rejected` the better answer is known by its column;
with `first`, `second` and `label` by the label, one of `labels` for the first, the second and a tie. So
PreferenceBench, InstruSum or LFQA-eval are a few lines of options (docs/suites.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import field_validator

from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.filepairs import FilePairs, labelled
from pairgen.evals.filerow import BadRow, Row, prompt_of, turns
from pairgen.evals.items import PairItem
from pairgen.evals.official import all_shown, both_right

NAMES = ("id", "subset", "prompt", "chosen", "rejected", "first", "second", "label", "reference", "rubric")


class Pairs(FilePairs):
    """Rows of prompt, chosen, rejected and, where they have them, subset, id, reference and rubric.

    A prompt or an answer may be chat turns: of an answer's the last one counts.
    """

    version: ClassVar[int] = 1
    SPLIT: ClassVar[str] = "train"

    columns: Mapping[str, str] = {}
    labels: tuple[str, ...] = ("1", "2", "0")

    @field_validator("columns")
    @classmethod
    def _can_be_mapped(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        if strange := sorted(set(columns) - set(NAMES)):
            raise ValueError(f"no column {strange[0]!r} to map; have: {', '.join(NAMES)}")
        return columns

    @field_validator("labels")
    @classmethod
    def _two_or_three(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) not in (2, 3) or len(set(labels)) != len(labels):
            raise ValueError("labels are two or three different ones: for the first answer, the second, and a tie")
        return labels

    def key_of(self, row: Row) -> str:
        return row.key(self._column("id"))

    def items_of(self, row: Row) -> Sequence[PairItem]:
        group = row.text(self._column("subset")) if row.has(self._column("subset")) else row.part or "all"
        instruction, messages = prompt_of(row, self._there(row, "prompt"))
        if "label" in self.columns or row.has("label"):
            answers = (self._answer(row, "first"), self._answer(row, "second"))
            label = (1, 2, 0)[self.labels.index(row.choice(self._column("label"), self.labels))]
        else:
            answers, label = (self._answer(row, "chosen"), self._answer(row, "rejected")), 1
        made = labelled(self.key_of(row), group, instruction, answers, label, messages=messages)
        return [replace(made, reference=self._optional(row, "reference"), rubric=self._optional(row, "rubric"))]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Consistent accuracy by subset, as ContextualJudgeBench reports it."""
        groups = sorted({row.group for row in rows})
        each = {
            f"consistent_accuracy_{group}": both_right(all_shown([row for row in rows if row.group == group]))
            for group in groups
        }
        return super().official(rows) | (each if len(groups) > 1 else {})

    def _column(self, name: str) -> str:
        return self.columns.get(name, name)

    def _there(self, row: Row, name: str) -> str:
        """The column of a part that every row must have. Raises BadRow saying how to name it."""
        if (column := self._column(name)) not in row.value:
            have = ", ".join(map(str, row.value))
            raise BadRow(f"{row.where}: no column {column!r}; have: {have} (--set columns.{name}=... names it)")
        return column

    def _answer(self, row: Row, name: str) -> str:
        column = self._there(row, name)
        return turns(row, column)[-1].content if isinstance(row.given(column), list | dict) else row.text(column)

    def _optional(self, row: Row, name: str) -> str | None:
        return row.text(self._column(name)) if row.has(self._column(name)) else None


BENCHMARK = Pairs
