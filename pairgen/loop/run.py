"""The loop's driver: stages, training, swap, evaluation, again. Readable from top to bottom.

The engine stays alive throughout: new weights are loaded in place. Every step is sealed before the
next begins, so a run that dies goes on where it was.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pairgen import __version__
from pairgen.errors import UsageError
from pairgen.evals.benchmark import bootstrap_difference
from pairgen.evals.drift import Vitals, drift_alarms
from pairgen.evals.run import run_benchmark
from pairgen.fingerprint import JSON, file_digest
from pairgen.journal import Journaled
from pairgen.loop.config import Experiment, LoopConfig
from pairgen.loop.record import data_record
from pairgen.loop.steps import Evaluation, Iteration, Program, Training, program
from pairgen.models import model_folder
from pairgen.pipeline.plan import Step, model_digest
from pairgen.pipeline.progress import Event, Meter
from pairgen.pipeline.run import Runner, log_of, sealed_manifest
from pairgen.records import Judged
from pairgen.store import Manifest, StepWriter, Usage, read_manifest, read_rows, seal


@dataclass
class Outcome:
    """What a run came to. `iterations` holds one record per iteration, the seed's first."""

    iterations: list[dict[str, JSON]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    stopped: str | None = None
    failed_share: float = 0.0


async def run_experiment(experiment: Experiment, runner: Runner, told: Callable[[dict[str, JSON]], None]) -> Outcome:
    """Run every step that is not done. `told` gets each iteration's record as it is complete."""
    plan = program(experiment)
    steps, outcome = plan.steps, Outcome()
    for step in plan.base.values():
        await runner.stage(step, steps)
    for iteration in plan.iterations:
        record = await _iterate(experiment, runner, iteration, steps)
        _compare(experiment, outcome, record)
        outcome.iterations.append(record)
        told(record)
        outcome.stopped = _gate(experiment, outcome)
        if outcome.stopped:
            break
    outcome.failed_share = failed_share(plan, runner.folder)
    return outcome


async def _iterate(
    experiment: Experiment, runner: Runner, iteration: Iteration, steps: dict[str, Step]
) -> dict[str, JSON]:
    began = time.monotonic()
    for step in iteration.stages.values():
        await runner.stage(step, steps)
    if iteration.train is not None:
        await _train(experiment, runner, iteration.train, steps)
    for step in iteration.evals.values():
        await _evaluate(experiment, runner, step, steps)
    return iteration_record(runner.folder, iteration, time.monotonic() - began)


async def _train(experiment: Experiment, runner: Runner, step: Step, steps: dict[str, Step]) -> Manifest:
    """Train, seal the checkpoint, and make its weights known to the engines."""
    folder = step.folder(runner.folder)
    manifest = runner.reuse(step)
    if manifest is None:
        runner.check_stop()
        await runner.engines.sleep()
        manifest = _run_training(experiment, runner, step, [steps[name] for name in step.inputs])
        await runner.engines.wake()
    runner.weights[step.name] = folder, str(manifest.metrics["weights"])
    return manifest


def _run_training(experiment: Experiment, runner: Runner, step: Step, sources: list[Step]) -> Manifest:
    from pairgen.train.loop import StepLog, train

    assert experiment.loop is not None
    spec: Training = step.spec
    policy = experiment.engines[experiment.loop.policy]
    init = runner.weights[spec.init][0] if spec.init else model_folder(policy)
    folder, meter = step.folder(runner.folder), Meter(step.name, None, runner.listen)
    rows: Iterator[Any] = chain.from_iterable(read_rows(s.folder(runner.folder)) for s in sources)

    def on_step(log: StepLog) -> None:
        runner.check_stop()
        meter.done, meter._total = log.step, log.steps
        meter.tell(Usage(), note=f"loss {log.loss:.4f}")

    result = train(spec.config, rows, init, folder, on_step=on_step)
    drops = {reason: sum(d.reason == reason for d in result.drops) for reason in sorted({d.reason for d in result.drops})}
    manifest = Manifest(
        name=step.name, use="train", identity=step.identity, digest=step.digest,
        inputs={s.name: s.digest for s in sources}, drops=drops, failed=len(result.drops),
        metrics={"weights": model_digest(folder), "steps": result.steps, "tokens": result.tokens, **result.metrics},
        files={p.name: file_digest(p) for p in sorted(folder.iterdir()) if p.is_file() and p.name != "log.jsonl"},
        code_version=__version__, log=log_of(meter.seconds, Usage()),
    )
    seal(folder, manifest)
    runner.listen(Event(step.name, "done", result.steps, result.steps, seconds=meter.seconds, note=f"{result.tokens:,} tokens"))
    return manifest


async def _evaluate(experiment: Experiment, runner: Runner, step: Step, steps: dict[str, Step]) -> Manifest:
    manifest = runner.reuse(step)
    if manifest is not None:
        return manifest
    runner.check_stop()
    spec: Evaluation = step.spec
    assert step.engine is not None
    sources = [steps[name] for name in step.inputs]
    benchmark = spec.benchmark.at([s.folder(runner.folder) for s in sources])
    meter = Meter(step.name, None, runner.listen)
    weights = runner.weights[step.weights] if step.weights else None
    answers = Journaled(await runner.engines.get(step.engine, weights), runner.journal)

    async def complete(request: Any) -> Any:
        runner.check_stop()
        replies = await answers.complete(request)
        meter.done += 1
        meter.tell(answers.usage)
        return replies

    result = await run_benchmark(benchmark, complete, experiment.engines[step.engine].concurrency)
    writer = StepWriter(step.folder(runner.folder), spec.writes, experiment.shard_rows)
    for row in result.rows:
        writer.add(row)
    manifest = sealed_manifest(step, sources, writer, log=log_of(meter.seconds, answers.usage), metrics=result.metrics)
    seal(step.folder(runner.folder), manifest)
    meter.rows = len(result.rows)
    meter.tell(answers.usage, "done", force=True)
    return manifest


def iteration_record(run: Path, iteration: Iteration, seconds: float) -> dict[str, JSON]:
    """Everything recorded of an iteration, from its sealed steps."""
    steps = [*iteration.stages.values(), *([iteration.train] if iteration.train else []), *iteration.evals.values()]
    manifests = {step.name: m for step in steps if (m := read_manifest(step.folder(run))) is not None}
    evals: dict[str, JSON] = {key: manifests[s.name].metrics for key, s in iteration.evals.items() if s.name in manifests}
    train = manifests.get(iteration.train.name) if iteration.train else None
    logs = [m.log for m in manifests.values()]
    return {
        "iteration": iteration.number,
        "evals": evals,
        "data": _data(run, iteration, manifests),
        "training": train.metrics if train else None,
        "seconds": {name: m.log.get("seconds", 0.0) for name, m in manifests.items()},
        "tokens": {"prompt": sum(l.get("prompt_tokens", 0) for l in logs), "completion": sum(l.get("completion_tokens", 0) for l in logs)},
        "cost": sum(l.get("cost", 0.0) for l in logs),
        "wall": round(seconds, 3),
    }


def _data(run: Path, iteration: Iteration, manifests: dict[str, Manifest]) -> JSON:
    judged = next((s for s in iteration.stages.values() if s.spec.use == "judge"), None)
    kept = next((s for s in iteration.stages.values() if s.spec.use == "filter"), None)
    if judged is None or kept is None or kept.name not in manifests:
        return None
    rows: Iterator[Judged] = read_rows(judged.folder(run))
    record = data_record(rows, read_rows(kept.folder(run)), manifests[kept.name].drops)
    return record.to_json() if record else None


def _compare(experiment: Experiment, outcome: Outcome, record: dict[str, JSON]) -> None:
    """Add drift alarms against the iteration before."""
    assert experiment.loop is not None
    if not outcome.iterations:
        return
    before, after = outcome.iterations[-1], record
    first = experiment.loop.evals[0].id if experiment.loop.evals else ""
    alarms = drift_alarms(_vitals(before, first), _vitals(after, first), experiment.loop.drift)
    outcome.alarms += alarms
    record["alarms"] = list(alarms)


def _vitals(record: Any, suite: str) -> Vitals:
    metrics, data = record["evals"].get(suite, {}), record["data"] or {}
    mean = {name: value["mean"] for name, value in metrics.items() if isinstance(value, dict)}
    return Vitals(
        record["iteration"], mean.get("consistency"), mean.get("parse_rate"), data.get("kept_share"),
        data.get("judgment_tokens"),
    )


def _gate(experiment: Experiment, outcome: Outcome) -> str | None:
    """Why the loop should stop now, or None."""
    assert experiment.loop is not None
    gate = experiment.loop.gate
    if gate is None or len(outcome.iterations) <= gate.patience:
        return None
    values = [_metric(record, gate.eval, gate.metric) for record in outcome.iterations]
    gains = [after - before for before, after in zip(values, values[1:], strict=False)][-gate.patience :]
    if all(gain < gate.min_gain for gain in gains):
        return f"{gate.eval} {gate.metric} gained {gains[-1]:+.3f}, less than {gate.min_gain:g}, for {gate.patience} iteration(s)"
    return None


def _metric(record: Any, suite: str, name: str) -> float:
    metrics = record["evals"].get(suite)
    if metrics is None or name not in metrics or metrics[name]["mean"] is None:
        raise UsageError(f"loop.gate: evaluation {suite!r} gave no {name!r}; have: {', '.join(metrics or record['evals'])}")
    return float(metrics[name]["mean"])


def failed_share(plan: Program, run: Path) -> float:
    """The largest share of failed rows in any step."""
    shares = [0.0]
    for step in plan.steps.values():
        manifest = read_manifest(step.folder(run))
        if manifest is not None and manifest.failed:
            shares.append(manifest.failed / max(1, manifest.rows + sum(manifest.drops.values())))
    return max(shares)
