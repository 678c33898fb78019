"""A thread that owns a model. Requests reach it in bursts and its replies leave in bursts.

One event-loop tick gathers everything that was sent in it, so a burst costs one wake-up; each step of
the model costs one call back into the loop. Commands (swap weights, sleep) wait until nothing is in
flight. When the model fails, every waiting caller is told, and so is every later one.
"""

import asyncio
import atexit
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import Protocol

from pairgen.engine import Completion, Request
from pairgen.engines._reply import pack
from pairgen.errors import PairgenError, Stopped


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way: its prompt's token ids, who waits for it and, in the end, its reply."""

    request: Request
    ids: list[int]
    waiter: "asyncio.Future[bytes]"
    reply: bytes | Exception | None = None


def pack_job(job: Job, samples: list[Completion]) -> bytes:
    """The raw reply of a job. One greedy sample stands for all; the first is charged the prompt."""
    if len(samples) == 1:
        samples = samples * job.request.n
    return pack([replace(samples[0], prompt_tokens=len(job.ids)), *samples[1:]])


class Backend(Protocol):
    """The model side of an engine. Only the worker's thread touches it."""

    @property
    def context(self) -> int:
        """The most tokens a prompt and its completion may have together."""

    @property
    def busy(self) -> bool:
        """Whether a step would get anything done."""

    def admit(self, jobs: Sequence[Job]) -> None:
        """Take the jobs of one burst, in order of arrival."""

    def step(self) -> list[Job]:
        """Compute for a while; returns the jobs that now have a reply."""

    def forget(self, job: Job) -> None:
        """Nobody waits for this job any more."""

    def load(self, folder: str) -> None:
        """Swap in the weights of a folder."""

    def sleep(self) -> None:
        """Give accelerator memory back."""

    def wake(self) -> None:
        """Take it again."""

    def close(self) -> None:
        """Free everything."""


@dataclass(slots=True, eq=False)
class Command:
    """Something to do with the backend once nothing is in flight."""

    call: Callable[[Backend], None]
    done: "Future[None]"


class Worker:
    """Runs a backend on a thread of its own. `kind` names the engine in messages."""

    def __init__(self, kind: str, make: Callable[[], Backend]) -> None:
        self._kind = kind
        self._inbox: deque[list[Job] | Command] = deque()
        self._dropped: deque[Job] = deque()
        self._live: set[Job] = set()
        self._wake, self._lock = Event(), Lock()
        self._closing = False
        self._error: BaseException | None = None
        ready: Future[Backend] = Future()
        self._thread = Thread(target=self._run, args=(make, ready), name=f"pairgen-{kind}", daemon=True)
        self._thread.start()
        self.context = ready.result().context
        atexit.register(self.stop)

    def post(self, item: list[Job] | Command) -> None:
        """Queue a burst of jobs or a command. Raises Stopped when the model has failed or is closed."""
        with self._lock:
            if self._error is not None or self._closing:
                raise self._failure()
            self._inbox.append(item)
        self._wake.set()

    async def do(self, call: Callable[[Backend], None]) -> None:
        """Run `call` on the model's thread once nothing is in flight."""
        command = Command(call, Future())
        self.post(command)
        await asyncio.wrap_future(command.done)

    def drop(self, job: Job) -> None:
        """Stop computing a job whose caller has gone."""
        self._dropped.append(job)
        self._wake.set()

    def stop(self) -> None:
        """Tell the thread to leave and wait until it has, but not for one that is stuck in the model.

        Requests still waiting are told.
        """
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=60)
        atexit.unregister(self.stop)

    def _run(self, make: Callable[[], Backend], ready: "Future[Backend]") -> None:
        try:
            backend = make()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(backend)
        try:
            self._work(backend)
        except BaseException as error:
            self._error = error
        finally:
            self._fail_all()
            backend.close()

    def _work(self, backend: Backend) -> None:
        while not self._closing:
            self._wake.clear()
            while self._dropped:
                self._forget(backend, self._dropped.popleft())
            self._take(backend)
            if backend.busy:
                self._deliver(backend.step())
            elif not (self._inbox or self._dropped or self._closing):
                self._wake.wait()

    def _take(self, backend: Backend) -> None:
        """Admit what has arrived, up to a command that must wait until the backend is idle."""
        while self._inbox:
            if isinstance(self._inbox[0], Command) and backend.busy:
                return
            item = self._inbox.popleft()
            if isinstance(item, Command):
                _execute(item, backend)
            else:
                self._live.update(item)
                backend.admit(item)

    def _forget(self, backend: Backend, job: Job) -> None:
        if job in self._live:
            self._live.discard(job)
            backend.forget(job)

    def _deliver(self, jobs: list[Job]) -> None:
        self._live.difference_update(jobs)
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in jobs:
            by_loop.setdefault(job.waiter.get_loop(), []).append(job)
        for loop, group in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, group)

    def _failure(self) -> PairgenError:
        if self._error is None:
            return Stopped(f"{self._kind}: the engine is closed")
        detail = (str(self._error).splitlines() or [""])[0]
        what = f"{type(self._error).__name__}: {detail}"
        failure = Stopped(f"{self._kind}: the engine died ({what}); run again to go on")
        failure.__cause__ = self._error
        return failure

    def _fail_all(self) -> None:
        with self._lock:
            self._closing = True
            left = list(self._inbox)
            self._inbox.clear()
        jobs = [*self._live, *(job for item in left if isinstance(item, list) for job in item)]
        for job in jobs:
            job.reply = self._failure()
        self._deliver(jobs)
        for item in left:
            if isinstance(item, Command):
                item.done.set_exception(self._failure())


def _execute(command: Command, backend: Backend) -> None:
    """Run a command. An error of the user's goes to the caller; any other is also the worker's end."""
    try:
        command.call(backend)
    except PairgenError as error:
        command.done.set_exception(error)
    except BaseException as error:
        command.done.set_exception(error)
        raise
    else:
        command.done.set_result(None)


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        if job.waiter.done():
            continue
        if isinstance(job.reply, bytes):
            job.waiter.set_result(job.reply)
        else:
            job.waiter.set_exception(job.reply or Stopped("the engine gave no reply"))
