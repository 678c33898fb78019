"""RewardBench v1 (arXiv 2403.13787): 2,985 pairs in 23 subsets and four sections, and the older prior sets.

Its script shows each pair in one random order and gives an unreadable reply 0.5. Shown in both orders that is the
mean over both: what the script would give on average. Three overall numbers have been published under one name;
each has its own here (`evals.leaderboard`).
"""

from collections.abc import Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem, estimate
from pairgen.evals.filepairs import FilePairs
from pairgen.evals.filerow import Row, prompt_of
from pairgen.evals.items import PairItem
from pairgen.evals.leaderboard import COUNTS, PRIOR, PRIOR_WEIGHTS, overall, sections
from pairgen.evals.official import winner
from pairgen.evals.verdicts import replies_of

OVERALL = {
    "leaderboard": "rewardbench_overall", "paper": "rewardbench_overall_paper", "launch": "rewardbench_overall_launch",
}


class RewardBench(FilePairs):
    """allenai/reward-bench (split filtered), or files of its columns; prior sets may be among them."""

    version: ClassVar[int] = 1
    HUB: ClassVar[str | None] = "allenai/reward-bench"
    SPLIT: ClassVar[str] = "filtered"
    GROUPS: ClassVar[tuple[str, ...]] = tuple(COUNTS)

    def items_of(self, row: Row) -> Sequence[PairItem]:
        subset = row.text("subset")
        group = subset if subset in PRIOR else self.group_of(row, subset)
        instruction, messages = prompt_of(row, "prompt")
        key = f"{group}/{row.key('id')}" if group in PRIOR else row.key("id")
        return [PairItem(key, group, instruction, row.text("chosen"), row.text("rejected"), messages=messages)]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Every subset, every section with all its subsets, every overall number with all its sections."""
        subsets = {
            group: estimate(result(row) for row in rows if row.group == group)
            for group in (*COUNTS, *PRIOR) if any(row.group == group for row in rows)
        }
        scored = sections(subsets)
        found = super().official(rows)
        found |= {f"rewardbench_{group}": value for group, value in subsets.items()}
        found |= {f"rewardbench_{_name(section)}": value for section, value in scored.items()}
        for formula in PRIOR_WEIGHTS:
            if (formula == "leaderboard" or "Prior Sets" in scored) and (value := overall(scored, formula)):
                found[OVERALL[formula]] = value
        return found


def result(row: EvalItem) -> float | None:
    """A pair's result: 1 for the chosen answer, 0 for the other, 0.5 for what could not be read or is a tie.

    Of a scoring model a tie is 0. None where nothing was said.
    """
    if row.scores:
        one, two = row.scores
        return None if one is None or two is None else float(one > two)
    values = [{"chosen": 1.0, "rejected": 0.0}.get(str(winner(r)), 0.5) for r in replies_of(row, "greedy")]
    return sum(values) / len(values) if values else None


def _name(section: str) -> str:
    return section.lower().replace(" ", "_")


BENCHMARK = RewardBench
