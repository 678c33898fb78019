"""The plan of an experiment: every step's state, and what it would ask, before anything is asked.

Where a step's inputs are sealed and its weights known, its requests are made and looked up in the
journal, so those counts are exact. The others are estimates. The journal is only read, and may be in use.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pairgen.engine import EngineConfig, Request
from pairgen.fingerprint import JSON
from pairgen.journal.file import count_answered
from pairgen.journal.keys import conversation_key, key_in
from pairgen.loop.config import Experiment
from pairgen.loop.steps import Evaluation, Program
from pairgen.pipeline.plan import Step, why_again
from pairgen.records import Pair
from pairgen.sources import read_records
from pairgen.stage import LLMStage, Stage
from pairgen.stages.load import Load
from pairgen.store import Manifest, is_done, read_manifest, read_rows

CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What a step would do now. `state` is done | new | changed; `why` the identity fields that differ.

    `samples` is what it would ask for, of which `answered` are in the journal; `tokens` the prompt
    tokens of the rest, by length of text. `exact` is false where earlier steps still decide the counts.
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
    return f"{done}; {about}{sum(line.to_ask for line in open_):,} answers to ask for{more}"


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
            asked.tokens, exact, why,
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
            return replace(line, samples=round(self._rows_in(step) * _samples_per_row(step)), exact=False)
        if step.weights is not None and step.weights not in self._sealed:
            return replace(line, samples=sum(request.n for request in self._requests(step)), exact=False)
        weights = self._sealed[step.weights].metrics["weights"] if step.weights else None
        return self._looked_up(step, line, self._engines[step.engine].answers_as(weights))

    def _looked_up(self, step: Step, line: PlanLine, answers_as: JSON) -> PlanLine:
        keys: list[bytes] = []
        characters = requests = 0
        for request in self._requests(step):
            requests += 1
            conversation = conversation_key(answers_as, request)
            keys += [key_in(conversation, request.first + i) for i in range(request.n)]
            characters += sum(len(message.content) for message in request.messages)
        answered = count_answered(self._run / "journal.db", keys)
        sent = min(1, (len(keys) - answered) / max(1, requests))  # one prompt for all it lacks
        tokens = round(characters / CHARS_PER_TOKEN * sent)
        return replace(line, samples=len(keys), answered=answered, tokens=tokens)

    def _requests(self, step: Step) -> Iterator[Request]:
        folders = [self._steps[name].folder(self._run) for name in step.inputs]
        if isinstance(step.spec, Evaluation):
            benchmark = step.spec.benchmark.at(folders)
            return (request for item in benchmark.items() for request in benchmark.ask(item))
        rows: Iterator[Any] = chain.from_iterable(map(read_rows, folders))
        return (request for row in rows for request in step.spec.ask(row))


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

