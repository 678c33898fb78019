"""What each benchmark's own script computes, as formulas over what a judge said. No file, no model.

A judge's word on a pair is a winner: chosen, rejected, a tie, or None where it could not be read. Where a script
looks at the order in its file, `plain` is that order and `exchanged` the other one. Sources are named at each
formula; where a script has a fault, it is kept and said.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, estimate
from pairgen.evals.verdicts import Pick, pick_of, scored_pick

Winner = Pick | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A judge's word on one pair: in the order of the source's file, and with the two exchanged.

    `gold` is chosen, or tie where the two are equally good.
    """

    gold: Winner
    plain: Winner
    exchanged: Winner

    @property
    def right(self) -> tuple[bool, bool]:
        """Whether it is right in each order; an unreadable word never is."""
        return self.plain == self.gold, self.exchanged == self.gold

    @property
    def agrees(self) -> bool:
        """Whether both orders give the same readable word."""
        return self.plain is not None and self.plain == self.exchanged


def winner(reply: EvalReply) -> Winner:
    """Which answer a reply names. Of a verdict made of both orders already (`order: both`) A is the chosen one."""
    if reply.order == "both" and reply.answer in ("A", "B"):
        return "chosen" if reply.answer == "A" else "rejected"
    return pick_of(reply)


def shown(row: EvalItem) -> Shown | None:
    """The first judgment of a pair in each order; None when one order is not there.

    A scoring model says the same in both orders.
    """
    gold: Winner = "chosen" if row.right else "tie"
    if row.scores:
        scored = scored_pick(row.scores)
        return None if scored is None else Shown(gold, scored, scored)
    plain, exchanged = ("rejected_first", "chosen_first") if row.swapped else ("chosen_first", "rejected_first")
    found = {order: next((r for r in row.replies if r.order == order), None) for order in (plain, exchanged)}
    one, two = found[plain], found[exchanged]
    return None if one is None or two is None else Shown(gold, winner(one), winner(two))


def mixed(parts: Sequence[tuple[float, Estimate]]) -> Estimate:
    """The mean of independent estimates by weight, with its standard error. Raises ValueError on one without a mean.

    The error is unknown when that of any part is.
    """
    total = math.fsum(weight for weight, _ in parts)
    means = [(weight, part.mean) for weight, part in parts if part.mean is not None]
    if len(means) != len(parts) or not parts:
        raise ValueError("an estimate without a mean cannot be averaged")
    errors = [(weight * part.stderr) ** 2 for weight, part in parts if part.stderr is not None]
    error = math.sqrt(math.fsum(errors)) / total if len(errors) == len(parts) else None
    mean = math.fsum(weight * mean for weight, mean in means) / total
    return Estimate(mean, error, sum(part.n for _, part in parts), sum(part.unscored for _, part in parts))


def all_shown(rows: Sequence[EvalItem]) -> list[Shown | None]:
    """Each row's word; None where it was not judged in both orders."""
    return [shown(row) for row in rows]


@dataclass(frozen=True, slots=True)
class LLMBarStatistics:
    """LLMBar's `statistics.json` (princeton-nlp/LLMBar, LLMEvaluator/evaluate.py): counts over `n` pairs.

    Two failed parses are equal, as there. Its kappas are not here: it maps a verdict for output 2 to 0 and leaves
    labels 1 and 2, so that they measure nothing (tests/evals/test_official.py has them to the digit).
    """

    correct_false: int
    correct_true: int
    correct_both: int
    equal: int
    n: int


def llmbar_statistics(pairs: Sequence[Shown]) -> LLMBarStatistics:
    """How often a judge is right in the file's order (`swap = False`), exchanged, and in both."""
    return LLMBarStatistics(
        sum(pair.right[0] for pair in pairs), sum(pair.right[1] for pair in pairs),
        sum(all(pair.right) for pair in pairs), sum(pair.plain == pair.exchanged for pair in pairs), len(pairs),
    )


def net_votes(pair: Shown) -> int:
    """JudgeBench (ScalerLab/JudgeBench, utils/metrics.py): orders for the label less orders against it.

    A tie or an unreadable word counts for neither; the pair is correct when the sum is positive.
    """
    said = (pair.plain, pair.exchanged)
    return sum((word == "chosen") - (word == "rejected") for word in said)


def judgebench(pairs: Iterable[Shown | None]) -> Estimate:
    """The share of pairs with positive net votes, of 350 or 270; a coin in each order gets 25 %."""
    return estimate(None if pair is None else float(net_votes(pair) > 0) for pair in pairs)


