"""One sitting at a folder: the lock, the journal, the engines, and the wish to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pairgen import fs
from pairgen.errors import PairgenError, UsageError
from pairgen.journal import Journal
from pairgen.locks import lock
from pairgen.pipeline.config import Setup
from pairgen.pipeline.plan import Step
from pairgen.pipeline.progress import Event, Listener, StatusFile
from pairgen.pipeline.run import Runner
from pairgen.store import is_done

CONFIG = "config.yaml"
JOURNAL = "journal.db"
T = TypeVar("T")


class Sitting:
    """Holds a folder alone while `steps` are run in it. Leaving it closes the journal and frees the lock.

    `config` and `command` are kept beside the results. An engine that cannot work is refused before
    anything is written. `budget` is the most the folder may ever cost, in dollars.
    """

    def __init__(
        self, folder: Path, setup: Setup, steps: Mapping[str, Step], *, config: str, command: str,
        budget: float | None = None,
    ) -> None:
        self.folder, self.setup, self.steps = folder, setup, steps
        self.config, self.command, self.budget = config, command, budget
        self._listeners: list[Listener] = [StatusFile(folder / "status.json", list(steps))]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Future[Any] | None = None

    def __enter__(self) -> Self:
        self._check_engines()
        fs.make_dirs(self.folder)
        self._lock = lock(self.folder / "lock")
        try:
            fs.write_atomic(self.folder / CONFIG, f"# {self.command}\n{self.config}".encode())
            self._journal = Journal.open(self.folder / JOURNAL)
        except BaseException:
            self._lock.release()
            raise
        self._runner = Runner(self.folder, self.setup, self._journal, self._tell, self.budget)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._journal.close()
        self._lock.release()

    def _check_engines(self) -> None:
        """Refuse an engine that cannot be opened here, if a step still needs it."""
        todo = [s for s in self.steps.values() if not is_done(s.folder(self.folder), s.identity)]
        for role in {step.engine: None for step in todo if step.engine is not None}:
            engine = self.setup.engines[role]
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
        """Ask the work to stop with `why`; False when it was asked before. To be called by a signal handler.

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

    async def work(self, do: Callable[[Runner], Awaitable[T]]) -> T:
        """Do this with the runner, and close the engines. Raises what it was asked to stop with."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(do(self._runner))
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            self._runner.check_stop()
            raise
        finally:
            self._work = None
            await self._runner.engines.close()
