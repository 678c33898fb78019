"""A stored word on an item made the reply it stands for: its order, its slot, its number.

What an order or a winner means depends on the item: which answer is the better one, which one its file lists
first, how many there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.filerow import BadRow
from pairgen.evals.items import ChoiceItem, PairItem, RatingItem
from pairgen.evals.said import Said
from pairgen.records import gold_label

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
AnItem = PairItem | ChoiceItem | RatingItem
Read = Callable[[AnItem, EvalReply], EvalReply]
"""Reads the text of a reply to an item, and gives the reply with its answer and status."""


def row_of(item: AnItem, said: Sequence[Said], read: Read, source: str) -> EvalItem:
    """An item with all that the file `source` says of it; unscored where that is nothing."""
    if not said:
        return item.row(error=f"no verdict in {Path(source).name}")
    scored = [entry for entry in said if entry.scores]
    if scored:
        return item.row(scores=_scores(item, scored[0]))
    modes = "sampled" if any(entry.sample for entry in said) else "greedy"
    return item.row([reply_of(item, entry, modes, read) for entry in sorted(said, key=lambda entry: entry.sample)])


def _scores(item: AnItem, entry: Said) -> tuple[float | None, ...]:
    wanted = 1 if isinstance(item, RatingItem) else 2 if isinstance(item, PairItem) else len(item.answers)
    if len(entry.scores) != wanted:
        raise BadRow(f"{entry.where}: {len(entry.scores)} scores; item {item.id!r} has {wanted} answers")
    return entry.scores


def reply_of(item: AnItem, entry: Said, mode: str, read: Read) -> EvalReply:
    """One stored word as the reply it stands for. Raises BadRow where it cannot be one of this item."""
    order = order_of(item, entry)
    reply = EvalReply(mode, order, entry.sample, entry.text or "", None, "none", _gold(item, order), 0)
    if entry.finish == "length":
        reply = replace(reply, status="truncated")
    if entry.text is not None:
        return read(item, reply)
    answer = _slot(item, entry, order) if entry.winner is not None else _verdict(item, entry)
    status = "ok" if answer not in (None, "tie") else "tie" if answer else "none"
    return replace(reply, answer=answer, status=entry.note or status)


def order_of(item: AnItem, entry: Said) -> str:
    """The order that an entry is of, as rows write it. Raises BadRow where it is none of this item's."""
    if isinstance(item, RatingItem):
        return entry.order or "0"
    if isinstance(item, ChoiceItem):
        shown = entry.order.split(",")
        if sorted(shown) != sorted(map(str, range(len(item.answers)))):
            raise BadRow(f"{entry.where}: order is {entry.order!r}; item {item.id!r} has {len(item.answers)} answers, "
                         "their indices in the order shown are wanted (2,0,1,3)")
        return entry.order
    if entry.order in ("file", "exchanged"):
        return "rejected_first" if item.swapped == (entry.order == "file") else "chosen_first"
    if entry.order not in ("chosen_first", "rejected_first", "both"):
        raise BadRow(f"{entry.where}: no order; without it nobody knows what was shown first (see docs/suites.md)")
    return entry.order


def _gold(item: AnItem, order: str) -> str:
    if isinstance(item, RatingItem):
        return ""
    if isinstance(item, ChoiceItem):
        return LETTERS[order.split(",").index("0")]
    if item.tie:
        return "tie"
    return gold_label("rejected_first" if order == "rejected_first" else "chosen_first")


def _slot(item: AnItem, entry: Said, order: str) -> str | None:
    """The slot of a winner that is named by its place in the file, or by being the better answer."""
    if not isinstance(item, PairItem):
        raise BadRow(f"{entry.where}: a winner is of two answers; item {item.id!r} is not a pair, give its verdict")
    if entry.winner in ("tie", ""):
        return entry.winner or None
    chosen = entry.winner == "chosen" or entry.winner == ("second" if item.swapped else "first")
    return "A" if chosen == (order != "rejected_first") else "B"


def _verdict(item: AnItem, entry: Said) -> str | None:
    found = entry.verdict or ""
    if not found:
        return None
    if isinstance(item, RatingItem):
        return _rating(item, entry)
    letters = ("A", "B") if isinstance(item, PairItem) else tuple(LETTERS[: len(item.answers)])
    named = "tie" if found.lower() == "tie" else found.upper()
    if named in (*letters, "tie"):
        return named
    raise BadRow(f"{entry.where}: verdict is {found!r}; it must be {', '.join(letters)} or tie, or empty")


def _rating(item: RatingItem, entry: Said) -> str:
    try:
        value = float(entry.verdict or "")
    except ValueError:
        value = float("nan")
    if not item.low <= value <= item.high:
        raise BadRow(f"{entry.where}: verdict is {entry.verdict!r}, not a rating from {item.low} to {item.high}")
    return f"{value:g}"
