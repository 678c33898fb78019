"""Verifiable pairs: of sampled solutions to a task with a known final answer, a right one over a wrong one.

No judge and no reviser: the label is a comparison of final answers, as on GSM8K (`#### 42`, `\\boxed{42}`).
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pairgen.checks import contrast
from pairgen.parsers import final_answer
from pairgen.records import Candidates, Drop, Pair, Response, content_id
from pairgen.stage import RowStage


class Verifiable(RowStage):
    """Up to `per_prompt` pairs of a right and a wrong solution, no solution twice (`data.reference` knows).

    A solution that states no final answer takes no part, or is wrong with `unstated: wrong`. Dropped:
    no_reference (the task has no readable solution), unparsed (no sample states an answer), all_right,
    all_wrong.
    """

    reads: ClassVar[type] = Candidates
    writes: ClassVar[type] = Pair

    per_prompt: int = Field(default=1, ge=1)
    unstated: Literal["ignored", "wrong"] = "ignored"

    def run(self, rows: Iterator[Candidates]) -> Iterator[Pair | Drop]:
        for row in rows:
            truth = known_answer(row.instruction.reference)
            if truth is None:
                yield Drop(row.id, self.id, "no_reference", "data.reference names the column of solutions")
                continue
            right, wrong = self._sorted(row, truth)
            for good, bad in zip(right[: self.per_prompt], wrong, strict=False):
                yield _pair(row, good, bad)
            if not right or not wrong:
                reason = "all_right" if right else "all_wrong" if wrong else "unparsed"
                yield Drop(row.id, self.id, reason, f"the answer is {truth}", failed=reason == "unparsed")

    def _sorted(self, row: Candidates, truth: str) -> tuple[list[Response], list[Response]]:
        """The right and the wrong solutions, each text once, in a seeded order."""
        once = {response.text.strip(): response for response in row.responses}
        ranked = sorted(once.values(), key=lambda r: content_id(str(self.seed), row.id, r.text))
        stated = [(response, final_answer(response.text)) for response in ranked]
        right = [response for response, answer in stated if answer == truth]
        wrong = [
            response for response, answer in stated
            if answer != truth and (answer is not None or self.unstated == "wrong")
        ]
        return right, wrong


def known_answer(reference: str | None) -> str | None:
    """The final answer of a reference solution, or of one that is nothing but the answer."""
    if reference is None:
        return None
    return final_answer(reference) or (final_answer(f"#### {reference}") if "\n" not in reference.strip() else None)


def _pair(row: Candidates, good: Response, bad: Response) -> Pair:
    chosen, rejected = good.text.strip(), bad.text.strip()
    return Pair(
        content_id(row.id, chosen, rejected), row.instruction, chosen, rejected, "verifiable", None,
        good.model, bad.model, contrast(chosen, rejected), "",
        rationale=f"the final answer is {final_answer(chosen)}, not {final_answer(rejected) or 'unstated'}",
        chosen_sampled=good.sampled, rejected_sampled=bad.sampled,
    )


STAGE = Verifiable
