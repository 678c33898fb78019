"""What a row says about its answers: which one a reply picks, what it is worth, and what a vote comes to.

The rules, the same everywhere. A reply with no clear verdict is a wrong one, in every accuracy and in
consistency; the parse rate stands beside them. Of two equal scores each answer has half. A vote pools the
samples of both orders, so that a preference for a slot cancels out; joint leaders share its worth (the
expected value of drawing one of them) and are counted; a vote with no verdict at all is wrong.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.parsers.verdicts import TIE
from pairgen.records import Order

Pick = Literal["chosen", "rejected", "tie"]


def replies_of(row: EvalItem, mode: str, order: Order | None = None) -> list[EvalReply]:
    """The replies of a mode, in one order or in all."""
    return [r for r in row.replies if r.mode == mode and order in (None, r.order)]


def pick_of(reply: EvalReply) -> Pick | None:
    """The answer that a reply names, whatever slot it stood in; None when it names none.

    A verdict made of both orders counts as one with the chosen answer in slot A.
    """
    if reply.answer is None:
        return None
    if reply.answer == TIE:
        return "tie"
    return "chosen" if (reply.answer == "B") == (reply.order == "rejected_first") else "rejected"


def gold_pick(row: EvalItem) -> Pick:
    """The pick that is right for a pair."""
    return "chosen" if row.right else "tie"


def rated_scores(replies: Sequence[EvalReply], answers: int, mode: str = "greedy") -> tuple[float | None, ...]:
    """The mean rating of each answer that was rated by itself; None where no rating could be read."""
    def mean(place: int) -> float | None:
        given = [float(r.answer) for r in replies if r.mode == mode and r.order == str(place) and r.answer is not None]
        return statistics.fmean(given) if given else None

    return tuple(mean(place) for place in range(answers))


def scores_of(row: EvalItem, mode: str = "greedy") -> tuple[float | None, ...]:
    """A row's scores: a scoring model's own, or the ratings of a mode. () where answers were compared by a judge."""
    if not row.scores or mode == "greedy":
        return row.scores
    return rated_scores(row.replies, len(row.answers), mode)


def picks(row: EvalItem, mode: str = "greedy") -> list[Pick | None]:
    """What was picked, once for each verdict: one for scores, one for each reply otherwise."""
    if row.scores:
        return [scored_pick(scores_of(row, mode))]
    return [pick_of(reply) for reply in replies_of(row, mode)]


def scored_pick(scores: Sequence[float | None]) -> Pick | None:
    """The pair's answer with the strictly higher score."""
    chosen, rejected = scores
    if chosen is None or rejected is None:
        return None
    return "tie" if chosen == rejected else "chosen" if chosen > rejected else "rejected"


def marks(row: EvalItem, mode: str = "greedy") -> list[float | None]:
    """How right each verdict is, in 0 to 1; None where a scoring model could not score the pair."""
    if not row.scores:
        return [float(reply.right) for reply in replies_of(row, mode)]
    pick = scored_pick(scores_of(row, mode))
    if pick is None:
        return [0.0 if row.replies else None]
    return [1.0 if pick == gold_pick(row) else 0.5 if TIE in (pick, gold_pick(row)) and row.right else 0.0]


def pair_accuracy(row: EvalItem, mode: str) -> float | None:
    """The share of right judgments of one pair; None when it was never judged."""
    scored = [mark for mark in marks(row, mode) if mark is not None]
    return sum(scored) / len(scored) if scored else None


def vote(row: EvalItem) -> float | None:
    """1 when most verdicts of a pair's samples name the right pick, its share when others are level, else 0."""
    if row.scores:
        return None
    counts = Counter(pick_of(reply) for reply in replies_of(row, "sampled"))
    if not counts:
        return None
    counts.pop(None, None)
    leaders = [pick for pick, count in counts.items() if count == max(counts.values())]
    return 1 / len(leaders) if gold_pick(row) in leaders else 0.0


def vote_share(row: EvalItem, mode: str = "sampled") -> float | None:
    """The share of the leading pick among the verdicts that can be read; None where there is none."""
    counts = Counter(pick for pick in picks(row, mode) if pick is not None)
    return max(counts.values()) / counts.total() if counts else None
