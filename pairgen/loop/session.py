"""One sitting at a run folder: the lock, the journal, the engines, and the report at the end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pairgen import fs
from pairgen.errors import PairgenError, UsageError
from pairgen.journal import Journal
from pairgen.loop.config import Experiment
from pairgen.loop.history import Record
from pairgen.loop.run import Outcome, run_experiment
from pairgen.loop.steps import program
from pairgen.loop.summary import summarise
from pairgen.pipeline.progress import Event, Listener, StatusFile
from pairgen.pipeline.run import Runner
from pairgen.report.summary import RunSummary
from pairgen.store import is_done

CONFIG = "config.yaml"


class Session:
    """Holds a run folder alone. Leaving it closes the journal and frees the lock.

    `config` and `command` are kept beside the results. A config that cannot work is refused before
    anything is written. `budget` is the most the run may ever cost, in dollars.
    """

    def __init__(
        self, folder: Path, experiment: Experiment, *, config: str, command: str, budget: float | None = None
    ) -> None:
        self.budget = budget
        self.folder, self.experiment, self.config, self.command = folder, experiment, config, command
        self.plan = program(experiment)
        self._listeners: list[Listener] = [StatusFile(folder / "status.json", list(self.plan.steps))]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[Outcome] | None = None

    def __enter__(self) -> "Session":
        self._check_engines()
        fs.make_dirs(self.folder)
        self._lock = fs.lock(self.folder / "lock")
        try:
            fs.write_atomic(self.folder / CONFIG, f"# {self.command}\n{self.config}".encode())
            self._journal = Journal.open(self.folder / "journal.db")
        except BaseException:
            self._lock.release()
            raise
        self._runner = Runner(self.folder, self.experiment, self._journal, self._tell, self.budget)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._journal.close()
        self._lock.release()

    def _check_engines(self) -> None:
        """Refuse an engine that cannot be opened here, if a step still needs it."""
        todo = [s for s in self.plan.steps.values() if not is_done(s.folder(self.folder), s.identity)]
        for role in {step.engine: None for step in todo if step.engine is not None}:
            engine = self.experiment.engines[role]
            engine.check()
            tariff = engine.tariff()
            if self.budget is not None and tariff is not None and tariff.expected(1, 1) is None:
                raise UsageError(
                    f"--budget: no price is known for engines.{role}.model {engine.model!r}; give a table with "
                    f"--prices FILE, or --set 'engines.{role}.price={{input: 1.0, output: 4.0}}' (dollars per "
                    "million tokens)"
                )

    def listen(self, listener: Listener) -> None:
        """Also tell this listener."""
        self._listeners.append(listener)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def stop(self, why: PairgenError) -> bool:
        """Ask the run to stop with `why`; False when it was asked before. To be called by a signal handler.

        Raises `why` at once where nothing would be lost by that.
        """
        if self._runner.stopping is not None:
            return False
        self._runner.stopping = why
        if self._runner.abrupt:
            raise why
        if self._loop is not None and self._work is not None:
            self._loop.call_soon_threadsafe(self._work.cancel)
        return True

    async def run(self, told: Callable[[Record], None]) -> Outcome:
        """Run everything that is not done. Raises what it was asked to stop with."""
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.create_task(run_experiment(self.experiment, self.plan, self._runner, told))
        try:
            return await self._work
        except asyncio.CancelledError:
            self._runner.check_stop()
            raise
        finally:
            self._work = None
            await self._runner.engines.close()

    def write_report(self, outcome: Outcome) -> Path:
        """Write the self-contained HTML report; its path."""
        return write_report(self.folder, self.summary(outcome))

    def summary(self, outcome: Outcome) -> RunSummary:
        """The run's numbers, from its sealed steps."""
        return summarise(
            self.experiment, self.plan, self.folder, outcome.iterations, command=self.command,
            config=self.config, stopped=outcome.stopped,
        )


def write_report(run: Path, summary: RunSummary) -> Path:
    """Write a run's report into its folder; its path."""
    from pairgen.report.run import run_report

    path = run / "report.html"
    fs.write_atomic(path, run_report(summary).encode("utf-8", "replace"))
    return path
