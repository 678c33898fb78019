"""What a benchmark gives to judges that read nothing: always the first slot, the longer answer, a coin.

They are rows like any judge's, so that every metric exists for them: a number above chance that `longer`
also reaches says nothing of judging.
"""

import math
from collections.abc import Sequence
from random import Random

from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.items import ChoiceItem, PairItem, RatingItem
from pairgen.parsers.verdicts import TIE
from pairgen.records import ORDERS, gold_label
from pairgen.stage import row_seed

AnyItem = PairItem | ChoiceItem | RatingItem
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def rows(items: Sequence[AnyItem], seed: int = 0) -> dict[str, list[EvalItem]]:
    """The rows of each baseline, by name: `always-first` (where there are slots), `longer` (where answers have texts)
    and `random`.

    `longer` is a scoring model: an answer's score is the log of its length, and equal ones share. So its
    confidence, by Bradley and Terry, is the longer answer's share of the characters.
    """
    shown = [item for item in items if not isinstance(item, RatingItem)]
    told = items if any(any(answers_of(item)) for item in items) else ()
    found = {
        "always-first": [item.row(_always_first(item)) for item in shown],
        "longer": [item.row((), [math.log(len(answer) + 1) for answer in answers_of(item)]) for item in told],
        "random": [item.row(_random(item, seed)) for item in items],
    }
    return {name: rows for name, rows in found.items() if rows}


def answers_of(item: AnyItem) -> tuple[str, ...]:
    """The answers of an item, the better ones first."""
    if isinstance(item, PairItem):
        return (item.chosen, item.rejected)
    return item.answers if isinstance(item, ChoiceItem) else (item.answer,)


def _always_first(item: PairItem | ChoiceItem) -> tuple[EvalReply, ...]:
    return tuple(_said(order, "A", gold) for order, gold in _slots(item))


def _random(item: AnyItem, seed: int) -> tuple[EvalReply, ...]:
    """A coin for each showing; a rating is drawn from all of the scale."""
    coin = Random(row_seed(seed, item.id, "random"))
    if isinstance(item, RatingItem):
        return (_said("0", str(coin.randint(item.low, item.high)), ""),)
    slots = LETTERS[: len(answers_of(item))]
    return tuple(_said(order, coin.choice(slots), gold) for order, gold in _slots(item))


def _slots(item: PairItem | ChoiceItem) -> list[tuple[str, str]]:
    """Every order an item can be turned to, with the slot of the right answer in it."""
    if isinstance(item, PairItem):
        return [(order, TIE if item.tie else gold_label(order)) for order in ORDERS]
    places = list(range(len(item.answers)))
    turns = [places[turn:] + places[:turn] for turn in places]
    return [(",".join(map(str, turn)), LETTERS[turn.index(0)]) for turn in turns]


def _said(order: str, answer: str, gold: str) -> EvalReply:
    return EvalReply("greedy", order, 0, "", answer, "ok", gold, 0)
