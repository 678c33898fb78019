"""What a run tells while it works: one small event, for the terminal, the status file and tests alike."""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pairgen.fs import write_loose
from pairgen.store import Usage

WINDOW = 10.0
"""Seconds that a rate looks back on: what the journal had at the start says nothing about the rest."""


@dataclass(frozen=True, slots=True)
class Event:
    """A step's state. `done` of `total` inputs (None: unknown); `rows` out, `drops`, and what was spent.

    `state` is running | done | reused; `seconds` since the step began; `rate` inputs per second of
    late; `note` one plain phrase.
    """

    step: str
    state: str
    done: int = 0
    total: int | None = None
    rows: int = 0
    drops: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    rate: float = 0.0
    note: str = ""

    @property
    def eta(self) -> float | None:
        """Seconds still to go, None where that is not known."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate > 0 else None


Listener = Callable[[Event], None]


class Meter:
    """Counts of one step, told to a listener at most five times a second."""

    def __init__(self, step: str, total: int | None, listen: Listener) -> None:
        self._step, self._listen = step, listen
        self._began = time.monotonic()
        self._told = 0.0
        self._seen: deque[tuple[float, int]] = deque([(self._began, 0)])
        self.total = total
        self.done = self.rows = self.drops = 0

    @property
    def seconds(self) -> float:
        """Time since the step began."""
        return time.monotonic() - self._began

    def ready(self) -> None:
        """Measure the rate from now on: what came before was preparation."""
        self._seen = deque([(time.monotonic(), self.done)])

    def tell(self, usage: Usage, state: str = "running", note: str = "", *, force: bool = False) -> None:
        """Report now, unless the last report is fresh."""
        now = time.monotonic()
        if not force and now - self._told < 0.2:
            return
        self._told = now
        self._listen(Event(
            self._step, state, self.done, self.total, self.rows, self.drops, usage, self.seconds,
            self._rate(now), note,
        ))

    def _rate(self, now: float) -> float:
        self._seen.append((now, self.done))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()
        began, before = self._seen[0]
        return (self.done - before) / (now - began) if now - began > 0.5 else 0.0


class StatusFile:
    """Keeps `status.json` in the run folder current, for `pairgen status` from another terminal.

    It is a display, not a record: written without fsync and never read by a run. `steps` are the names
    of the run's steps in order.
    """

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self._path, self._plan = path, list(steps)
        self._steps: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        self._steps[event.step] = event
        steps = [asdict(e) | {"eta": e.eta} for e in self._steps.values()]
        body = {"written": time.time(), "plan": self._plan, "steps": steps}
        write_loose(self._path, json.dumps(body).encode())
