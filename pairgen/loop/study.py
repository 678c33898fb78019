"""What a comparison of objectives came to, read from its sealed steps: means over seeds, and what may be chance.

Intervals resample seeds and items together, because a judge of another seed would have been another judge, and
other items would have been other items. Names: S seeds, N items, R resamples.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairgen import __version__
from pairgen.evals.benchmark import Benchmark, Difference, EvalItem
from pairgen.loop.compare import UNTRAINED, Compare, Trained
from pairgen.loop.config import Experiment
from pairgen.loop.steps import Program
from pairgen.loop.summary import flows, shown_suite
from pairgen.pipeline.plan import Step
from pairgen.report.study_summary import ArmSummary, Cell, Curve, Gain, StudySummary
from pairgen.report.summary import Suite
from pairgen.store import Manifest, read_manifest, read_rows
from pairgen.train.config import TrainConfig

Values = NDArray[np.float64]
Scores = Mapping[tuple[str, str], Values]
"""`[S, N]` per suite and metric; nan is unscored."""
ROUNDS = 4000


def study(experiment: Experiment, plan: Program, run: Path, *, command: str, config: str) -> StudySummary:
    """The study as its report wants it: every arm whose steps are all sealed."""
    assert experiment.compare is not None
    compare = experiment.compare
    done = [t for t in plan.arms if all(read_manifest(step.folder(run)) for step in t.steps)]
    suites = tuple(s for b in compare.evals if (s := _suite(b, done, run)))
    by_arm = {name: [t for t in done if t.arm == name] for name in (UNTRAINED, *compare.arms)}
    scores = {name: _scores(compare, suites, runs, run) for name, runs in by_arm.items() if runs}
    probe = read_manifest(plan.steps[_probe_step(plan)].folder(run)) if compare.probe else None
    return StudySummary(
        title=f"pairgen: {experiment.name}", command=command, config=config, code_version=__version__, suites=suites,
        arms=tuple(_arm(compare, plan, name, by_arm[name], found, run) for name, found in scores.items()),
        gains=tuple(_gains(suites, scores)), flows=tuple(flows(run, plan)), probe_rows=probe.rows if probe else 0,
    )


def _probe_step(plan: Program) -> str:
    return next(str(t.train.spec.probe) for t in plan.arms if t.train is not None)


def _suite(benchmark: Benchmark[Any], done: Sequence[Trained], run: Path) -> Suite | None:
    names = [list(_manifest(t.evals[benchmark.id], run).metrics) for t in done[:1]]
    return shown_suite(benchmark, names[0]) if names else None


def _manifest(step: Step, run: Path) -> Manifest:
    manifest = read_manifest(step.folder(run))
    assert manifest is not None
    return manifest


# --- numbers ------------------------------------------------------------------------------------------


def _scores(compare: Compare, suites: Sequence[Suite], runs: Sequence[Trained], run: Path) -> Scores:
    shown = {suite.id: suite.metrics for suite in suites}
    return {
        (benchmark.id, metric): values
        for benchmark in compare.evals if benchmark.id in shown
        for metric, values in _per_item(benchmark, shown[benchmark.id], runs, run).items()
    }


def _per_item(
    benchmark: Benchmark[Any], metrics: Sequence[str], runs: Sequence[Trained], run: Path
) -> dict[str, Values]:
    """`[S, N]` for each metric: what it is for every single item, items in one order for all seeds."""
    found: list[dict[str, dict[str, float]]] = []
    for trained in runs:
        rows: Iterator[EvalItem] = read_rows(trained.evals[benchmark.id].folder(run))
        found.append({row.id: _means(benchmark, row, metrics) for row in rows})
    ids = sorted(set().union(*found))
    return {
        metric: np.array([[seed.get(i, {}).get(metric, math.nan) for i in ids] for seed in found]) for metric in metrics
    }


def _means(benchmark: Benchmark[Any], row: EvalItem, metrics: Sequence[str]) -> dict[str, float]:
    numbers = benchmark.metrics([row])
    return {m: float(mean) for m in metrics if m in numbers and (mean := numbers[m].mean) is not None}


def over_seeds(values_SN: Values, seed: int = 0) -> Cell:
    """The mean over seeds and items, with the percentile interval of resampled seeds x resampled items."""
    known_SN = np.isfinite(values_SN)
    filled_SN = np.where(known_SN, values_SN, 0.0)
    rng, (seeds, items) = np.random.default_rng(seed), values_SN.shape
    picks_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=ROUNDS).astype(float)
    sums = np.empty(ROUNDS)
    for start in range(0, ROUNDS, 500):  # so that memory stays small
        picks_RN = rng.multinomial(items, np.full(items, 1 / items), size=500)
        part = slice(start, start + 500)
        total = ((picks_RS[part] @ filled_SN) * picks_RN).sum(axis=1)
        sums[part] = total / np.maximum(1.0, ((picks_RS[part] @ known_SN) * picks_RN).sum(axis=1))
    low, high = np.quantile(sums, [0.025, 0.975])
    each = filled_SN.sum(axis=1) / np.maximum(1, known_SN.sum(axis=1))
    mean = filled_SN.sum() / max(1, known_SN.sum())
    return Cell(float(mean), float(low), float(high), int(known_SN.any(axis=0).sum()), tuple(map(float, each)))


def _gains(suites: Sequence[Suite], scores: Mapping[str, Scores]) -> Iterator[Gain]:
    """Every arm against the untrained model, and against the first arm, in the headline of each suite."""
    trained = [name for name in scores if name != UNTRAINED]
    for suite in suites:
        key = suite.id, suite.metrics[0]
        for versus in (UNTRAINED, *trained[:1]):
            for name in trained:
                if versus in scores and name != versus and _same_items(scores[name][key], scores[versus][key]):
                    cell = over_seeds(scores[name][key] - scores[versus][key])
                    difference = Difference(cell.mean, cell.low, cell.high, cell.n)
                    yield Gain(name, versus, *key, difference)


def _same_items(one: Values, other: Values) -> bool:
    """Whether the two can be compared: the same items, and the same seeds unless one is the untrained model."""
    return one.shape[1] == other.shape[1] and (one.shape[0] == other.shape[0] or 1 in (one.shape[0], other.shape[0]))


# --- arms ---------------------------------------------------------------------------------------------


def _arm(
    compare: Compare, plan: Program, name: str, runs: Sequence[Trained], found: Scores, run: Path
) -> ArmSummary:
    cells = {key: over_seeds(values) for key, values in found.items() if np.isfinite(values).any()}
    if name == UNTRAINED:
        return ArmSummary(name, "", None, (), cells)
    config = compare.arms[name].train
    trainings = [_manifest(t.train, run) for t in runs if t.train is not None]
    folders = [t.train.folder(run) for t in runs if t.train is not None]
    return ArmSummary(
        name, _objective(config), config.learning_rate, tuple(t.seed for t in runs if t.seed is not None), cells,
        _rows(plan, runs[0], run), int(str(trainings[0].metrics["steps"])), int(str(trainings[0].metrics["tokens"])),
        sum(float(m.log.get("seconds", 0.0)) for m in trainings) / len(trainings),
        _curve(folders, "logps_chosen"), _curve(folders, "logps_rejected"),
    )


def _rows(plan: Program, trained: Trained, run: Path) -> int:
    names = trained.train.inputs if trained.train else ()
    return sum(_manifest(plan.steps[name], run).rows for name in names)


def _objective(config: TrainConfig) -> str:
    """`dpo beta 0.1 + nll`."""
    named = (
        ("" if term.weight == 1 else f"{term.weight:g} ") + term.use
        + (f" beta {term.params['beta']:g}" if "beta" in term.params else "")
        for term in config.objective
    )
    return " + ".join(named)


def _curve(folders: Sequence[Path], name: str) -> Curve | None:
    """The probe's log-prob by step, counted from before the first step, over the seeds."""
    seeds = [points for folder in folders if (points := _logged(folder / "heldout.jsonl", name))]
    if not seeds:
        return None
    steps = sorted(set.intersection(*(set(points) for points in seeds)))
    start = seeds[0][steps[0]]
    moved_SN = np.array([[points[step] - points[steps[0]] for step in steps] for points in seeds])
    return Curve(
        tuple(map(float, steps)), tuple(map(float, moved_SN.mean(axis=0))), tuple(map(float, moved_SN.min(axis=0))),
        tuple(map(float, moved_SN.max(axis=0))), float(start),
    )


def _logged(path: Path, name: str) -> dict[int, float]:
    if not path.is_file():
        return {}
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["step"]: line[name] for line in lines if name in line}
