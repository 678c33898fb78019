"""A panel of judges on the same pairs: plurality instead of one large judge (PoLL, arXiv 2404.18796).

A panel's rows are rows like any judge's. Their greedy replies are the plurality in each order, and a split
panel has no verdict there; the members' own verdicts are kept as samples, numbered as the members are, so that
`vote_accuracy` is the plurality over all members and orders (level picks share) and `vote_share` the panel's
confidence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from pairgen.errors import UsageError
from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, estimate_rows
from pairgen.evals.verdicts import gold_pick, replies_of, scored_pick
from pairgen.parsers.verdicts import TIE
from pairgen.records import ORDERS, Order, gold_label


def panel_rows(judges: Mapping[str, Sequence[EvalItem]]) -> list[EvalItem]:
    """The rows of a panel, in the order of the first member's; sample 0 is what the first member said.

    Raises UsageError for an even number of judges, and where they were not asked about the same items.
    """
    if len(judges) % 2 == 0:
        raise UsageError(f"a panel has an odd number of judges, so that it can decide; this one has {len(judges)}")
    first, *others = judges
    by_id = {name: {row.id: row for row in judges[name]} for name in judges}
    for name in others:
        if strange := sorted(by_id[name].keys() ^ by_id[first].keys()):
            raise UsageError(f"judges {first} and {name} were not asked the same: item {strange[0]} is in one only")
    return [_joined({name: by_id[name][row.id] for name in judges}) for row in judges[first]]


def panel_metrics(rows: Sequence[EvalItem]) -> dict[str, Estimate]:
    """How often the members are of one mind, and how often the panel is split in an order."""
    return {
        "unanimous": estimate_rows(rows, lambda row: [unanimous(row, order) for order in ORDERS]),
        "split": estimate_rows(rows, lambda row: [float(r.status == "split") for r in replies_of(row, "greedy")]),
    }


def member_accuracies(rows: Sequence[EvalItem], names: Sequence[str]) -> dict[str, Estimate]:
    """How often each member of a panel is right, by itself, over both orders."""
    return {name: estimate_rows(rows, partial(_right, place)) for place, name in enumerate(names)}


def unanimous(row: EvalItem, order: Order) -> float | None:
    """Whether all members name the same in an order; one that cannot be read is of no mind."""
    named = [reply.answer for reply in replies_of(row, "sampled", order)]
    return float(len(set(named)) == 1 and None not in named) if named else None


def _right(place: int, row: EvalItem) -> list[float]:
    return [float(reply.right) for reply in replies_of(row, "sampled") if reply.sample == place]


def _joined(members: Mapping[str, EvalItem]) -> EvalItem:
    rows = list(members.values())
    base = next((row for row in rows if row.error is None), rows[0])
    for name, row in members.items():
        if row.error is None and row.answers != base.answers:
            raise UsageError(f"judge {name}: item {row.id} has other answers than the rest of the panel saw")
        if row.error is not None:
            return EvalItem(base.id, base.group, "", (), (), error=f"{name}: {row.error}", cluster=base.cluster)
    replies: list[EvalReply] = []
    for order in ORDERS:
        samples = [replace(_said(name, row, order), sample=place) for place, (name, row) in enumerate(members.items())]
        replies += [_plurality(order, samples), *samples]
    return replace(base, replies=tuple(replies), scores=())


def _said(name: str, row: EvalItem, order: Order) -> EvalReply:
    """What a member says in an order; a scoring model says the same in both."""
    gold = gold_label(order) if gold_pick(row) == "chosen" else TIE
    if row.scores:
        answer = {"chosen": gold_label(order), "rejected": "BA"[gold_label(order) == "B"], "tie": TIE, None: None}[
            scored_pick(row.scores)
        ]
        return EvalReply("sampled", order, 0, "", answer, "ok" if answer else "none", gold, 0)
    found = replies_of(row, "greedy", order)
    if len(found) != 1:
        raise UsageError(f"judge {name}: item {row.id} was not judged in both orders; a panel needs `orders: both`")
    reply = found[0]
    return EvalReply("sampled", order, 0, "", reply.answer, reply.status, gold, reply.tokens)


def _plurality(order: Order, samples: Sequence[EvalReply]) -> EvalReply:
    """The answer most members give; None where several lead, or nobody could be read."""
    counts = Counter(sample.answer for sample in samples if sample.answer is not None)
    leaders = [answer for answer, count in counts.items() if count == max(counts.values())]
    answer = leaders[0] if len(leaders) == 1 else None
    status = "ok" if answer in ("A", "B") else "tie" if answer else "split" if leaders else "none"
    tokens = sum(sample.tokens for sample in samples)
    return EvalReply("greedy", order, 0, "", answer, status, samples[0].gold, tokens)
