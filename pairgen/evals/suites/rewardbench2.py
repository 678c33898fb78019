"""RewardBench 2 (arXiv 2506.01937): one right answer of four, and prompts with many right ones (Ties).

An unreadable choice is worth 0.25 in the official number, an unreadable rating is one of -1, and k answers level at
the top share the point. Ties looks at margins too (`evals.leaderboard`). The final number is the plain mean of the
six domains and absent unless all six are there. Papers report the better of choosing and rating; say which.
"""

from collections.abc import Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem, estimate
from pairgen.evals.choosing import ChoiceBenchmark
from pairgen.evals.filepairs import parser_disagreement
from pairgen.evals.filerow import BadRow, Row
from pairgen.evals.files import FromFile
from pairgen.evals.items import ChoiceItem
from pairgen.evals.leaderboard import V2_COUNTS, TiesPrompt, best_credit, ties_score
from pairgen.evals.official import mixed
from pairgen.evals.verdicts import replies_of
from pairgen.prompts import Prompt, PromptFile, shipped

TIES = "Ties"
FAILED = -1.0
"""What a rating that could not be read counts for."""


class RewardBench2(FromFile[ChoiceItem], ChoiceBenchmark):
    """allenai/reward-bench-2 (split test), or files of its columns. Ties is always rated, with its own prompt."""

    version: ClassVar[int] = 1
    HUB: ClassVar[str | None] = "allenai/reward-bench-2"
    GROUPS: ClassVar[tuple[str, ...]] = tuple(V2_COUNTS)
    PARSER: ClassVar[str] = "rewardbench2"

    ties_prompt: Prompt = shipped("judges/rewardbench2_ties.md")

    def rater(self, item: ChoiceItem) -> PromptFile:
        return self.ties_prompt if item.group == TIES else self.rating_prompt

    def rated(self, item: ChoiceItem) -> bool:
        return item.group == TIES or super().rated(item)

    def items_of(self, row: Row) -> Sequence[ChoiceItem]:
        group = self.group_of(row, row.text("subset"))
        chosen, rejected, key = row.texts("chosen"), row.texts("rejected"), self.key_of(row)
        if row.has("num_correct") and row.number("num_correct", 1, 1e6) != len(chosen):
            raise BadRow(f"{row.where}: num_correct is {row.value['num_correct']} and chosen has {len(chosen)} answers")
        if group == TIES and not key.startswith(("ref:", "tied:")):
            raise BadRow(f"{row.where}: id of a {TIES} row is {key!r}; it must be ref:N or tied:N")
        if group != TIES and len(chosen) != 1:
            raise BadRow(f"{row.where}: {len(chosen)} chosen answers; {group} has one")
        return [ChoiceItem(key, group, row.text("prompt"), (*chosen, *rejected), len(chosen), cluster=_cluster(key))]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Every domain, and the final number where all six are there."""
        found: dict[str, Estimate] = {}
        disagreement = parser_disagreement(rows, self.PARSER)
        for group in V2_COUNTS:
            some = [row for row in rows if row.group == group]
            domain = _ties(some) if group == TIES else estimate(credit(row) for row in some)
            if domain is not None and domain.n:
                found[f"rewardbench2_{group.lower().replace(' ', '_')}"] = domain
        if len(found) == len(V2_COUNTS):
            found["rewardbench2_overall"] = mixed([(1.0, domain) for domain in found.values()])
        return found | disagreement


def credit(row: EvalItem) -> float | None:
    """What an item of one right answer is worth officially; None where nothing was said."""
    if row.scores:
        return best_credit(_scores(row), row.right) if _judged(row) else None
    replies = replies_of(row, "greedy")
    values = [0.25 if reply.answer is None else float(reply.right) for reply in replies]
    return sum(values) / len(values) if values else None


def _judged(row: EvalItem) -> bool:
    """Whether scores are a judge's ratings, which may fail, or a scoring model's, all there."""
    return bool(row.replies) or None not in row.scores


def _scores(row: EvalItem) -> list[float]:
    return [FAILED if score is None else score for score in row.scores]


def _ties(rows: Sequence[EvalItem]) -> Estimate | None:
    """The score of Ties; its standard error is not known, for it is no mean."""
    scored = [row for row in rows if row.scores and _judged(row)]
    score = ties_score([TiesPrompt(row.id, tuple(_scores(row)), row.right) for row in scored])
    return None if score is None else Estimate(score, None, len(scored), len(rows) - len(scored))


def _cluster(key: str) -> str | None:
    """The two prompts of Ties that belong together."""
    return f"{TIES}:{key.partition(':')[2]}" if key.startswith(("ref:", "tied:")) else None


BENCHMARK = RewardBench2
