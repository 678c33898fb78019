"""Live progress: one line that moves on a terminal, plain lines everywhere else."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from pairgen.loop.history import Record
from pairgen.pipeline.progress import Event
from pairgen.report.text import visible

EVERY = 15.0
"""Seconds between lines on a step that takes long, where no line can move."""


class Display:
    """Turns events into lines. `steps` are the run's steps in order."""

    def __init__(self, console: Any, steps: Sequence[str]) -> None:
        self._console = console
        self._places = {name: place for place, name in enumerate(steps, 1)}
        self._live: Any = None
        self._now: Event | None = None
        self._told = self._began = time.monotonic()
        self._reused = 0

    def __call__(self, event: Event) -> None:
        if event.state == "running":
            self._running(event)
        elif event.state == "reused":
            self._reused += 1
        else:
            self.stop()
            self.say(self._line(event, finished(event)))

    def say(self, text: str) -> None:
        """Print one line, after what there is to say of steps that were done already."""
        if self._reused:
            self._console.print(f"{self._reused} steps were done already", soft_wrap=True)
            self._reused = 0
        self._console.print(visible(text), soft_wrap=True, markup=False, highlight=False)
        self._told = time.monotonic()

    def note(self, text: str) -> None:
        """Print one line that only informs."""
        self.say(text)

    def iteration(self, record: Record) -> None:
        """Say what drifted in an iteration."""
        for alarm in record.alarms:
            self.say(f"warning: {alarm}")

    def stopping(self) -> None:
        """Say that a stop was heard, where a line can move."""
        if self._console.is_terminal:
            self.stop()
            self.say("stopping: keeping what is on its way (Ctrl-C again leaves at once)")

    def stop(self) -> None:
        """Take the live line away."""
        self._now = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _running(self, event: Event) -> None:
        if self._now is None or self._now.step != event.step:
            self._told = self._began = time.monotonic()
        self._now = event
        if self._console.is_terminal:
            self._move()
        elif time.monotonic() - self._told >= EVERY:
            self.say(self._line(event, running(event)))

    def _move(self) -> None:
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=self._console, get_renderable=self._moving, refresh_per_second=5, transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )
            self._live.start()

    def _moving(self) -> Any:
        from rich.text import Text

        line = ""
        if self._now is not None:
            line = self._line(self._now, [*running(self._now), duration(time.monotonic() - self._began)])
        return Text(visible(line), no_wrap=True, overflow="ellipsis")

    def _line(self, event: Event, parts: Sequence[str]) -> str:
        place = self._places.get(event.step, 0)
        width = max(map(len, self._places), default=0)
        head = f"{place:>{len(str(len(self._places)))}}/{len(self._places)}"
        return "  ".join([head, f"{event.step:<{width}}", *parts])


class Silent(Display):
    """Says nothing but alarms."""

    def __call__(self, event: Event) -> None:
        pass

    def note(self, text: str) -> None:
        """Nothing."""


@contextmanager
def display(terminal: TextIO, steps: Sequence[str], quiet: bool) -> Iterator[Display]:
    """The display fit for this terminal; talk goes to stderr, stdout is for results."""
    from rich.console import Console

    console = Console(file=terminal, highlight=False, emoji=False)
    shown = (Silent if quiet else Display)(console, steps)
    try:
        yield shown
    finally:
        shown.stop()


def running(event: Event) -> list[str]:
    """`1,204/3,440`, `412/s`, `ETA 6.0s`, `81k tokens`, `3 drops`."""
    total = f"/{event.total:,}" if event.total is not None else ""
    parts = [f"{event.done:,}{total}"] if event.done or not event.note else []
    if event.rate:
        parts.append(f"{event.rate:,.0f}/s" if event.rate >= 10 else f"{event.rate:.1f}/s")
    if event.eta is not None and event.done:
        parts.append(f"ETA {duration(event.eta)}")
    return parts + _spent(event)


def finished(event: Event) -> list[str]:
    """`   3,440 rows`, `   8.3s`, `1.2M tokens`, `917 drops`."""
    trained = event.done > 0 and event.rows == 0 and event.note
    count, what = (event.done, "steps") if trained else (event.rows, "rows")
    return [f"{count:>8,} {what:<5}", f"{duration(event.seconds):>6}", *_spent(event)]


def _spent(event: Event) -> list[str]:
    usage, parts = event.usage, []
    if tokens := usage.prompt_tokens + usage.completion_tokens:
        parts.append(f"{compact(tokens)} tokens")
    if usage.reused:
        parts.append(f"{usage.reused:,} from the journal")
    if event.drops:
        parts.append(f"{event.drops:,} drops")
    if usage.cost:
        parts.append(f"${usage.cost:,.2f}" + (" at most" if usage.unpriced else ""))
    elif usage.unpriced:
        parts.append("cost unknown")
    return [*parts, event.note] if event.note else parts


def duration(seconds: float) -> str:
    """`8.3s`, `2m05s`, `3h12m`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def compact(number: float) -> str:
    """`950`, `81k`, `2.4M`."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            value = number / limit
            return f"{value:.1f}{suffix}" if value < 10 else f"{value:.0f}{suffix}"
    return f"{number:.0f}"
