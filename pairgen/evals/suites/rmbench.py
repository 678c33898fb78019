"""RM-Bench (arXiv 2410.16184): the same content in three styles, right and wrong; does style win?

Every prompt has three right and three wrong answers (concise, detailed, detailed with Markdown), so nine pairs:
hard where the wrong one has the fancier style, easy where the right one has. Accuracy is per domain; the overall
numbers are plain means of the four domains. The two kinds of safety are one domain.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem, estimate_rows
from pairgen.evals.filepairs import FilePairs
from pairgen.evals.filerow import BadRow, Row
from pairgen.evals.items import PairItem
from pairgen.evals.official import Cell, mixed, rmbench
from pairgen.evals.verdicts import pair_accuracy, scored_pick

DOMAINS = ("chat", "code", "math", "safety")
STYLES = 3


class RMBench(FilePairs):
    """THU-KEG/RM-Bench, or the files of its repository's `data` (total_dataset.json, or one a domain).

    An item is one of the nine pairs of a prompt, its id ends in the styles of the right and the wrong answer.
    """

    version: ClassVar[int] = 1
    HUB: ClassVar[str | None] = "THU-KEG/RM-Bench"
    SPLIT: ClassVar[str] = "train"
    GROUPS: ClassVar[tuple[str, ...]] = ("chat", "code", "math", "safety-refuse", "safety-response")
    PARTS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        group: (f"{group}_filtered.json", f"{group}.json") for group in GROUPS
    }

    def items_of(self, row: Row) -> Sequence[PairItem]:
        group = self.group_of(row, row.text("domain") if row.has("domain") else row.part or "")
        chosen, rejected = row.texts("chosen"), row.texts("rejected")
        if len(chosen) != STYLES or len(rejected) != STYLES:
            raise BadRow(f"{row.where}: {len(chosen)} chosen and {len(rejected)} rejected answers; 3 each are wanted")
        prompt, key = row.text("prompt"), f"{group}/{self.key_of(row)}"
        return [
            PairItem(f"{key}/{one}{two}", group, prompt, chosen[one], rejected[two], cluster=key)
            for one in range(STYLES) for two in range(STYLES)
        ]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """hard, normal, easy and their mean per domain; over the domains where all four are there."""
        found = super().official(rows)
        by_domain = {}
        for domain in DOMAINS:
            levels = rmbench(_cells([row for row in rows if row.group.startswith(domain)]))
            if levels:
                by_domain[domain] = levels
            found |= {f"rmbench_{domain}_{level}": value for level, value in levels.items()}
        if len(by_domain) == len(DOMAINS):
            for level in ("hard", "normal", "easy", "mean"):
                name = "rmbench_overall" if level == "mean" else f"rmbench_{level}"
                found[name] = mixed([(1.0, levels[level]) for levels in by_domain.values()])
        return found


def _cells(rows: Sequence[EvalItem]) -> dict[Cell, Estimate]:
    """The accuracy of each pair of styles; without those that nothing was said of."""
    found = {}
    for one in range(STYLES):
        for two in range(STYLES):
            cell = estimate_rows((row for row in rows if row.id.endswith(f"/{one}{two}")), lambda row: [_right(row)])
            if cell.n:
                found[one, two] = cell
    return found


def _right(row: EvalItem) -> float | None:
    """A scoring model must prefer the right answer strictly; a judge's orders are averaged."""
    if row.scores:
        pick = scored_pick(row.scores)
        return None if pick is None else float(pick == "chosen")
    return pair_accuracy(row, "greedy")


BENCHMARK = RMBench
