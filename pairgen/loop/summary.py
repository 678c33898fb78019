"""What a run came to, gathered from its sealed steps for the report and the table at the end."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pairgen import __version__
from pairgen.evals.benchmark import Benchmark
from pairgen.loop.config import Experiment
from pairgen.loop.history import Record, compare
from pairgen.loop.steps import Program
from pairgen.pipeline.plan import Step
from pairgen.records import Judged, Judgment
from pairgen.report.summary import (
    Change,
    IterationSummary,
    LoopRecord,
    ReferenceStudy,
    RunSummary,
    SampleJudgment,
    SamplePair,
    StepFlow,
    Suite,
    load_reference,
)
from pairgen.resources import BUILTIN, ROOT
from pairgen.store import read_manifest, read_rows

HEADLINES = ("consistent_accuracy", "accuracy", "answer_accuracy", "first_slot", "parse_rate")
"""The metrics a judge's table shows; a suite without them shows what it has."""
STUDY = ROOT / "data" / "world" / "study.json"


def summarise(
    experiment: Experiment, plan: Program, run: Path, records: Sequence[Record], *, command: str, config: str,
    stopped: str | None = None,
) -> RunSummary:
    """The run as the report wants it. Reads only sealed steps, so it can be made again at any time."""
    alarms = tuple(alarm for record in records for alarm in record.alarms)
    return RunSummary(
        title=f"pairgen: {experiment.name}", command=command, config=config, code_version=__version__,
        suites=_suites(experiment, records),
        iterations=tuple(_iteration(run, plan, record) for record in records),
        changes=tuple(_changes(experiment, run, plan, records)), flows=tuple(flows(run, plan)),
        alarms=alarms + ((f"The loop stopped early: {stopped}.",) if stopped else ()),
        samples=tuple(_samples(run, plan, len(records))), reference=_reference(experiment),
    )


def _suites(experiment: Experiment, records: Sequence[Record]) -> tuple[Suite, ...]:
    benchmarks = experiment.loop.evals if experiment.loop else ()
    first = records[0].evals if records else {}
    suites = (shown_suite(benchmark, list(first.get(benchmark.id, {}))) for benchmark in benchmarks)
    return tuple(suite for suite in suites if suite)


def shown_suite(benchmark: Benchmark[Any], names: Sequence[str]) -> Suite | None:
    """A benchmark with those of its metrics that are shown, the headline first; None where it has none."""
    metrics = tuple(m for m in HEADLINES if m in names) or tuple(names[:3])
    extra = tuple(m for m in ("sampled_accuracy", "vote_accuracy", "derivation") if m in names)
    return Suite(benchmark.id, benchmark.label, metrics + extra, goal=benchmark.goal) if metrics else None


def _iteration(run: Path, plan: Program, record: Record) -> IterationSummary:
    data, loop = record.data, None
    if data is not None:
        loop = LoopRecord(
            parse_rate=data.parse_rate, agreement=data.agreement, none_right=data.none_correct,
            all_right=data.all_correct, classes_before=data.labels_before, classes_after=data.labels_after,
            rows_kept=data.kept_judgments, judgment_tokens=data.judgment_tokens, length_gap=data.length_gap,
            tokens=_by_phase(record.tokens), seconds=_by_phase(record.seconds),
        )
    step = plan.iterations[record.iteration].train
    metrics: Any = record.evals
    return IterationSummary(record.iteration, metrics, loop, _training(run, step))


def _by_phase(values: Mapping[str, Any]) -> dict[str, Any]:
    """Step figures under the step's own id: `it3-judged` is the phase `judged` of every iteration."""
    return {name.partition("-")[2] or name: value for name, value in values.items()}


def _training(run: Path, step: Step | None) -> tuple[Mapping[str, float], ...]:
    path = step.folder(run) / "log.jsonl" if step else None
    if path is None or not path.exists():
        return ()
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return tuple({k: v for k, v in line.items() if isinstance(v, int | float)} for line in lines)


def _changes(
    experiment: Experiment, run: Path, plan: Program, records: Sequence[Record]
) -> Iterator[Change]:
    """Each evaluation's change from the seed to the last iteration, paired by item."""
    if len(records) < 2 or experiment.loop is None:
        return
    for benchmark in experiment.loop.evals:
        ends = (plan.iterations[record.iteration] for record in (records[0], records[-1]))
        first, last = (iteration.evals[benchmark.id].folder(run) for iteration in ends)
        difference = compare(benchmark, first, last)
        if difference is not None:
            metrics = records[-1].evals[benchmark.id]
            name = next(m for m in ("accuracy", "answer_accuracy", *metrics) if m in metrics)
            yield Change(benchmark.id, name, difference)


def flows(run: Path, plan: Program) -> Iterator[StepFlow]:
    """What every sealed step took in, gave out and paid."""
    rows: dict[str, int] = {}
    for step in plan.steps.values():
        manifest = read_manifest(step.folder(run))
        if manifest is None:
            continue
        rows[step.name], log = manifest.rows, manifest.log
        evaluation = manifest.row_class in (None, "EvalItem")
        if evaluation and not log.get("requests") and not log.get("reused"):
            continue
        came = manifest.rows + sum(manifest.drops.values())
        yield StepFlow(
            step.name, sum(rows.get(name, 0) for name in step.inputs) or came,
            manifest.rows, manifest.drops, log.get("requests", 0), log.get("reused", 0),
            log.get("prompt_tokens", 0), log.get("completion_tokens", 0), log.get("cost", 0.0),
            log.get("seconds"), log.get("unpriced", 0), evaluation,
        )


def _samples(run: Path, plan: Program, count: int, n: int = 8) -> Iterator[SamplePair]:
    """Pairs the first iteration's judge was divided on: a right and a wrong judgment tell the most."""
    stages = plan.iterations[1].stages.values() if count > 1 else ()
    judged = next((s for s in stages if s.spec.writes is Judged), None)
    if judged is None:
        return
    rows: Iterator[Judged] = read_rows(judged.folder(run))
    divided = (row for row in rows if 0 < sum(j.agrees for j in row.judgments) < len(row.judgments))
    for row in islice(divided, n):
        pair = row.pair
        right = next(j for j in row.judgments if j.agrees)
        wrong = next(j for j in row.judgments if not j.agrees)
        yield SamplePair(
            pair.id, pair.instruction.text, pair.chosen, pair.rejected, pair.construction, pair.modified,
            (_sample(right), _sample(wrong)),
        )


def _sample(judgment: Judgment) -> SampleJudgment:
    return SampleJudgment(judgment.order, judgment.verdict, judgment.gold, judgment.status, judgment.text)


def _reference(experiment: Experiment) -> ReferenceStudy | None:
    """The recorded study's control and oracle, for runs on the embedded world."""
    loop = experiment.loop
    embedded = loop is not None and experiment.engines[loop.policy].model.startswith(BUILTIN)
    return load_reference(STUDY) if embedded and STUDY.exists() else None
