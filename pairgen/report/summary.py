"""What a run report is made of: plain values that the loop gathers from its manifests and results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pairgen.engine import Frozen
from pairgen.errors import UsageError
from pairgen.evals.benchmark import Difference
from pairgen.report.numbers import Estimated

Metrics = Mapping[str, Estimated]
"""The numbers of one benchmark, by name, as evals writes them."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark of the run. `metrics` are the ones to show, the headline first.

    `goal` suites are what the loop is there to raise; the others watch what it must not harm.
    """

    id: str
    title: str
    metrics: tuple[str, ...]
    goal: bool = True


@dataclass(frozen=True, slots=True)
class LoopRecord:
    """What one iteration made. Shares are in [0, 1]; `agreement` is by order shown.

    `none_right` and `all_right` are the shares of pairs whose judgments are all wrong or all right:
    those teach nothing. `length_gap` is chosen minus rejected in tokens. `tokens` and `seconds` are
    by phase.
    """

    parse_rate: float | None
    agreement: Mapping[str, float]
    none_right: float | None
    all_right: float | None
    classes_before: Mapping[str, int]
    classes_after: Mapping[str, int]
    rows_kept: int
    judgment_tokens: float | None
    length_gap: float | None
    tokens: Mapping[str, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class IterationSummary:
    """One model on its way: `metrics` by suite id, what was made to train it, and its training log.

    Iteration 0 is the model the run began with; it has no `loop` and no `training`.
    """

    iteration: int
    metrics: Mapping[str, Metrics]
    loop: LoopRecord | None = None
    training: tuple[Mapping[str, float], ...] = ()

    def estimate(self, suite: str, metric: str) -> Estimated | None:
        """One number, None where it was not measured."""
        return self.metrics.get(suite, {}).get(metric)


@dataclass(frozen=True, slots=True)
class Change:
    """How a metric of a suite moved from the first to the last iteration, on the same items."""

    suite: str
    metric: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class StepFlow:
    """What went into a step and came out; `drops` by reason. Tokens and cost are what it bought.

    With `unpriced` requests the cost is the most it can have been. An `evaluation` makes no rows.
    """

    step: str
    rows_in: int
    rows_out: int
    drops: Mapping[str, int]
    requests: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float | None = None
    unpriced: int = 0
    evaluation: bool = False


@dataclass(frozen=True, slots=True)
class SampleJudgment:
    """A judgment to look at."""

    order: str
    verdict: str | None
    gold: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class SamplePair:
    """A pair to look at, with judgments of it (a right and a wrong one tell the most)."""

    id: str
    instruction: str
    chosen: str
    rejected: str
    construction: str
    modified: str | None = None
    judgments: tuple[SampleJudgment, ...] = ()


class Point(Frozen):
    """One point of a reference curve."""

    iteration: int
    mean: float
    stderr: float | None = None


class ReferenceCurve(Frozen):
    """A curve of a recorded study to hold the run against: a control, an oracle."""

    name: str
    suite: str
    metric: str
    points: tuple[Point, ...]


class ReferenceStudy(Frozen):
    """A recorded study, as its JSON file says: what it was, and its curves."""

    title: str
    curves: tuple[ReferenceCurve, ...]


def load_reference(path: Path) -> ReferenceStudy:
    """A recorded study from a JSON file. Raises UsageError naming the file and what is wrong."""
    try:
        return ReferenceStudy.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Everything a run report shows."""

    title: str
    command: str
    config: str
    code_version: str
    suites: tuple[Suite, ...]
    iterations: tuple[IterationSummary, ...]
    changes: tuple[Change, ...] = ()
    flows: tuple[StepFlow, ...] = ()
    alarms: tuple[str, ...] = ()
    samples: tuple[SamplePair, ...] = ()
    reference: ReferenceStudy | None = None
