"""What a comparison of objectives came to, as plain values that its report and its table are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass

from pairgen.evals.benchmark import Difference
from pairgen.report.summary import StepFlow, Suite


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of an arm: the mean over its seeds and items, with a 95 % interval that resamples both.

    `seeds` are the means of the single trainings; `n` counts items.
    """

    mean: float
    low: float
    high: float
    n: int
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """How the log-prob of held-out judgments moved through training, per judgment, since before the first step.

    `middle` is the mean over seeds, `low` and `high` the lowest and highest seed; `start` the value they count from.
    """

    steps: tuple[float, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    start: float


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """One way to train. `cells` are by suite and metric; `good` and `bad` the probe's two sides, if it was watched.

    `objective` and `learning_rate` are empty for the untrained model. Rows, steps and tokens are of one training,
    `seconds` the mean over seeds.
    """

    name: str
    objective: str
    learning_rate: float | None
    seeds: tuple[int, ...]
    cells: Mapping[tuple[str, str], Cell]
    rows: int = 0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    good: Curve | None = None
    bad: Curve | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better `arm` is than `versus` in a metric, on the same items and seeds."""

    arm: str
    versus: str
    suite: str
    metric: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class StudySummary:
    """A comparison of objectives: the untrained model first, then the arms in their order."""

    title: str
    command: str
    config: str
    code_version: str
    suites: tuple[Suite, ...]
    arms: tuple[ArmSummary, ...]
    gains: tuple[Gain, ...]
    flows: tuple[StepFlow, ...]
    probe_rows: int = 0
