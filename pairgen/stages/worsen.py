"""Error injection: a model puts one plausible error into a good answer, and the answer is preferred.

CLAIR turned round: the contrast is as small, and the label rests on the error alone. Good for answers
that are known to be right, such as references.
"""

from typing import Any, Literal

from pydantic import model_validator

from pairgen.checks import contrast
from pairgen.engine import Completion
from pairgen.records import Candidates, Drop, Pair, Response, content_id
from pairgen.stages._pairing import drawn
from pairgen.stages.revise import Revise


class Worsen(Revise):
    """Worsen each answer a little; the answer is chosen, what was made of it rejected.

    Replies are dropped for the reasons `revise` has; `length_ratio` bounds worsened / answer, so that
    length gives the error away no more than the style does.
    """

    intensity: Literal["minimal"] = "minimal"
    length_ratio: tuple[float, float] = (0.8, 1.25)

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, values: Any) -> Any:
        return {"prompt": "worsen.md", **values} if isinstance(values, dict) else values

    def _made(self, row: Candidates, response: Response, reply: Completion, name: str) -> Pair | Drop:
        answer = response.text.strip()
        rewritten = self.rewritten(reply, answer, row.instruction.text, name)
        if isinstance(rewritten, Drop):
            return rewritten
        worse = rewritten["revision"]
        return Pair(
            content_id(row.id, answer, worse), row.instruction, answer, worse, "worsened", None,
            response.model, self.engine, contrast(answer, worse), reply.text,
            rationale=rewritten.get("rationale"), chosen_score=response.score,
            chosen_sampled=response.sampled, rejected_sampled=drawn(self.sampling, self._seed(row, response)),
        )


STAGE = Worsen
