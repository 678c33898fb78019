"""Pairs read from a benchmark's file, and what their suites share: which answer is better, and official numbers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar

from pairgen.evals import compat
from pairgen.evals.benchmark import Estimate, EvalItem, EvalReply, estimate_rows
from pairgen.evals.files import FromFile
from pairgen.evals.items import PairItem
from pairgen.evals.judging import PairBenchmark
from pairgen.prompts import PromptFile
from pairgen.records import Messages


class FilePairs(FromFile[PairItem], PairBenchmark):
    """A pairwise suite over a file. `PARSER` is the parser of its official script (see `evals.compat`)."""

    PARSER: ClassVar[str] = "rewardbench"

    def row(self, item: PairItem, replies: tuple[EvalReply, ...]) -> EvalItem:
        return replace(super().row(item, replies), swapped=item.swapped, ratings=item.votes)

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """How often the official parser reads something else in the same texts, where there are texts.

        Of replies to a prompt that asks for another format there is nothing to say: it reads nothing in them.
        """
        return parser_disagreement(rows, self.PARSER) if self.prompt.parser == _usual_parser(type(self)) else {}


def labelled(
    key: str, group: str, instruction: str, answers: tuple[str, str], label: int, *,
    messages: Messages = (), votes: tuple[float, ...] = (), cluster: str | None = None,
) -> PairItem:
    """A pair of two answers in the file's order, of which number `label` (1 or 2) is better, or neither (0).

    `votes` are for the first answer in the file's order.
    """
    first, second = answers
    chosen, rejected = (second, first) if label == 2 else (first, second)
    turned = tuple(1 - vote for vote in votes) if label == 2 else votes
    return PairItem(
        key, group, instruction, chosen, rejected, tie=label == 0, messages=messages, cluster=cluster,
        swapped=label == 2, votes=turned,
    )


@cache
def _usual_parser(suite: type[FilePairs]) -> str | None:
    """How replies to the suite's own prompt are read."""
    usual: PromptFile = suite.model_fields["prompt"].get_default(call_default_factory=True)
    return usual.parser


DISAGREEMENT = "official_parser_disagreement"


def parser_disagreement(rows: Sequence[EvalItem], name: str) -> dict[str, Estimate]:
    """`official_parser_disagreement`: the share of texts that the official parser reads otherwise than we did.

    Only of verdicts read in texts, not of odds of letters, nor of answers of a pair that were rated one by one.
    """
    read = compat.parser(name)

    def differs(row: EvalItem) -> list[float | None]:
        told = [reply for reply in row.replies if reply.text and reply.confidence is None and not row.scores]
        return [float(read(reply.text) != reply.answer) for reply in told]

    if not any(differs(row) for row in rows):
        return {}
    return {DISAGREEMENT: estimate_rows(rows, differs)}
