"""The plan of an experiment: every step's state, and what it would ask, before anything is asked.

Where a step's inputs are sealed and its weights known, its requests are made and looked up in the
journal, so those counts are exact. The others are estimates, and so are counts from a sample of many
rows. The journal is only read, and may be in use.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pairgen.engine import EngineConfig, Request
from pairgen.evals.select import selected
from pairgen.fingerprint import JSON
from pairgen.journal import count_answered, read_spent
from pairgen.journal.keys import conversation_key, key_in
from pairgen.loop.config import Experiment
from pairgen.loop.estimate import SAMPLE, Estimate, estimate, priced
from pairgen.loop.steps import Evaluation, Program
from pairgen.pipeline.plan import Step, why_again
from pairgen.records import Drop, Pair
from pairgen.sources import read_records
from pairgen.stage import LLMStage, RowStage, Stage
from pairgen.stages.load import Load
from pairgen.store import Manifest, is_done, read_manifest, read_rows

MANY = 20_000
"""Rows of which no more than a sample is looked up."""


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What a step would do now. `state` is done | new | changed; `why` the identity fields that differ.

    `samples` is what it would ask for, of which `answered` are in the journal; `tokens` the prompt
    tokens of the rest, by length of text. `exact` is false where earlier steps still decide the counts.
    `cost` and `most` are dollars for the rest, None where a model has no price; `most` also where the rows
    to be asked are still to be written by a model.
    """

    step: str
    use: str
    state: str
    rows: int | None = None
    samples: int = 0
    answered: int = 0
    tokens: int = 0
    exact: bool = True
    why: tuple[str, ...] = ()
    cost: float | None = 0.0
    most: float | None = 0.0

    @property
    def to_ask(self) -> int:
        """Samples the journal does not have."""
        return self.samples - self.answered


def plan_lines(experiment: Experiment, plan: Program, run: Path) -> list[PlanLine]:
    """One line per step, in the order they run."""
    planner = _Planner(experiment, plan, run)
    return [planner.line(step) for step in plan.steps.values()]


def in_short(lines: Iterable[PlanLine]) -> str:
    """`12 of 31 steps are done; ~34,000 answers to ask for, 1,204 more are in the journal`."""
    lines = list(lines)
    open_ = [line for line in lines if line.state != "done"]
    done = f"{len(lines) - len(open_)} of {len(lines)} steps are done"
    if not open_:
        return f"{done}; nothing to do"
    about = "" if all(line.exact for line in open_ if line.samples) else "~"
    kept = sum(line.answered for line in open_)
    more = f", {kept:,} more are in the journal" if kept else ""
    asks = f"{about}{sum(line.to_ask for line in open_):,} answers to ask for"
    return f"{done}; {asks}{more}{_money(open_)}"


def _money(lines: Sequence["PlanLine"]) -> str:
    """`; cost ~$1.40, at most $6.00`; the most is left out where rows are still to be written."""
    cost, most = priced(line.cost for line in lines), [line.most for line in lines]
    if not cost.startswith("$"):
        return f"; cost {cost}" if cost else ""
    return f"; cost ~{cost}" + (f", at most {priced(most)}" if None not in most else "")