def both_right(pairs: Iterable[Shown | None]) -> Estimate:
    """Auto-J's agreement, EvalBiasBench's pair accuracy, ContextualJudgeBench's consistent accuracy."""
    return estimate(None if pair is None else float(all(pair.right)) for pair in pairs)


def either_order(pairs: Iterable[Shown | None]) -> Estimate:
    """The accuracy averaged over both orders (LLMBar's average, EvalBiasBench's single accuracy)."""
    return estimate(None if pair is None else sum(pair.right) / 2 for pair in pairs)


def consistent(pairs: Iterable[Shown | None]) -> Estimate:
    """The share of pairs with the same readable word in both orders, ties included."""
    return estimate(None if pair is None else float(pair.agrees) for pair in pairs)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many of `n` comparisons of votes agree."""

    agree: int
    n: int

    @property
    def share(self) -> Estimate:
        """The share with the standard error of independent votes."""
        return estimate([1.0] * self.agree + [0.0] * (self.n - self.agree))


TIE = 0.5
"""A vote for neither of two answers; 1 is a vote for the first, 0 for the second."""


def together(pair: Shown) -> float | None:
    """MT-Bench's verdict from both orders (FastChat, llm_judge): one that flips is a tie; None where unreadable."""
    if None in (pair.plain, pair.exchanged):
        return None
    return TIE if pair.plain != pair.exchanged else {"chosen": 1.0, "rejected": 0.0}.get(str(pair.plain), TIE)


def judge_agreement(pairs: Iterable[tuple[float, Sequence[float]]], ties: bool) -> Agreement:
    """MT-Bench's setup S1 (with ties) and S2 (without): a judge's vote against every human vote on the pair.

    Each item is the judge's vote and the humans'. (arXiv 2306.05685, Table 5; FastChat, compute_agreement.py.)
    """
    against = [
        (vote, human) for vote, humans in pairs for human in humans if ties or TIE not in (vote, human)
    ]
    return Agreement(sum(vote == human for vote, human in against), len(against))


def human_agreement(votes: Iterable[Sequence[float]], ties: bool) -> Agreement:
    """Every two votes that humans cast on the same pair; votes for a tie are left out unless `ties`."""
    against = [
        (one, two) for cast in votes for place, one in enumerate(cast) for two in cast[place + 1:]
        if ties or TIE not in (one, two)
    ]
    return Agreement(sum(one == two for one, two in against), len(against))


@dataclass(frozen=True, slots=True)
class ThreeWay:
    """PandaLM's table: accuracy, and precision, recall and F1 averaged over the three labels."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def three_way(gold: Sequence[Hashable], said: Sequence[Hashable]) -> ThreeWay:
    """Labels against the majority of three annotators; what could not be read is a label of its own.

    Averages go over every label that was given or said; one never said has precision 0.
    """
    labels = set(gold) | set(said)
    hits = Counter(a for a, b in zip(gold, said, strict=True) if a == b)
    given, answered = Counter(gold), Counter(said)
    precision = {label: hits[label] / answered[label] if answered[label] else 0.0 for label in labels}
    recall = {label: hits[label] / given[label] if given[label] else 0.0 for label in labels}
    f1 = [
        2 * precision[x] * recall[x] / (precision[x] + recall[x]) if precision[x] + recall[x] else 0.0
        for x in labels
    ]
    size = len(labels)
    return ThreeWay(
        hits.total() / len(gold), sum(precision.values()) / size, sum(recall.values()) / size, sum(f1) / size
    )


Cell = tuple[int, int]
"""The styles of the chosen and of the rejected answer: 0 concise, 1 detailed, 2 detailed with Markdown."""


def rmbench(cells: Mapping[Cell, Estimate]) -> dict[str, Estimate]:
    """RM-Bench (arXiv 2410.16184): the 3x3 matrix of one domain as hard, normal, easy and their mean.

    Hard is where the rejected answer has the fancier style. Empty unless all nine are there.
    """
    parts: dict[str, list[Estimate]] = {"hard": [], "normal": [], "easy": []}
    for chosen in range(3):
        for rejected in range(3):
            if (chosen, rejected) not in cells:
                return {}
            level = "normal" if chosen == rejected else "hard" if chosen < rejected else "easy"
            parts[level].append(cells[chosen, rejected])
    levels = {level: mixed([(1.0, cell) for cell in found]) for level, found in parts.items()}
    return levels | {"mean": mixed([(1.0, level) for level in levels.values()])}

