"""Live progress: a line per running step on a terminal, plain lines everywhere else."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pairgen.fingerprint import JSON
from pairgen.pipeline.progress import Event


class Display:
    """Turns events into lines. `iteration` is told each finished iteration."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._live: Any = None

    def __call__(self, event: Event) -> None:
        if event.state == "running":
            self._running(event)
        else:
            self._finished(event)

    def iteration(self, record: dict[str, JSON]) -> None:
        """Say what an iteration came to."""
        for alarm in record.get("alarms") or []:  # type: ignore[union-attr]
            self._console.print(f"[yellow]warning:[/] {alarm}")

    def _running(self, event: Event) -> None:
        if self._live is None and self._console.is_terminal:
            self._live = self._console.status("")
            self._live.start()
        if self._live is not None:
            self._live.update(running_line(event))

    def _finished(self, event: Event) -> None:
        self.stop()
        self._console.print(finished_line(event), highlight=False)

    def stop(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Silent(Display):
    """Says nothing but alarms."""

    def __call__(self, event: Event) -> None:
        pass


@contextmanager
def display(quiet: bool) -> Iterator[Display]:
    """The display fit for this terminal; talk goes to stderr, stdout is for results."""
    from rich.console import Console

    shown = (Silent if quiet else Display)(Console(stderr=True, file=None if sys.stderr else None))
    try:
        yield shown
    finally:
        shown.stop()


def running_line(event: Event) -> str:
    """`it2-judged  1,204/3,440  412 rows/s  ETA 6s  81k tokens  drops 3`."""
    rate = event.done / event.seconds if event.seconds > 0 else 0.0
    parts = [f"[bold]{event.step}[/]", f"{event.done:,}/{event.total:,}" if event.total else f"{event.done:,}"]
    parts.append(f"{rate:,.0f}/s")
    if event.total and rate:
        parts.append(f"ETA {duration((event.total - event.done) / rate)}")
    return "  ".join(parts + _spent(event))


def finished_line(event: Event) -> str:
    """`it2-judged   done   3,440 rows  8.3s  ...` or `reused`."""
    parts = [f"{event.step:<18}", f"{event.state:<7}", f"{event.rows or event.done:>8,} {'rows' if event.rows else 'done'}"]
    if event.state == "done":
        parts.append(f"{duration(event.seconds):>7}")
    return "  ".join(parts + _spent(event))


def _spent(event: Event) -> list[str]:
    usage, parts = event.usage, []
    if tokens := usage.prompt_tokens + usage.completion_tokens:
        parts.append(f"{compact(tokens)} tokens")
    if usage.reused:
        parts.append(f"{usage.reused:,} reused")
    if event.drops:
        parts.append(f"{event.drops:,} drops")
    if usage.cost:
        parts.append(f"${usage.cost:,.2f}")
    return [*parts, event.note] if event.note else parts


def duration(seconds: float) -> str:
    """`8.3s`, `2m05s`, `3h12m`."""
    if seconds < 60:
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
