"""The loop's driver: stages, training, swap, evaluation, again. Readable from top to bottom.

The engine stays alive throughout: new weights are loaded in place. Every step is sealed before the
next begins, so a run that dies goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pairgen.fingerprint import JSON
from pairgen.loop.compare import Trained
from pairgen.loop.config import Experiment
from pairgen.loop.evaluate import evaluate
from pairgen.loop.gate import why_stop
from pairgen.loop.history import History, Record
from pairgen.loop.steps import Iteration, Program
from pairgen.loop.training import run_training
from pairgen.pipeline.plan import Step
from pairgen.pipeline.run import Runner
from pairgen.store import read_manifest


@dataclass
class Outcome:
    """What a run came to. `iterations` holds one record per iteration, the seed's first.

    `failing` names the step with the largest share of failed rows, `failed_share`.
    """

    iterations: list[Record] = field(default_factory=list)
    stopped: str | None = None
    failing: str | None = None
    failed_share: float = 0.0

    @property
    def alarms(self) -> list[str]:
        """Every drift alarm, in order."""
        return [alarm for record in self.iterations for alarm in record.alarms]

    def to_json(self) -> list[dict[str, JSON]]:
        """The iterations as plain JSON."""
        return [record.to_json() for record in self.iterations]


async def run_experiment(
    experiment: Experiment, plan: Program, runner: Runner, told: Callable[[Record], None]
) -> Outcome:
    """Run every step that is not done. `told` gets each iteration's record as it is complete."""
    history, outcome = History(experiment, plan, runner.folder), Outcome()
    for step in plan.base.values():
        await runner.stage(step, plan.steps)
    for iteration in plan.iterations:
        await _iterate(experiment, plan, runner, iteration)
        record = history.add(iteration)
        outcome.iterations.append(record)
        told(record)
        outcome.stopped = why_stop(experiment, outcome.iterations)
        if outcome.stopped:
            break
    for trained in plan.arms:
        await _train_arm(experiment, plan, runner, trained)
    _count_failures(outcome, plan, runner)
    return outcome


async def _train_arm(experiment: Experiment, plan: Program, runner: Runner, trained: Trained) -> None:
    steps = plan.steps
    if trained.train is not None:
        probe = trained.train.spec.probe
        sources = _sources(trained.train.inputs, steps)
        await run_training(experiment, runner, trained.train, sources, steps[probe] if probe else None)
    for step in trained.evals.values():
        await evaluate(runner, step, _sources(step.inputs, steps))


async def _iterate(experiment: Experiment, plan: Program, runner: Runner, iteration: Iteration) -> None:
    steps = plan.steps
    for step in iteration.stages.values():
        await runner.stage(step, steps)
    if iteration.train is not None:
        await run_training(experiment, runner, iteration.train, _sources(iteration.train.inputs, steps))
    for step in iteration.evals.values():
        await evaluate(runner, step, _sources(step.inputs, steps))


def _sources(names: Sequence[str], steps: Mapping[str, Step]) -> list[Step]:
    return [steps[name] for name in names]


def _count_failures(outcome: Outcome, plan: Program, runner: Runner) -> None:
    for step in plan.steps.values():
        manifest = read_manifest(step.folder(runner.folder))
        if manifest is not None and manifest.failed:
            share = manifest.failed / max(1, manifest.rows + sum(manifest.drops.values()))
            if share > outcome.failed_share:
                outcome.failing, outcome.failed_share = step.name, share
