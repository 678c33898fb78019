"""The driver of stages: rows stream from shards through a stage into shards, in input order.

The shard is a pure function of the input rows and the journaled answers, so a step that was cut is
simply run again: what was answered is served from the journal.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from pairgen import __version__
from pairgen.errors import PairgenError, UsageError
from pairgen.fingerprint import JSON
from pairgen.journal import Journal, Journaled, Purse
from pairgen.pipeline.ask import ask_row
from pairgen.pipeline.config import Setup
from pairgen.pipeline.plan import Step
from pairgen.pipeline.pool import EnginePool
from pairgen.pipeline.progress import Event, Listener, Meter
from pairgen.records import Drop
from pairgen.stage import LLMStage, RowStage
from pairgen.store import Manifest, StepWriter, Usage, is_done, read_manifest, read_rows, seal

HELD = 8192
"""Rows that wait, answered, for a slow one before them."""
DRAIN = 6.0
"""Seconds that a stop waits for answers on their way: they are paid for."""


class Interrupted(PairgenError):
    """Ctrl-C: everything answered is kept."""

    exit_code = 130


class Runner:
    """Runs the steps of one run folder. Holds the journal, the engines and the wish to stop.

    `stopping` is set from outside and obeyed at the next row, request or training step; while `abrupt`
    is true there is nothing to keep, so whoever sets it may as well raise it on the spot. `budget` is in
    dollars and counts what earlier processes spent on this run.
    """

    def __init__(
        self, folder: Path, setup: Setup, journal: Journal, listen: Listener, budget: float | None = None
    ) -> None:
        self.folder, self.setup, self.journal, self.listen = folder, setup, journal, listen
        self.engines = EnginePool(setup.engines, folder)
        self.purse = Purse(budget, journal.spent().cost)
        self.stopping: PairgenError | None = None
        self.abrupt = False
        self.weights: dict[str, tuple[Path, str]] = {}

    def check_stop(self) -> None:
        """Raise what the run was asked to stop with."""
        if self.stopping is not None:
            raise self.stopping

    @contextmanager
    def abruptly(self) -> Iterator[None]:
        """Work that leaves nothing to keep: a stop may cut it anywhere."""
        self.check_stop()
        self.abrupt = True
        try:
            yield
        finally:
            self.abrupt = False

    def reuse(self, step: Step) -> Manifest | None:
        """The sealed manifest of a step that is done, or None."""
        folder = step.folder(self.folder)
        if not is_done(folder, step.identity):
            return None
        manifest = read_manifest(folder)
        assert manifest is not None
        self.listen(Event(step.name, "reused", rows=manifest.rows, drops=sum(manifest.drops.values())))
        return manifest

    async def stage(self, step: Step, steps: Mapping[str, Step]) -> Manifest:
        """Run one stage, or return its manifest when it is done.

        Raises UsageError when no row came through and a later step reads it.
        """
        manifest = self.reuse(step)
        if manifest is None:
            self.check_stop()
            manifest = await self._run(step, [steps[name] for name in step.inputs])
        if manifest.rows == 0 and any(step.name in later.inputs for later in steps.values()):
            raise UsageError(nothing_left(step, manifest, self.folder))
        return manifest

    async def _run(self, step: Step, sources: Sequence[Step]) -> Manifest:
        folders = [s.folder(self.folder) for s in sources]
        sealed = [m for m in map(read_manifest, folders) if m is not None]
        meter = Meter(step.name, sum(m.rows for m in sealed) if sealed else None, self.listen)
        rows: Iterator[Any] = chain.from_iterable(map(read_rows, folders))
        if isinstance(step.spec, RowStage):
            outs = _each(step.spec.run(self._counted(rows, meter)))
            return await self._write(step, sources, meter, outs, None)
        async with self.answering(step, meter) as answers:
            work = self._asking(step.spec, answers, meter)
            outs = in_order(rows, work, self.concurrency(step))
            return await self._write(step, sources, meter, outs, answers)

    async def _write(
        self, step: Step, sources: Sequence[Step], meter: Meter, batches: AsyncGenerator[Sequence[Any]],
        answers: Journaled | None,
    ) -> Manifest:
        with StepWriter(step.folder(self.folder), step.spec.writes, self.setup.shard_rows) as writer:
            async with aclosing(batches) as outs:
                async for batch in outs:
                    for out in batch:
                        writer.add(out)
                        meter.drops += isinstance(out, Drop)
                        meter.rows += not isinstance(out, Drop)
                    meter.tell(answers.usage if answers else Usage())
            return self.finish(step, sources, writer, meter, answers)

    def finish(
        self, step: Step, sources: Sequence[Step], writer: StepWriter, meter: Meter,
        answers: Journaled | None, metrics: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Seal what a writer holds, and say so."""
        usage = answers.usage if answers else Usage()
        log = log_of(meter.seconds, answers.paid if answers else usage)
        manifest = sealed_manifest(step, sources, writer, log=log, metrics=metrics)
        seal(step.folder(self.folder), manifest)
        meter.tell(usage, "done", force=True)
        return manifest

    @asynccontextmanager
    async def answering(self, step: Step, meter: Meter) -> AsyncIterator[Journaled]:
        """The step's engine with its weights, behind the journal.

        Left by an error or a stop, it sends nothing more and keeps what is on its way.
        """
        assert step.engine is not None
        meter.tell(Usage(), note=self.engines.opening(step.engine), force=True)
        with self.abruptly():
            self.engines.open(step.engine)
        weights = self.weights[step.weights] if step.weights else None
        answers = Journaled(
            await self.engines.get(step.engine, weights), self.journal, step=step.account,
            tariff=self.setup.engines[step.engine].tariff(), purse=self.purse,
        )
        meter.ready()
        try:
            yield answers
        except BaseException:
            await answers.drain(DRAIN)
            raise

    def concurrency(self, step: Step) -> int:
        """How many requests of a step are in flight at once."""
        assert step.engine is not None
        return self.setup.engines[step.engine].rows_at_once

    def _counted(self, rows: Iterator[Any], meter: Meter) -> Iterator[Any]:
        for row in rows:
            self.check_stop()
            meter.done += 1
            yield row

    def _asking(self, stage: LLMStage, answers: Journaled, meter: Meter) -> Callable[[Any], Any]:
        async def work(row: Any) -> list[Any]:
            self.check_stop()
            outs = await ask_row(stage, row, answers)
            meter.done += 1
            meter.tell(answers.usage)
            return outs

        return work