class _Planner:
    """Walks the steps in order and remembers how many rows each gives or is expected to give."""

    def __init__(self, experiment: Experiment, plan: Program, run: Path) -> None:
        self._engines: Mapping[str, EngineConfig] = experiment.engines
        self._steps, self._run = plan.steps, run
        self._rows: dict[str, int] = {}
        self._sealed: dict[str, Manifest] = {}

    def line(self, step: Step) -> PlanLine:
        """The plan of one step. Those it reads must have been planned before."""
        folder = step.folder(self._run)
        manifest = read_manifest(folder) if is_done(folder, step.identity) else None
        rows = self._rows_in(step)
        if manifest is not None:
            self._sealed[step.name], self._rows[step.name] = manifest, manifest.rows
            return PlanLine(step.name, step.spec.use, "done", rows)
        self._rows[step.name] = _rows_out(step, rows)
        why = tuple(_in_words(why_again(step, self._run)))
        asked = self._asked(step) if step.engine is not None else PlanLine(step.name, step.spec.use, "")
        exact = asked.exact and all(name in self._sealed for name in step.inputs)
        return PlanLine(
            step.name, step.spec.use, "changed" if why else "new", rows, asked.samples, asked.answered,
            asked.tokens, exact, why, asked.cost, asked.most,
        )

    def _rows_in(self, step: Step) -> int:
        if isinstance(step.spec, Load):
            spec = step.spec
            return sum(1 for _ in islice(read_records(spec.path, spec.split, spec.revision), spec.limit))
        return sum(self._rows[name] for name in step.inputs)

    def _asked(self, step: Step) -> PlanLine:
        """The samples of a step that asks: made and looked up where that can be, else multiplied out."""
        assert step.engine is not None
        line = PlanLine(step.name, step.spec.use, "")
        if not all(name in self._sealed for name in step.inputs):
            samples = round(self._rows_in(step) * _samples_per_row(step))
            requests = list(self._like(step))
            calls = samples / (sum(r.n for r in requests) / len(requests)) if requests else 0.0
            return _with(replace(line, samples=samples, exact=False), self._estimate(step, requests, calls, samples))
        if step.weights is not None and step.weights not in self._sealed:
            return replace(line, samples=sum(request.n for request in self._requests(step)), exact=False)
        weights = self._sealed[step.weights].metrics["weights"] if step.weights else None
        return self._looked_up(step, line, self._engines[step.engine].answers_as(weights))

    def _looked_up(self, step: Step, line: PlanLine, answers_as: JSON) -> PlanLine:
        rows = self._rows_in(step)
        scale = rows / SAMPLE if rows > MANY else 1.0
        keys: list[bytes] = []
        some: list[Request] = []
        count = 0
        for request in self._requests(step, SAMPLE if rows > MANY else None):
            count += 1
            conversation = conversation_key(answers_as, request)
            keys += [key_in(conversation, request.first + i) for i in range(request.n)]
            if len(some) < SAMPLE:
                some.append(request)
        answered = count_answered(self._run / "journal.db", keys)
        lacks = len(keys) - answered
        calls = min(count, lacks) * scale  # one prompt for all a request lacks
        line = replace(
            line, samples=round(len(keys) * scale), answered=round(answered * scale), exact=scale == 1.0
        )
        return _with(line, self._estimate(step, some, calls, lacks * scale))

    def _estimate(self, step: Step, requests: Sequence[Request], calls: float, samples: float) -> Estimate:
        assert step.engine is not None
        path = self._run / "journal.db"
        own = read_spent(path, step.account)
        return estimate(
            requests, calls, samples, self._engines[step.engine], own if own.requests else read_spent(path)
        )

    def _like(self, step: Step) -> Iterator[Request]:
        """Requests like those of a step whose input is not there yet, where rows can be made to tell."""
        if isinstance(step.spec, LLMStage) and len(step.inputs) == 1:
            rows = self._preview(self._steps[step.inputs[0]])
            yield from (request for row in islice(rows, SAMPLE // 10) for request in step.spec.ask(row))

    def _preview(self, step: Step) -> Iterator[Any]:
        """The first rows of a step: read, or made from the input's by stages that ask nobody."""
        if step.name in self._sealed:
            yield from read_rows(step.folder(self._run))
        elif isinstance(step.spec, RowStage) and len(step.inputs) <= 1:
            above = (row for name in step.inputs for row in self._preview(self._steps[name]))
            few = islice(above, SAMPLE // 10)
            yield from (row for row in step.spec.run(few) if not isinstance(row, Drop))

    def _requests(self, step: Step, limit: int | None = None) -> Iterator[Request]:
        """The requests of a step, or those of its first rows."""
        folders = [self._steps[name].folder(self._run) for name in step.inputs]
        if isinstance(step.spec, Evaluation):
            benchmark = step.spec.benchmark.at(folders)
            return (request for item in selected(benchmark) for request in benchmark.ask(item))
        rows: Iterator[Any] = chain.from_iterable(map(read_rows, folders))
        return (request for row in islice(rows, limit) for request in step.spec.ask(row))


def _with(line: PlanLine, found: Estimate) -> PlanLine:
    return replace(line, tokens=found.tokens, cost=found.cost, most=found.most)


def _in_words(why: Iterable[str]) -> Iterator[str]:
    """The differences, with a word for those that only point to another step's."""
    told = set()
    for line in why:
        field = line.split(":")[0].split(".")[0]
        if field not in ("inputs", "weights", "init"):
            yield line
        elif field not in told:
            told.add(field)
            yield f"other {field}"


def _samples_per_row(step: Step) -> float:
    """Samples asked per row read; an evaluation of pairs asks both orders."""
    if isinstance(step.spec, LLMStage):
        return step.spec.requests_per_row() * getattr(step.spec, "n", 1)
    return 2.0 if step.inputs else 0.0


def _rows_out(step: Step, rows: int) -> int:
    """How many rows a step may give at most, as far as its options tell."""
    spec = step.spec
    if not isinstance(spec, Stage):
        return 0
    if spec.writes is Pair and isinstance(spec, LLMStage):
        return rows * int(getattr(spec, "n", 1))
    if spec.use == "split":
        share = float(getattr(spec, "share", 0.5))
        return round(rows * (share if getattr(spec, "part", "") == "heldout" else 1 - share))
    limit = getattr(spec, "n", None) if not isinstance(spec, LLMStage) else None
    return rows if limit is None else min(rows, int(limit))

