"""The driver of stages: rows stream from shards through a stage into shards, in input order.

The shard is a pure function of the input rows and the journaled answers, so a step that was cut is
simply run again: what was answered is served from the journal.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pairgen import __version__
from pairgen.engine import Completion, Engine, EngineConfig, Request
from pairgen.errors import PairgenError, RowError, UsageError
from pairgen.fingerprint import JSON
from pairgen.journal import Journal, Journaled
from pairgen.pipeline.config import Pipeline
from pairgen.pipeline.plan import Step
from pairgen.pipeline.progress import Event, Listener, Meter
from pairgen.records import Drop
from pairgen.stage import LLMStage, RowStage
from pairgen.store import Manifest, StepWriter, Usage, is_done, read_manifest, read_rows, seal


class Interrupted(PairgenError):
    """Ctrl-C: everything answered is kept."""

    exit_code = 130


class EnginePool:
    """Live engines, opened at first use and kept; roles with the same config share one."""

    def __init__(self, configs: dict[str, EngineConfig]) -> None:
        self._configs = configs
        self._live: dict[str, Engine] = {}
        self._loaded: dict[str, str | None] = {}

    def role(self, name: str) -> str:
        """The first role with the same config: the one whose engine is shared."""
        return next(role for role, config in self._configs.items() if config == self._configs[name])

    async def get(self, name: str, weights: tuple[Path, str] | None = None) -> Engine:
        """The engine of a role, holding `weights` (folder and digest) or its own model's."""
        role = self.role(name)
        if role not in self._live:
            self._live[role] = self._configs[role].open()
            self._loaded[role] = None
        engine = self._live[role]
        wanted = weights[1] if weights else None
        if self._loaded[role] != wanted:
            await self._swap(engine, role, weights)
            self._loaded[role] = wanted
        return engine

    async def _swap(self, engine: Engine, role: str, weights: tuple[Path, str] | None) -> None:
        if weights is None:
            from pairgen.models import model_folder
            from pairgen.pipeline.plan import model_digest

            folder = model_folder(self._configs[role])
            weights = folder, model_digest(folder)
        await engine.load_weights(*weights)

    async def sleep(self) -> None:
        """Let every live engine give its accelerator memory back."""
        for engine in self._live.values():
            await engine.sleep()

    async def wake(self) -> None:
        """Make every live engine ready again."""
        for engine in self._live.values():
            await engine.wake()

    async def close(self) -> None:
        """Close what was opened."""
        for engine in self._live.values():
            await engine.close()
        self._live.clear()


class Runner:
    """Runs the steps of one run folder. Holds the journal, the engines and the wish to stop."""

    def __init__(self, folder: Path, pipeline: Pipeline, journal: Journal, listen: Listener) -> None:
        self.folder, self.pipeline, self.journal, self.listen = folder, pipeline, journal, listen
        self.engines = EnginePool(pipeline.engines)
        self.stopping = False
        self.weights: dict[str, tuple[Path, str]] = {}

    def check_stop(self) -> None:
        """Raise Interrupted when the user asked to stop."""
        if self.stopping:
            raise Interrupted("stopped: every answer received is kept; the same command goes on")

    def reuse(self, step: Step) -> Manifest | None:
        """The sealed manifest of a step that is done, or None."""
        folder = step.folder(self.folder)
        if not is_done(folder, step.identity):
            return None
        manifest = read_manifest(folder)
        assert manifest is not None
        self.listen(Event(step.name, "reused", rows=manifest.rows, drops=sum(manifest.drops.values())))
        return manifest

    async def stage(self, step: Step, steps: dict[str, Step]) -> Manifest:
        """Run one stage, or return its manifest when it is done. An empty result stops the run."""
        manifest = self.reuse(step)
        if manifest is None:
            self.check_stop()
            manifest = await self._run(step, [steps[name] for name in step.inputs])
        if manifest.rows == 0:
            raise UsageError(nothing_left(step, manifest, self.folder))
        return manifest

    async def _run(self, step: Step, sources: Sequence[Step]) -> Manifest:
        folders = [s.folder(self.folder) for s in sources]
        sealed = [m for m in map(read_manifest, folders) if m is not None]
        total = sum(m.rows for m in sealed) if sealed else None
        meter = Meter(step.name, total, self.listen)
        answers = Journaled(await self._engine(step), self.journal) if step.engine else None
        folder = step.folder(self.folder)
        writer = StepWriter(folder, step.spec.writes, self.pipeline.shard_rows)
        rows = self._counted(chain.from_iterable(map(read_rows, folders)), meter)
        async for out in self._out(step, rows, answers):
            writer.add(out)
            meter.drops += isinstance(out, Drop)
            meter.rows += not isinstance(out, Drop)
            meter.tell(answers.usage if answers else Usage())
        usage = answers.usage if answers else Usage()
        manifest = sealed_manifest(step, sources, writer, log=log_of(meter.seconds, usage))
        seal(folder, manifest)
        meter.tell(usage, "done", force=True)
        return manifest

    def _counted(self, rows: Iterator[Any], meter: Meter) -> Iterator[Any]:
        for row in rows:
            self.check_stop()
            meter.done += 1
            yield row

    async def _engine(self, step: Step) -> Engine:
        assert step.engine is not None
        return await self.engines.get(step.engine, self.weights[step.weights] if step.weights else None)

    async def _out(self, step: Step, rows: Iterator[Any], answers: Journaled | None) -> AsyncIterator[Any]:
        stage = step.spec
        if isinstance(stage, RowStage):
            for out in stage.run(rows):
                yield out
        elif isinstance(stage, LLMStage) and answers is not None and step.engine is not None:
            concurrency = self.pipeline.engines[step.engine].concurrency
            async for outs in in_order(rows, lambda row: ask_row(stage, row, answers), concurrency):
                for out in outs:
                    yield out


