"""The loop spelled out as steps: every iteration's stages, training and evaluations, with identities.

All of it is known before anything runs: weights are identified by the training that makes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import SkipValidation

from pairgen.engine import Frozen
from pairgen.errors import UsageError, nearest
from pairgen.evals.benchmark import Benchmark, EvalItem
from pairgen.fingerprint import JSON, Runtime, identity
from pairgen.loop.compare import UNTRAINED, Compare, Trained
from pairgen.loop.config import Experiment, LoopConfig
from pairgen.pipeline.plan import (
    Step,
    base_steps,
    engine_identity,
    seeded,
    source_names,
    stage_step,
    wired,
)
from pairgen.records import Candidates, Demonstration, Preference
from pairgen.stage import Stage
from pairgen.train.config import TrainConfig

SEED_STRIDE = 1000
"""Iteration t draws with the pipeline's seed + 1000 t, so neighbouring seeds never share draws."""


class Training(Frozen):
    """What a training step is made of. `init` is the step whose weights it starts from, None: `policy`'s own.

    `probe` is the step whose rows are measured through the training.
    """

    version: ClassVar[int] = 1

    use: str = "train"
    config: TrainConfig
    policy: Runtime[str] = "policy"
    init: Runtime[str | None] = None
    probe: Runtime[str | None] = None


class Evaluation(Frozen):
    """What an evaluation step is made of."""

    writes: ClassVar[type] = EvalItem

    use: str
    benchmark: SkipValidation[Benchmark[Any]]


