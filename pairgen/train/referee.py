"""What the rows of a training are compared with: the reference's log-probs, fixed or moving, and what else
is known of them before the first step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from pairgen.errors import UsageError
from pairgen.train.config import TrainConfig
from pairgen.train.crew import Crew
from pairgen.train.encode import Encoded
from pairgen.train.example import Example
from pairgen.train.model import Policy
from pairgen.train.moving import Follower
from pairgen.train.ranks import Ranks
from pairgen.train.reference import Reference, cached_logps, compute_logps, wanted
from pairgen.train.schedule import Order
from pairgen.train.sides import Known, known_of


@dataclass(frozen=True, slots=True)
class Referee:
    """The reference model of a training. `origin` is the digest of its weights."""

    config: TrainConfig
    crew: Crew
    judge: Policy
    origin: str
    out: Path
    ranks: Ranks

    def known(self, data: Encoded, vectors_ME: Tensor | None) -> Known:
        """What is known of a set of rows, log-probs taken from the cache where they lie."""
        table = Reference.none(len(data.examples))
        if self.config.needs_reference:
            table = cached_logps(self.config, self.judge, self.crew, self.origin, data, self.out, self.ranks)
        return known_of(self.config, data.examples, table.values_MS, table.tail_MS, vectors_ME)

    def follower(self, policy: Policy) -> Follower | None:
        """The moving reference, if there is one, where the judge stands."""
        if self.config.moving_reference is None:
            return None
        if policy.adapters is not None and self.judge is not policy:
            raise UsageError("moving_reference with lora follows the initial model: give no other reference")
        return Follower(self.config.moving_reference, self.judge.trained)

    def followed(self, follower: Follower, policy: Policy, examples: Sequence[Example], known: Known,
                 order: Order, steps: range) -> Known:
        """The rows of these steps under the follower as it stands."""
        rows = sorted({row for step in steps for row in order.at(step)})
        with follower.standing_in(policy.trained):
            table = compute_logps(self.config, policy, self.crew, examples,
                                  wanted(self.config, examples, rows), self.ranks)
        return replace(known, ref_MS=table.values_MS, ref_tail_MS=table.tail_MS)
