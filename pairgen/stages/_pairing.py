"""What the stages that make pairs share: why a reply cannot be used, and how a text was drawn."""

from dataclasses import dataclass

from pairgen.checks import is_refusal, leaked_identifier, normalised
from pairgen.engine import Completion, Sampling
from pairgen.records import Drop, Sampled

CLAIR_SAMPLING = Sampling(temperature=0.7, max_tokens=4096)
"""What CLAIR's authors send their reviser; nothing else is set."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text makes no pair. `failed` is false where it was filtered on purpose."""

    reason: str
    detail: str = ""
    failed: bool = True

    def drop(self, row_id: str, stage: str, raw: str | None) -> Drop:
        """The drop of a row for this fault, the reply kept."""
        return Drop(row_id, stage, self.reason, self.detail, self.failed, raw)


def finish_fault(reply: Completion) -> Fault | None:
    """A reply that was cut, filtered or empty."""
    if reply.finish != "stop":
        return Fault("truncated" if reply.finish == "length" else reply.finish)
    return None if reply.text.strip() else Fault("empty")


def rewrite_fault(made: str, original: str, task: str, ratio: tuple[float, float]) -> Fault | None:
    """Why a rewritten answer is no counterpart of its original: `ratio` bounds their lengths in characters."""
    if not made:
        return Fault("empty")
    if normalised(made) == normalised(original):
        return Fault("unchanged", failed=False)
    if is_refusal(made) and not is_refusal(original):
        return Fault("refusal")
    if leaked := leaked_identifier(made, original, task):
        return Fault("identifier_leak", repr(leaked))
    return length_fault(made, original, ratio)


def length_fault(made: str, original: str, ratio: tuple[float, float]) -> Fault | None:
    """A text whose length in characters is out of proportion to the other's."""
    times = len(made) / max(1, len(original))
    if ratio[0] <= times <= ratio[1]:
        return None
    return Fault("length_ratio", f"{times:.2f} times as long, wanted {ratio[0]:g} to {ratio[1]:g}", failed=False)


def checked_ratio(ratio: tuple[float, float]) -> tuple[float, float]:
    """The bounds, if they are any. Raises ValueError."""
    if not 0 <= ratio[0] <= ratio[1]:
        raise ValueError("two numbers from 0, the lower bound first")
    return ratio


def drawn(sampling: Sampling, seed: int, index: int = 0) -> Sampled:
    """How sample `index` of a request with that seed was drawn."""
    return Sampled(sampling.temperature, sampling.top_p, sampling.max_tokens, seed + index)
