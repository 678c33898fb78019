"""One sitting at a run folder: the lock, the journal, the engines, and the report at the end."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pairgen import fs
from pairgen.fingerprint import JSON
from pairgen.journal import Journal
from pairgen.loop.config import Experiment
from pairgen.loop.run import Outcome, run_experiment
from pairgen.loop.summary import summarise
from pairgen.pipeline.progress import Event, Listener, StatusFile
from pairgen.pipeline.run import Runner
from pairgen.report.summary import RunSummary


class Session:
    """Holds a run folder alone. Leaving it closes the engines and the journal and frees the lock."""

    def __init__(self, folder: Path, experiment: Experiment, command: str) -> None:
        self.folder, self.experiment, self.command = folder, experiment, command
        self.config = ""
        self._listeners: list[Listener] = [StatusFile(folder / "status.json")]
        self._stops = 0

    def __enter__(self) -> "Session":
        fs.make_dirs(self.folder)
        self._lock = fs.lock(self.folder / "lock")
        try:
            self._journal = Journal.open(self.folder / "journal.db")
        except BaseException:
            self._lock.release()
            raise
        self._runner = Runner(self.folder, self.experiment, self._journal, self._tell)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._journal.close()
        self._lock.release()

    def listen(self, listener: Listener) -> None:
        """Also tell this listener."""
        self._listeners.append(listener)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def stop(self) -> bool:
        """Ask the run to stop; whether it was asked before."""
        self._stops += 1
        self._runner.stopping = True
        return self._stops > 1

    async def run(self, told: Callable[[dict[str, JSON]], None]) -> Outcome:
        """Run everything that is not done."""
        try:
            return await run_experiment(self.experiment, self._runner, told)
        finally:
            await self._runner.engines.close()

    def write_report(self, outcome: Outcome) -> Path:
        """Write the self-contained HTML report; its path."""
        from pairgen.report.run import run_report

        path = self.folder / "report.html"
        fs.write_atomic(path, run_report(self.summary(outcome)).encode("utf-8", "replace"))
        return path

    def summary(self, outcome: Outcome) -> RunSummary:
        """The run's numbers, from its sealed steps."""
        return summarise(self.experiment, self.folder, outcome, self.command, self.config)

    def record_config(self, text: str) -> None:
        """Keep the config as it was resolved, beside the results."""
        self.config = text
        fs.write_atomic(self.folder / "config.yaml", text.encode())
