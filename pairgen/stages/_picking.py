"""A judge that is shown two answers and picks one: the options, the requests and the reading of verdicts.

Both judge formats of the project work: CLAIR's [1] and [2], and [[A]] and [[B]].
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import model_validator

from pairgen.engine import Completion, Request, Sampling
from pairgen.parsers import Verdict, read_choice, read_verdict
from pairgen.prompts import Prompt, PromptFile, shipped
from pairgen.records import ORDERS, Drop, Order
from pairgen.stage import FormStage, row_seed
from pairgen.stages._pairing import CLAIR_SAMPLING
from pairgen.stages.judge import JUDGE_HOLES

STATUS = {"none": "unparsed", "multiple": "unparsed"}


class Picking(FormStage):
    """Show two answers in one order drawn by content (`random`), in `both`, or as they stand (`fixed`)."""

    fills: ClassVar[frozenset[str]] = JUDGE_HOLES

    prompt: Prompt = shipped("prefer.md")
    orders: Literal["random", "both", "fixed"] = "random"
    sampling: Sampling = CLAIR_SAMPLING

    @model_validator(mode="after")
    def _picks(self) -> "Picking":
        if not {"choice", "verdict"} & self.prompt.parts:
            raise ValueError(
                f"prompt: {self.prompt.name} reads {sorted(self.prompt.parts)} from a reply; "
                f"{self.use} needs ['choice'] or ['verdict']"
            )
        return self

    def requests_per_row(self) -> float:
        return 2 if self.orders == "both" else 1

    def has_form(self, reply: Completion) -> bool:
        return verdict_of(self.prompt, reply).status not in STATUS

    def shown(self, row_id: str) -> tuple[Order, ...]:
        """The orders a row is shown in; `chosen_first` here means: the first of the two stands first."""
        if self.orders == "random":
            return (ORDERS[row_seed(self.seed, row_id) % 2],)
        return ORDERS if self.orders == "both" else ORDERS[:1]

    def requests(self, row_id: str, task: str, first: str, second: str) -> list[Request]:
        """One request per order, each with a seed of its own."""
        return [
            Request(
                self.prompt.render(
                    instruction=task, answer_a=first if order == "chosen_first" else second,
                    answer_b=second if order == "chosen_first" else first,
                ),
                self.sampling, row_seed(self.seed, row_id, first, second, order),
            )
            for order in self.shown(row_id)
        ]

    def picked(self, row_id: str, replies: Sequence[Sequence[Completion]]) -> tuple[bool, ...] | Drop:
        """For each order whether the first answer was picked, or why the row leaves: unreadable, tie, cut."""
        firsts = []
        for order, samples in zip(self.shown(row_id), replies, strict=True):
            verdict = verdict_of(self.prompt, samples[0])
            if verdict.winner is None:
                reason = STATUS.get(verdict.status, verdict.status)
                return Drop(row_id, self.id, reason, f"{verdict.status} in the judgment", raw=samples[0].text)
            firsts.append((verdict.winner == "A") == (order == "chosen_first"))
        return tuple(firsts)


def verdict_of(prompt: PromptFile, reply: Completion) -> Verdict:
    """The verdict of a reply as the prompt's own format has it; a filtered reply has none."""
    if reply.finish not in ("stop", "length"):
        return Verdict(None, reply.finish)
    if prompt.parser == "choice":
        return read_choice(reply.text, reply.finish)
    if prompt.parser == "verdict":
        return read_verdict(reply.text, reply.finish)
    parts = prompt.read(reply.text) or {}
    named = parts.get("choice") or parts.get("verdict") or ""
    winner = {"1": "A", "2": "B"}.get(named, named.upper())
    return Verdict(winner, "ok") if winner in ("A", "B") else Verdict(None, "none")