async def ask_row(stage: LLMStage, row: Any, answers: Journaled) -> list[Any]:
    """Ask a row's requests and read the replies; a request that can never be answered drops the row."""
    try:
        replies = await _all(answers, stage.ask(row))
    except RowError as error:
        return [Drop(row.id, stage.id, error.reason, error.detail)]
    return stage.read(row, replies)


async def _all(answers: Journaled, requests: Sequence[Request]) -> list[list[Completion]]:
    if len(requests) == 1:
        return [await answers.complete(requests[0])]
    return list(await asyncio.gather(*(answers.complete(r) for r in requests)))


async def in_order(
    rows: Iterable[Any], work: Callable[[Any], Any], limit: int
) -> AsyncIterator[Any]:
    """Work on `limit` rows at a time and yield the results in row order.

    A slow row does not stall the others: up to four times `limit` rows may wait behind it. On an
    error, or when the caller stops, the rows in flight are cancelled before it leaves.
    """
    gate = asyncio.Semaphore(limit)

    async def guarded(row: Any) -> Any:
        try:
            return await work(row)
        finally:
            gate.release()

    waiting: deque[asyncio.Task[Any]] = deque()
    try:
        for row in rows:
            await gate.acquire()
            waiting.append(asyncio.create_task(guarded(row)))
            while waiting and (waiting[0].done() or len(waiting) > 4 * limit):
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def sealed_manifest(
    step: Step, sources: Sequence[Step], writer: StepWriter, *, log: JSON, metrics: Mapping[str, Any] | None = None
) -> Manifest:
    """The manifest of a finished writer."""
    written = writer.close()
    return Manifest(
        name=step.name, use=step.spec.use, identity=step.identity, digest=step.digest,
        inputs={s.name: s.digest for s in sources}, row_class=step.spec.writes.__name__,
        rows=written.rows, shards=written.shards, drop_shards=written.drop_shards, drops=written.drops,
        failed=written.failed, metrics=metrics or {}, files={}, code_version=__version__, log=log,
    )


def log_of(seconds: float, usage: Usage) -> JSON:
    """What may differ between equal runs."""
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seconds": round(seconds, 3),
        "requests": usage.requests, "reused": usage.reused, "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens, "cost": usage.cost,
    }


def nothing_left(step: Step, manifest: Manifest, run: Path) -> str:
    """The one line for a step that let no row through."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(manifest.drops.items(), key=lambda kv: -kv[1]))
    return (
        f"{step.name}: no row came through ({reasons or 'nothing came in'}), so the run stops here. "
        f"See them: pairgen show {step.folder(run)} --drops"
    )
