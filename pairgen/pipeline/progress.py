"""What a run tells while it works: one small event, for the terminal, the status file and tests alike."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pairgen.store import Usage


@dataclass(frozen=True, slots=True)
class Event:
    """A step's state. `done` of `total` inputs (None: unknown); `rows` out, `drops`, and what was spent.

    `state` is running | done | reused | failed; `seconds` since the step began; `note` one plain phrase.
    """

    step: str
    state: str
    done: int = 0
    total: int | None = None
    rows: int = 0
    drops: int = 0
    usage: Usage = Usage()
    seconds: float = 0.0
    note: str = ""


Listener = Callable[[Event], None]


class Meter:
    """Counts of one step, told to a listener at most five times a second."""

    def __init__(self, step: str, total: int | None, listen: Listener) -> None:
        self._step, self._total, self._listen = step, total, listen
        self._began = time.monotonic()
        self._told = 0.0
        self.done = self.rows = self.drops = 0

    @property
    def seconds(self) -> float:
        """Time since the step began."""
        return time.monotonic() - self._began

    def tell(self, usage: Usage, state: str = "running", note: str = "", *, force: bool = False) -> None:
        """Report now, unless the last report is fresh."""
        if not force and time.monotonic() - self._told < 0.2:
            return
        self._told = time.monotonic()
        self._listen(
            Event(self._step, state, self.done, self._total, self.rows, self.drops, usage, self.seconds, note)
        )


class StatusFile:
    """Keeps `status.json` in the run folder current, for `pairgen status` from another terminal.

    It is a display, not a record: written without fsync and never read by a run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        self._steps[event.step] = event
        from pairgen.fs import write_loose

        body = {"written": time.time(), "steps": [asdict(e) for e in self._steps.values()]}
        write_loose(self._path, json.dumps(body).encode())
