"""A study of objectives: from one set of judgments, the same model trained several ways, each with several seeds.

After Atla's comparison of SFT, DPO and RPO for evaluators (22 Oct 2024). Every arm reads the same rows in the same
order for the same number of steps; only what differs between arms is written down, and everything is
measured by the same evaluations, the untrained model first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, SkipValidation, field_validator

from pairgen.engine import Frozen
from pairgen.errors import UsageError
from pairgen.evals.benchmark import Benchmark
from pairgen.pipeline.config import parse_as
from pairgen.pipeline.plan import Step
from pairgen.train.config import TrainConfig

UNTRAINED = "untrained"
"""What the model is called that every arm starts from."""


class Arm(Frozen):
    """One way to train. `train_on` names the steps whose rows it reads."""

    train_on: tuple[str, ...]
    train: TrainConfig


class Compare(Frozen):
    """Train every arm with every seed, measure all by `evals`.

    `policy` is the engine whose weights are trained. `probe` names a step of held-out preferences; the
    log-probs of both their sides are followed through every training. In the file, `train` and `train_on`
    are what arms share, and an arm holds what it changes: `dpo: {objective: dpo, learning_rate: 1.0e-5}`.
    """

    policy: str = "policy"
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    probe: str | None = None
    arms: dict[str, Arm] = Field(min_length=1)
    evals: tuple[SkipValidation[Benchmark[Any]], ...] = ()

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is named twice: the same training would be counted twice")
        return seeds


@dataclass(frozen=True)
class Trained:
    """The steps of one arm with one seed; the untrained model has no training."""

    arm: str
    seed: int | None
    train: Step | None
    evals: Mapping[str, Step]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps in the order they run."""
        return (*((self.train,) if self.train else ()), *self.evals.values())


def parse_compare(value: Any, evals: tuple[Benchmark[Any], ...]) -> Compare:
    """The `compare:` section of a pipeline file. Raises UsageError naming the key."""
    if not isinstance(value, dict):
        raise UsageError("compare: expected a mapping")
    parts = {key: item for key, item in value.items() if key not in ("train", "train_on")}
    arms = value.get("arms")
    if not isinstance(arms, dict) or not arms:
        raise UsageError("compare.arms: which objectives? a mapping such as `sft: {objective: sft}`")
    shared = value.get("train") or {}
    if not isinstance(shared, dict):
        raise UsageError("compare.train: expected a mapping")
    parts["arms"] = {name: _arm(name, own, shared, value.get("train_on")) for name, own in arms.items()}
    parts["evals"] = evals
    return parse_as(Compare, parts, "compare")


def _arm(name: Any, own: Any, shared: Mapping[str, Any], train_on: Any) -> Arm:
    where = f"compare.arms.{name}"
    if name == UNTRAINED:
        raise UsageError(f"{where}: this is what the model before training is called; name the arm otherwise")
    if not isinstance(own, dict):
        raise UsageError(f"{where}: expected a mapping such as {{objective: dpo, learning_rate: 1.0e-5}}")
    reads = own.get("train_on", train_on)
    if not reads:
        raise UsageError(f"{where}: train_on: which steps hold the training rows?")
    changed = {key: item for key, item in own.items() if key != "train_on"}
    if "seed" in changed or "seed" in shared:
        raise UsageError("compare: the seeds of the trainings are compare.seeds")
    config = parse_as(TrainConfig, {**shared, **changed}, where)
    return parse_as(Arm, {"train_on": reads, "train": config}, where)
