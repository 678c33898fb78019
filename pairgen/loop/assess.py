"""An evaluation on its own: one benchmark, who is evaluated, and a folder that keeps every reply.

    runs/eval/llmbar-my-judge/
      config.yaml  journal.db  lock  output.log
      llmbar@1a2b3c4d/     part-00000.arrow, manifest.json (written last, with the numbers)
      result.json  report.html
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pairgen.engine import EngineConfig
from pairgen.errors import UsageError
from pairgen.evals.baselines import AnyItem, answers_of
from pairgen.evals.benchmark import Benchmark, EvalItem
from pairgen.evals.run import result_of
from pairgen.evals.select import selected
from pairgen.fingerprint import JSON
from pairgen.loop.evaluate import evaluate
from pairgen.loop.steps import evaluation_step
from pairgen.pipeline.config import Setup
from pairgen.pipeline.plan import Step, engine_identity
from pairgen.pipeline.progress import Meter
from pairgen.pipeline.run import Runner
from pairgen.store import Manifest, StepWriter, Usage

JUDGE = "judge"
"""The role of the engine that is evaluated."""


@dataclass(frozen=True, slots=True)
class Marking:
    """What marks items without an engine: a scoring model, a baseline, verdicts that are stored. `rows` gives each
    item with its marks, in order, and opens what it needs for the first; `identity` is everything that decides them.

    `stored` says that it does not read the answers, `members` names the judges of a panel.
    """

    name: str
    identity: JSON
    rows: Callable[[Sequence[Any]], Iterable[EvalItem]]
    stored: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assessment:
    """A benchmark and who is evaluated: a judge behind an engine, or what marks items by itself."""

    benchmark: Benchmark[Any]
    who: EngineConfig | Marking
    max_failed: float = 0.5

    @property
    def name(self) -> str:
        """Who is evaluated: the last part of a model's name."""
        return Path(self.who.model).name if isinstance(self.who, EngineConfig) else self.who.name

    @property
    def members(self) -> tuple[str, ...]:
        """The judges of a panel; () where there is none."""
        return () if isinstance(self.who, EngineConfig) else self.who.members

    @property
    def setup(self) -> Setup:
        """The engine, if one is needed."""
        engines = {JUDGE: self.who} if isinstance(self.who, EngineConfig) else {}
        return Setup(engines=engines, max_failed=self.max_failed)

    @cached_property
    def step(self) -> Step:
        """The one step there is."""
        if isinstance(self.who, EngineConfig):
            return evaluation_step(self.benchmark.id, self.benchmark, engine_identity(self.who), JUDGE)
        return evaluation_step(self.benchmark.id, self.benchmark, self.who.identity, None)

    def check(self) -> None:
        """Raise UsageError, before anything is written, for items that cannot be had or not be marked."""
        items = selected(self.benchmark)
        if isinstance(self.who, EngineConfig):
            self.benchmark.ask(items[0])
            return
        if self.who.stored:
            return
        if not all(isinstance(item, AnyItem) for item in items):
            raise UsageError(f"{self.benchmark.use} asks questions, to be answered by a --model; "
                             f"{self.who.name} marks answers that are there")
        if bare := next((item for item in items if not any(answers_of(item))), None):
            raise UsageError(f"{self.benchmark.id}: item {bare.id} has no answers to score; it can only be rescored")

    async def run(self, runner: Runner) -> Manifest:
        """Evaluate, unless that is done. The same folder goes on where it was."""
        if isinstance(self.who, EngineConfig):
            return await evaluate(runner, self.step, ())
        return mark(runner, self.step, self.benchmark, self.who)


def mark(runner: Runner, step: Step, benchmark: Benchmark[Any], marking: Marking) -> Manifest:
    """The rows of a marking, sealed with their numbers, unless that is done."""
    manifest = runner.reuse(step)
    if manifest is not None:
        return manifest
    items = selected(benchmark)
    meter = Meter(step.name, len(items), runner.listen)
    meter.tell(Usage(), note=f"reading {marking.name}", force=True)
    rows = []
    with StepWriter(step.folder(runner.folder), step.spec.writes, runner.setup.shard_rows) as writer:
        for row in marking.rows(items):
            runner.check_stop()
            writer.add(row)
            rows.append(row)
            meter.rows = meter.done = len(rows)
            meter.tell(Usage())
        return runner.finish(step, (), writer, meter, None, result_of(benchmark, rows).metrics)