@dataclass(frozen=True)
class Iteration:
    """The steps of one iteration, by id. Iteration 0 has only the evaluation of the seed."""

    number: int
    stages: Mapping[str, Step]
    train: Step | None
    evals: Mapping[str, Step]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps in the order they run."""
        return (*self.stages.values(), *((self.train,) if self.train else ()), *self.evals.values())


@dataclass(frozen=True)
class Program:
    """Everything an experiment does: the steps that run once, then the iterations or the arms of a study."""

    base: Mapping[str, Step]
    iterations: tuple[Iteration, ...]
    arms: tuple[Trained, ...] = ()

    @property
    def steps(self) -> dict[str, Step]:
        """All steps by name, in the order they run."""
        found = {step.name: step for step in self.base.values()}
        for iteration in self.iterations:
            found |= {step.name: step for step in iteration.steps}
        for trained in self.arms:
            found |= {step.name: step for step in trained.steps}
        return found


def program(experiment: Experiment) -> Program:
    """Spell an experiment out. Raises UsageError on wiring that cannot work."""
    base = base_steps(experiment)
    if experiment.compare is not None:
        return Program(base, (), tuple(_arms(experiment, experiment.compare, base)))
    if experiment.loop is None:
        return Program(base, ())
    iterations = [Iteration(0, {}, None, _loop_evals(experiment, experiment.loop, base, 0, None))]
    trained: Step | None = None
    for number in range(1, experiment.loop.iters + 1):
        iteration = _iteration(experiment, experiment.loop, base, number, trained)
        trained = iteration.train
        iterations.append(iteration)
    return Program(base, tuple(iterations))


def _iteration(
    experiment: Experiment, loop: LoopConfig, base: Mapping[str, Step], number: int, trained: Step | None
) -> Iteration:
    seed = experiment.seed + SEED_STRIDE * number
    own = _fresh_pairs(experiment, base, number, seed) if loop.fresh_pairs and number > 1 else {}
    steps, above = {**base, **own}, list(base)[-1]
    for stage in loop.stages:
        stage = _first_judge(stage, loop) if number == 1 else stage
        sources = wired(stage, source_names(stage, above), steps)
        weights = trained if getattr(stage, "engine", None) == loop.policy else None
        own[stage.id] = steps[stage.id] = stage_step(
            seeded(stage, seed), f"it{number}-{stage.id}", sources, experiment, weights
        )
        above = stage.id
    train = _train(experiment, loop, steps, number, trained)
    # every iteration is measured on the same items: those of the base steps, not of fresh ones
    return Iteration(number, own, train, _loop_evals(experiment, loop, {**steps, **base}, number, train))


def _fresh_pairs(experiment: Experiment, base: Mapping[str, Step], number: int, seed: int) -> dict[str, Step]:
    """The base stages again from the first that answers instructions, with another seed."""
    steps, fresh, above = dict(base), dict[str, Step](), "data"
    for stage in experiment.stages:
        if fresh or stage.writes is Candidates:
            sources = wired(stage, source_names(stage, above), steps)
            drawn = seeded(stage, experiment.seed if stage.settled else seed)
            fresh[stage.id] = stage_step(drawn, f"it{number}-{stage.id}", sources, experiment)
            steps[stage.id] = fresh[stage.id]
        above = stage.id
    return fresh


def _first_judge(stage: Stage, loop: LoopConfig) -> Stage:
    if loop.first_judge is None or getattr(stage, "engine", None) != loop.policy:
        return stage
    return stage.model_copy(update={"engine": loop.first_judge})


def _train(
    experiment: Experiment, loop: LoopConfig, steps: Mapping[str, Step], number: int, trained: Step | None
) -> Step:
    sources = _rows_to_train_on(loop.train_on, steps, "loop.train_on")
    start = trained if loop.init == "previous" else None
    spec = Training(config=loop.train, policy=loop.policy, init=start.name if start else None)
    return _training_step(f"it{number}-train", spec, sources, experiment, start)


def _rows_to_train_on(names: Sequence[str], steps: Mapping[str, Step], where: str) -> list[Step]:
    sources = [_named(name, steps, where) for name in names]
    for source in sources:
        if source.spec.writes not in (Demonstration, Preference):
            writes = source.spec.writes.__name__
            raise UsageError(
                f"{where}: {source.name} writes {writes} rows; training reads Demonstration or Preference"
            )
    return sources


def _training_step(
    name: str, spec: Training, sources: Sequence[Step], experiment: Experiment, start: Step | None,
    probe: Step | None = None,
) -> Step:
    about: dict[str, JSON] = {
        "config": identity(spec.config), "version": Training.version, "inputs": [s.digest for s in sources],
        "init": start.digest if start else engine_identity(experiment.engines[spec.policy]),
    }
    if probe is not None:
        about["probe"] = probe.digest
    return Step(name, spec, tuple(s.name for s in sources), about, weights=spec.init)


def _loop_evals(
    experiment: Experiment, loop: LoopConfig, steps: Mapping[str, Step], number: int, trained: Step | None
) -> dict[str, Step]:
    return _evals(experiment, loop, steps, f"it{number}", trained, "loop.evals")


def _evals(
    experiment: Experiment, asked: LoopConfig | Compare, steps: Mapping[str, Step], prefix: str,
    trained: Step | None, where: str,
) -> dict[str, Step]:
    engine = engine_identity(experiment.engines[asked.policy])
    found = {}
    for benchmark in asked.evals:
        names = (benchmark.source,) if benchmark.source else ()
        sources = [_named(name, steps, f"{where}.{benchmark.id}.source") for name in names]
        name = f"{prefix}-{benchmark.id}"
        found[benchmark.id] = evaluation_step(name, benchmark, engine, asked.policy, sources, trained)
    return found


def evaluation_step(
    name: str, benchmark: Benchmark[Any], evaluated: JSON, role: str | None, sources: Sequence[Step] = (),
    trained: Step | None = None,
) -> Step:
    """The step that evaluates what `evaluated` identifies: the engine of a role, or what needs no engine."""
    about: dict[str, JSON] = {
        "options": identity(benchmark), "version": type(benchmark).version,
        "outside": benchmark.outside(), "inputs": [s.digest for s in sources],
        "engine": evaluated, "weights": trained.digest if trained else None,
    }
    spec = Evaluation(use=benchmark.use, benchmark=benchmark)
    return Step(name, spec, tuple(s.name for s in sources), about, role, trained.name if trained else None)


def _arms(experiment: Experiment, compare: Compare, steps: Mapping[str, Step]) -> Iterator[Trained]:
    """The untrained model, then every arm with the first seed, with the second, and so on."""
    where = "compare.evals"
    yield Trained(UNTRAINED, None, None, _evals(experiment, compare, steps, UNTRAINED, None, where))
    probe = _probe(compare, steps)
    for seed in compare.seeds:
        for name, arm in compare.arms.items():
            sources = _rows_to_train_on(arm.train_on, steps, f"compare.arms.{name}.train_on")
            config = arm.train.model_copy(update={"seed": seed})
            spec = Training(config=config, policy=compare.policy, probe=probe.name if probe else None)
            train = _training_step(f"{name}-{seed}-train", spec, sources, experiment, None, probe)
            yield Trained(name, seed, train, _evals(experiment, compare, steps, f"{name}-{seed}", train, where))


def _probe(compare: Compare, steps: Mapping[str, Step]) -> Step | None:
    if compare.probe is None:
        return None
    probe = _named(compare.probe, steps, "compare.probe")
    if probe.spec.writes is not Preference:
        writes = probe.spec.writes.__name__
        raise UsageError(f"compare.probe: {probe.name} writes {writes} rows; a probe holds Preference rows")
    return probe


def _named(name: str, steps: Mapping[str, Step], where: str) -> Step:
    if name not in steps:
        raise UsageError(f"{where}: no step {name!r}: {nearest(name, steps)}")
    return steps[name]
