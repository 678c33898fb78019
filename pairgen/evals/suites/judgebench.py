"""JudgeBench (arXiv 2410.12784): pairs of hard questions of which one answer is objectively right.

A pair counts when both orders together speak for the right answer: right twice, or once with a tie or an
unreadable reply. A judge that guesses in each order gets 25 %; a reward model, asked once, is not on that scale.
"""

from collections.abc import Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.filepairs import FilePairs, labelled
from pairgen.evals.filerow import BadRow, Row
from pairgen.evals.items import PairItem
from pairgen.evals.official import all_shown, judgebench


class JudgeBench(FilePairs):
    """ScalerLab/JudgeBench, split gpt (350 pairs) or claude (270), or files of its columns."""

    version: ClassVar[int] = 1
    HUB: ClassVar[str | None] = "ScalerLab/JudgeBench"
    SPLIT: ClassVar[str] = "gpt"
    GROUPS: ClassVar[tuple[str, ...]] = ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench")
    PARSER: ClassVar[str] = "judgebench"

    def key_of(self, row: Row) -> str:
        return row.key("pair_id")

    def items_of(self, row: Row) -> Sequence[PairItem]:
        source = row.text("source")
        group = next((name for name in self.GROUPS if source.startswith(name)), None)
        if group is None:
            raise BadRow(f"{row.where}: source is {source!r}; it must begin with one of {', '.join(self.GROUPS)}")
        label = 1 if row.choice("label", ("A>B", "B>A")) == "A>B" else 2
        answers = (row.text("response_A"), row.text("response_B"))
        return [labelled(self.key_of(row), group, row.text("question"), answers, label)]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Over all pairs, unless only some sources are asked; and per source."""
        found = super().official(rows) | ({} if self.subset else {"judgebench": judgebench(all_shown(rows))})
        for group in dict.fromkeys(row.group for row in rows):
            found[f"judgebench_{group}"] = judgebench(all_shown([row for row in rows if row.group == group]))
        return found


BENCHMARK = JudgeBench
