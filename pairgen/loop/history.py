"""What every iteration came to, read from its sealed steps, so that it can be had again at any time.

`iterations.jsonl` in the run folder holds one record a line, for scripts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairgen import fs
from pairgen.errors import UsageError
from pairgen.evals.benchmark import Benchmark, Difference, EvalItem, bootstrap_difference
from pairgen.evals.drift import Vitals, drift_alarms
from pairgen.fingerprint import JSON
from pairgen.loop.config import Experiment
from pairgen.loop.record import DataRecord, data_record
from pairgen.loop.steps import Iteration, Program
from pairgen.records import Judged
from pairgen.store import Manifest, read_manifest, read_rows

ITERATIONS = "iterations.jsonl"
Metrics = Mapping[str, Mapping[str, Any]]
"""The estimates of one evaluation, by metric."""


@dataclass(frozen=True)
class Record:
    """One iteration. `change` compares each evaluation with the iteration before, paired by item.

    `tokens` (prompt and completion, bought) and `seconds` are by step; `training` is the last step's
    numbers; `alarms` what drifted too far.
    """

    iteration: int
    evals: Mapping[str, Metrics]
    change: Mapping[str, Difference]
    data: DataRecord | None
    training: Mapping[str, Any] | None
    tokens: Mapping[str, int]
    seconds: Mapping[str, float]
    cost: float
    alarms: tuple[str, ...]

    def to_json(self) -> dict[str, JSON]:
        """As plain JSON."""
        return asdict(self)


class History:
    """The records of a run, one after the other."""

    def __init__(self, experiment: Experiment, plan: Program, run: Path) -> None:
        self._experiment, self._plan, self._run = experiment, plan, run
        self.records: list[Record] = []

    def add(self, iteration: Iteration) -> Record:
        """Record a complete iteration and keep the record in the run folder."""
        record = self._record(iteration)
        self.records.append(record)
        lines = [json.dumps(r.to_json()).encode() + b"\n" for r in self.records]
        fs.write_atomic(self._run / ITERATIONS, b"".join(lines))
        return record

    def complete(self) -> list[Record]:
        """Add every iteration whose steps are all sealed."""
        for iteration in self._plan.iterations:
            if any(read_manifest(s.folder(self._run)) is None for s in iteration.steps):
                break
            self.add(iteration)
        return self.records

    def _record(self, iteration: Iteration) -> Record:
        manifests = {s.name: m for s in iteration.steps if (m := read_manifest(s.folder(self._run)))}
        evals = {key: manifests[s.name].metrics for key, s in iteration.evals.items()}
        data = self._data(iteration, manifests)
        train = manifests[iteration.train.name] if iteration.train else None
        return Record(
            iteration.number, evals, dict(self._changes(iteration)), data,
            train.metrics if train else None,
            {name: tokens for name, m in manifests.items() if (tokens := bought(m))},
            {name: m.log.get("seconds", 0.0) for name, m in manifests.items()},
            sum(m.log.get("cost", 0.0) for m in manifests.values()),
            tuple(self._alarms(iteration.number, evals, data)),
        )

    def _data(self, iteration: Iteration, manifests: Mapping[str, Manifest]) -> DataRecord | None:
        """The record of the first judging and the filter that reads it."""
        judged = next((s for s in iteration.stages.values() if s.spec.writes is Judged), None)
        kept = next((s for s in iteration.stages.values() if judged and judged.name in s.inputs), None)
        if judged is None or kept is None or kept.spec.writes is not Judged:
            return None
        rows: Iterator[Judged] = read_rows(judged.folder(self._run))
        return data_record(rows, read_rows(kept.folder(self._run)), manifests[kept.name].drops)

    def _changes(self, iteration: Iteration) -> Iterator[tuple[str, Difference]]:
        if not self.records or self._experiment.loop is None:
            return
        before = self._plan.iterations[self.records[-1].iteration]
        for benchmark in self._experiment.loop.evals:
            old, new = (it.evals[benchmark.id].folder(self._run) for it in (before, iteration))
            difference = compare(benchmark, old, new)
            if difference is not None:
                yield benchmark.id, difference

    def _alarms(self, number: int, evals: Mapping[str, Metrics], data: DataRecord | None) -> list[str]:
        loop = self._experiment.loop
        if not self.records or loop is None:
            return []
        suite, last = _watched(loop.evals), self.records[-1]
        before = _vitals(last.iteration, last.evals.get(suite, {}), last.data)
        return drift_alarms(before, _vitals(number, evals.get(suite, {}), data), loop.drift, suite)


def _watched(suites: Sequence[Benchmark[Any]]) -> str:
    """The suite that is watched for drift: the first that the loop is there to raise."""
    return next((suite.id for suite in [*(suite for suite in suites if suite.goal), *suites]), "")


def bought(manifest: Manifest) -> int:
    """The tokens a step bought."""
    return int(manifest.log.get("prompt_tokens", 0) + manifest.log.get("completion_tokens", 0))


def compare(benchmark: Benchmark[Any], before: Path, after: Path) -> Difference | None:
    """The paired bootstrap of two evaluations of one benchmark; None where they share no scored item."""
    try:
        return bootstrap_difference(_scores(benchmark, after), _scores(benchmark, before))
    except UsageError:
        return None


def _scores(benchmark: Benchmark[Any], folder: Path) -> dict[str, float | None]:
    return {row.id: benchmark.score(row) for row in read_rows(folder, EvalItem)}


def _vitals(number: int, metrics: Metrics, data: DataRecord | None) -> Vitals:
    mean = {name: value["mean"] for name, value in metrics.items()}
    return Vitals(
        number, mean.get("consistency"), mean.get("parse_rate"),
        data.kept_share if data else None, data.judgment_tokens if data else None,
    )