async def _each(items: Iterable[Any]) -> AsyncGenerator[Sequence[Any]]:
    for item in items:
        yield (item,)


async def in_order(
    rows: Iterable[Any], work: Callable[[Any], Any], limit: int
) -> AsyncGenerator[Sequence[Any]]:
    """Work on `limit` rows at a time and yield the results in row order.

    A slow row does not stall the others: up to sixteen times `limit` rows may wait behind it, but where
    that is many, HELD or twice `limit`. On an error, or when the caller stops, the rows in flight are
    cancelled before it leaves.
    """
    gate = asyncio.Semaphore(limit)

    async def guarded(row: Any) -> Any:
        try:
            return await work(row)
        finally:
            gate.release()

    waiting: deque[asyncio.Task[Any]] = deque()
    most = max(2 * limit, min(16 * limit, HELD))
    try:
        for row in rows:
            await gate.acquire()
            waiting.append(asyncio.create_task(guarded(row)))
            while waiting and (waiting[0].done() or len(waiting) > most):
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def sealed_manifest(
    step: Step, sources: Sequence[Step], writer: StepWriter, *, log: JSON,
    metrics: Mapping[str, Any] | None = None,
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
    """What may differ between equal runs. Times are UTC, fine enough to tell which step came first."""
    return {
        "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "seconds": round(seconds, 3),
        "requests": usage.requests, "reused": usage.reused, "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens, "cost": usage.cost, "unpriced": usage.unpriced,
    }


def nothing_left(step: Step, manifest: Manifest, run: Path) -> str:
    """The one line for a step that let no row through."""
    counts = sorted(manifest.drops.items(), key=lambda item: -item[1])
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts)
    return (
        f"{step.name}: no row came through ({reasons or 'nothing came in'}), so the run stops here. "
        f"See them: pairgen show {step.folder(run)} --drops"
    )
