"""What benchmarks are made of: pairs to judge, answers to choose among, answers to rate.

The better answers come first in an item, in every kind; the order in which a judge sees them is the
judge's business and is stored with its reply.
"""

from dataclasses import dataclass

from pairgen.evals.benchmark import Item
from pairgen.records import Messages


@dataclass(frozen=True, slots=True)
class PairItem(Item):
    """Two answers to one instruction, of which `chosen` is the better one unless they are labelled a `tie`.

    `messages` is the conversation they continue, where it is more than the instruction. Items of one
    `cluster` (a prompt) are resampled together.
    """

    instruction: str
    chosen: str
    rejected: str
    tie: bool = False
    messages: Messages = ()
    reference: str | None = None
    rubric: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceItem(Item):
    """Several answers to one instruction, of which the first `right` are right."""

    instruction: str
    answers: tuple[str, ...]
    right: int = 1
    messages: Messages = ()
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class RatingItem(Item):
    """One answer to rate from `low` to `high` by a rubric; `gold` are the ratings it was given, most trusted first.

    `instruction` may already hold rubric and reference, as some benchmarks ship it (`ready`).
    """

    instruction: str
    answer: str
    gold: tuple[float, ...]
    rubric: str | None = None
    reference: str | None = None
    low: int = 1
    high: int = 5
    ready: bool = False
    messages: Messages = ()
    cluster: str | None = None
