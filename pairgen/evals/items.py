"""What benchmarks are made of: pairs to judge, answers to choose among, answers to rate.

The better answers come first in an item, in every kind; the order in which a judge sees them is the
judge's business and is stored with its reply.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pairgen.evals.benchmark import EvalItem, EvalReply, Item
from pairgen.records import Messages


@dataclass(frozen=True, slots=True)
class PairItem(Item):
    """Two answers to one instruction, of which `chosen` is the better one unless they are labelled a `tie`.

    `messages` is the conversation they continue, where it is more than the instruction. Items of one
    `cluster` (a prompt) are resampled together. `swapped` says that the source lists the rejected answer
    first; `votes` are what each annotator said: 1 for chosen, 0 for rejected, 0.5 for a tie.
    """

    instruction: str
    chosen: str
    rejected: str
    tie: bool = False
    messages: Messages = ()
    reference: str | None = None
    rubric: str | None = None
    cluster: str | None = None
    swapped: bool = False
    votes: tuple[float, ...] = ()

    def row(
        self, replies: Sequence[EvalReply] = (), scores: Sequence[float | None] = (), error: str | None = None,
    ) -> EvalItem:
        """The item with what was said of it."""
        return EvalItem(
            self.id, self.group, self.instruction, (self.chosen, self.rejected), tuple(replies), error,
            right=0 if self.tie else 1, scores=tuple(scores), ratings=self.votes, cluster=self.cluster,
            swapped=self.swapped,
        )


@dataclass(frozen=True, slots=True)
class ChoiceItem(Item):
    """Several answers to one instruction, of which the first `right` are right."""

    instruction: str
    answers: tuple[str, ...]
    right: int = 1
    messages: Messages = ()
    cluster: str | None = None

    def row(
        self, replies: Sequence[EvalReply] = (), scores: Sequence[float | None] = (), error: str | None = None,
    ) -> EvalItem:
        """The item with what was said of it."""
        return EvalItem(
            self.id, self.group, self.instruction, self.answers, tuple(replies), error,
            right=self.right, scores=tuple(scores), cluster=self.cluster,
        )


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

    def row(
        self, replies: Sequence[EvalReply] = (), scores: Sequence[float | None] = (), error: str | None = None,
    ) -> EvalItem:
        """The item with what was said of it."""
        return EvalItem(
            self.id, self.group, self.instruction, (self.answer,), tuple(replies), error,
            scores=tuple(scores), ratings=self.gold, cluster=self.cluster,
        )
