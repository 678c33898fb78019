"""The loop of a pipeline file: what each iteration asks, trains and measures, and when it stops."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, SkipValidation

from pairgen.engine import Frozen
from pairgen.errors import UsageError, nearest
from pairgen.evals.benchmark import Benchmark
from pairgen.evals.drift import DriftLimits
from pairgen.fingerprint import Runtime
from pairgen.loop.compare import Compare, parse_compare
from pairgen.pipeline.config import (
    Pipeline,
    Tree,
    parse_as,
    parse_parts,
    parse_plugin,
    parse_stages,
    pipeline_path,
    read_tree,
)
from pairgen.stage import Stage
from pairgen.train.config import TrainConfig


class Gate(Frozen):
    """Stop when nothing is gained: `metric` of evaluation `eval` must rise by `min_gain` per iteration.

    The loop stops after `patience` iterations in a row that do not. The evaluation should be one that
    reads no ground truth (`heldout`), so that no label chooses the checkpoint.
    """

    eval: str
    metric: str = "consistent_accuracy"
    min_gain: float = 0.0
    patience: int = Field(default=1, ge=1)


class LoopConfig(Frozen):
    """One iteration: `stages` with the current weights, training on the steps `train_on`, `evals`.

    `policy` is the engine whose weights are trained. `init: seed` starts every training from the
    engine's own model (the paper), `previous` from the last iteration's. `first_judge` names another
    engine for the first iteration's stages. `fresh_pairs` makes new pairs in every iteration.
    """

    iters: int = Field(default=5, ge=1)
    policy: str = "policy"
    init: Literal["seed", "previous"] = "seed"
    first_judge: str | None = None
    fresh_pairs: bool = False
    stages: tuple[Stage, ...]
    train_on: tuple[str, ...]
    train: TrainConfig
    evals: tuple[SkipValidation[Benchmark[Any]], ...] = ()
    gate: Gate | None = None
    drift: Runtime[DriftLimits] = DriftLimits()


class Experiment(Pipeline):
    """A pipeline file as a whole: `stages` run once, then the loop or the comparison if there is one."""

    loop: LoopConfig | None = None
    compare: Compare | None = None


def load_experiment(name: str, sets: Sequence[str] = (), iters: int | None = None) -> Experiment:
    """The experiment of a shipped pipeline or of a YAML file, with overrides. Raises UsageError."""
    return parse_experiment(experiment_tree(name, sets, iters))


def experiment_tree(name: str, sets: Sequence[str] = (), iters: int | None = None) -> Tree:
    """The resolved YAML tree of a pipeline: what a run keeps as its config."""
    path = pipeline_path(name)
    tree = read_tree(path, sets)
    if iters is not None:
        if not isinstance(tree.get("loop"), dict):
            raise UsageError(f"{path}: --iters is for pipelines with a loop; this one has none")
        tree["loop"]["iters"] = iters
    return tree


def parse_experiment(tree: Tree) -> Experiment:
    """The experiment of a YAML tree. Raises UsageError naming the key."""
    parts = parse_parts(tree)
    if parts.get("loop") is not None:
        parts["loop"] = _parse_loop(parts["loop"], list(parts["engines"]), parts.get("seed", 0))
    if parts.get("compare") is not None:
        if parts.get("loop") is not None:
            raise UsageError("compare: a pipeline has a loop or a comparison, not both")
        parts["compare"] = parse_compare(parts["compare"], _parse_evals(parts["compare"], "compare.evals"))
    experiment = parse_as(Experiment, parts, "pipeline")
    if experiment.compare is not None:
        _check_engine(experiment.compare.policy, "compare.policy", experiment)
    if experiment.loop is not None:
        _check_engine(experiment.loop.policy, "loop.policy", experiment)
        if experiment.loop.first_judge is not None:
            _check_engine(experiment.loop.first_judge, "loop.first_judge", experiment)
        _check_gate(experiment.loop)
    return experiment


def _parse_loop(value: Any, engines: Sequence[str], seed: int) -> LoopConfig:
    if not isinstance(value, dict):
        raise UsageError("loop: expected a mapping")
    parts = dict(value)
    parts["stages"] = parse_stages(value.get("stages", []), "loop.stages", engines)
    parts["train"] = parse_as(TrainConfig, {"seed": seed, **(value.get("train") or {})}, "loop.train")
    parts["evals"] = _parse_evals(value, "loop.evals")
    return parse_as(LoopConfig, parts, "loop")


def _parse_evals(section: Any, where: str) -> tuple[Benchmark[Any], ...]:
    listed = section.get("evals") if isinstance(section, dict) else None
    return tuple(
        parse_plugin("pairgen.evals.suites", "BENCHMARK", item, f"{where}.{index}")
        for index, item in enumerate(listed or [])
    )


def _check_gate(loop: LoopConfig) -> None:
    ids = [benchmark.id for benchmark in loop.evals]
    if loop.gate is not None and loop.gate.eval not in ids:
        raise UsageError(f"loop.gate.eval: no evaluation {loop.gate.eval!r} in loop.evals: "
                         f"{nearest(loop.gate.eval, ids)}")


def _check_engine(name: str, where: str, experiment: Experiment) -> None:
    if name not in experiment.engines:
        raise UsageError(f"{where}: no engine {name!r}: {nearest(name, experiment.engines)}")
