"""The numbers always printed for pairs: what a judge gets right, what the order did, what length did.

`consistency` counts pairs whose two orders name the same thing: two ties agree, two unreadable replies do
not (`consistency_loose` counts those as agreeing too, as LLMBar does). Metrics of an order are absent where
nothing was shown in both; those of a length where no pair has it.
"""

import math
from collections.abc import Callable, Sequence

from pairgen.evals.agreement import kappa
from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, estimate_rows
from pairgen.evals.verdicts import Pick, marks, pair_accuracy, pick_of, picks, replies_of, vote
from pairgen.records import ORDERS, Order

__all__ = ["judge_metrics", "length_metrics", "pair_accuracy", "vote"]

MATCHED = 0.1
"""Answers are of one length where the log of their ratio in characters is below this."""
LONGER = 30
"""Characters by which an answer must be longer to be preferred for it (AlpacaEval's analysis)."""


def judge_metrics(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """Every number of a judge. Those of sampled judgments carry the prefix `sampled_`, votes `vote_`."""
    found = _mode_metrics(rows, "greedy")
    if any(reply.mode == "sampled" for row in rows for reply in row.replies):
        found |= {f"sampled_{name}": value for name, value in _mode_metrics(rows, "sampled").items()}
        found |= _vote_metrics(rows)
    return found


def _mode_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    found = {"accuracy": estimate_rows(rows, lambda row: marks(row, mode))}
    if any(row.scores for row in rows):
        found["ties"] = estimate_rows(rows, lambda row: [_is(pick, "tie") for pick in picks(row, mode)])
    else:
        found |= _order_metrics(rows, mode)
    if any(row.replies for row in rows) or not any(row.scores for row in rows):
        found |= _reply_metrics(rows, mode)
    if any(not row.right for row in rows):
        found |= _tie_metrics(rows, mode)
    return found | length_metrics(rows, mode)


def _order_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    """What the order in which answers were shown did."""
    def both(holds: Callable[[EvalReply, EvalReply], bool]) -> Estimate:
        return estimate_rows(rows, lambda row: _both(row, mode, holds))

    found = {f"accuracy_{order}": _over(rows, mode, lambda reply: float(reply.right), order) for order in ORDERS}
    shown = [{reply.order for reply in replies_of(row, mode)} for row in rows]
    if not any(shown) or any(len(orders) == 2 for orders in shown):
        found["consistent_accuracy"] = both(lambda one, two: one.right and two.right)
        found["consistency"] = both(lambda one, two: one.answer is not None and pick_of(one) == pick_of(two))
        found["consistency_loose"] = both(lambda one, two: pick_of(one) == pick_of(two))
    found["first_slot"] = _over(rows, mode, _first_slot)
    if any(reply.confidence is not None for row in rows for reply in replies_of(row, mode)):
        found["logit_accuracy"] = estimate_rows(rows, lambda row: [averaged_odds(row, mode)])
    return found


def _reply_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    """What the replies are like, right or wrong."""
    found = {
        "parse_rate": _over(rows, mode, lambda reply: float(reply.answer is not None)),
        "truncated": _over(rows, mode, lambda reply: float(reply.status == "truncated")),
        # of a stored verdict nobody counted them
        "tokens": _over(rows, mode, lambda reply: float(reply.tokens) or None),
    }
    derivation = _over(rows, mode, lambda reply: None if reply.derivation is None else float(reply.derivation))
    return found | ({"derivation": derivation} if derivation.n else {})


def _tie_metrics(rows: Sequence[EvalItem], mode: str) -> dict[str, Estimate]:
    """How verdicts agree with labels of which some are ties."""
    decided = [row for row in rows if row.right]
    return {
        "accuracy_decided": estimate_rows(decided, lambda row: marks(row, mode)),
        "ties": estimate_rows(rows, lambda row: [_is(pick, "tie") for pick in picks(row, mode)]),
        "kappa": kappa(rows, mode),
    }


def _vote_metrics(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """The plurality of all samples of both orders: maj@k, k being twice `votes`."""
    return {
        "vote_accuracy": estimate_rows(rows, lambda row: [vote(row)]),
        "vote_ties": estimate_rows(rows, lambda row: [_level(vote(row))]),
    }


def length_metrics(rows: Sequence[EvalItem], mode: str = "greedy") -> dict[str, Estimate]:
    """Accuracy by the lengths of the answers, and how often the longer one is picked; absent where no pair counts.

    `length_gap` is accuracy where the better answer is the longer one minus accuracy where it is the shorter.
    """
    decided = [row for row in rows if row.right and len(row.answers) == 2]
    parts = {
        "accuracy_length_matched": [row for row in decided if abs(log_ratio(row)) < MATCHED],
        "accuracy_gold_longer": [row for row in decided if extra(row) > 0],
        "accuracy_gold_shorter": [row for row in decided if extra(row) < 0],
    }
    found = {name: estimate_rows(part, lambda row: marks(row, mode)) for name, part in parts.items()}
    found["length_gap"] = gap(found["accuracy_gold_longer"], found["accuracy_gold_shorter"])
    apart = [row for row in rows if len(row.answers) == 2 and abs(extra(row)) > LONGER]
    found["prefer_longer"] = estimate_rows(apart, lambda row: _longer_picked(row, mode))
    return {name: value for name, value in found.items() if value.n}


def extra(row: EvalItem) -> int:
    """By how many characters the first answer is longer than the second."""
    first, second = row.answers
    return len(first) - len(second)


def log_ratio(row: EvalItem) -> float:
    """The log of the ratio of the lengths in characters; an empty answer counts as one character."""
    first, second = row.answers
    return math.log(max(1, len(first)) / max(1, len(second)))


def gap(one: Estimate, other: Estimate) -> Estimate:
    """`one` minus `other`, made of different items; n is that of the smaller."""
    if one.mean is None or other.mean is None:
        return Estimate(None, None, 0, 0)
    known = one.stderr is not None and other.stderr is not None
    stderr = math.hypot(one.stderr or 0.0, other.stderr or 0.0) if known else None
    return Estimate(one.mean - other.mean, stderr, min(one.n, other.n), one.unscored + other.unscored)


def averaged_odds(row: EvalItem, mode: str = "greedy") -> float | None:
    """1 when the right pick has more than half of the probability averaged over the orders, 0.5 at half.

    An order in which no letter could be read makes the item wrong.
    """
    replies = replies_of(row, mode)
    if not replies or all(reply.confidence is None for reply in replies):
        return 0.0 if replies else None
    odds = [p_chosen(reply) for reply in replies]
    if any(odd is None for odd in odds):
        return 0.0
    mean = math.fsum(odd for odd in odds if odd is not None) / len(odds)
    return 0.5 if mean == 0.5 else float(mean > 0.5)


def p_chosen(reply: EvalReply) -> float | None:
    """The probability that a judge gives to the chosen answer; None where it gave none."""
    if reply.confidence is None:
        return None
    return {"chosen": reply.confidence, "rejected": 1 - reply.confidence}.get(pick_of(reply) or "", 0.5)


def _over(
    rows: Sequence[EvalItem], mode: str, value: Callable[[EvalReply], float | None], order: Order | None = None,
) -> Estimate:
    return estimate_rows(rows, lambda row: [value(reply) for reply in replies_of(row, mode, order)])


def _both(row: EvalItem, mode: str, holds: Callable[[EvalReply, EvalReply], bool]) -> list[float | None]:
    """Whether something holds of sample i in one order and sample i in the other, for each i."""
    first, second = (replies_of(row, mode, order) for order in ORDERS)
    return [float(holds(one, two)) for one, two in zip(first, second, strict=bool(first and second))]


def _first_slot(reply: EvalReply) -> float | None:
    return float(reply.answer == "A") if reply.answer in ("A", "B") else None


def _is(pick: Pick | None, wanted: Pick) -> float | None:
    return None if pick is None else float(pick == wanted)


def _level(value: float | None) -> float | None:
    return None if value is None else float(0 < value < 1)


def _longer_picked(row: EvalItem, mode: str) -> list[float | None]:
    """Whether the longer answer was picked, for each verdict that names one."""
    longer: Pick = "chosen" if extra(row) > 0 else "rejected"
    return [_is(pick, longer) for pick in picks(row, mode) if pick != "tie"]
