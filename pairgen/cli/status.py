"""`pairgen status RUN`: how far a run is, also while it works in another terminal."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pairgen.cli.options import AsJson


def status(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it until the run ends.")] = False,
    json_: AsJson = False,
) -> None:
    """Show every step of a run: rows, drops by reason, tokens, time; and whether it is working now."""
    found = read_status(run)
    if json_:
        print(json.dumps(found))
    elif watch:
        _watch(run, found)
    else:
        _print(found)


def read_status(run: Path) -> dict[str, Any]:
    """The state of a run as plain JSON. Raises UsageError when the folder is no run."""
    from pairgen.errors import UsageError
    from pairgen.locks import is_locked
    from pairgen.loop.history import ITERATIONS
    from pairgen.store import sealed_steps

    if not (run / "journal.db").exists():
        raise UsageError(f"{run}: not a run folder (no journal.db in it)")
    told, working = _told(run), is_locked(run / "lock")
    places = {name: place for place, name in enumerate(told["plan"])}
    sealed = sorted(
        (m for _, m in sealed_steps(run)),
        key=lambda m: (places.get(m.name, len(places)), str(m.log.get("finished", ""))),
    )
    steps = [
        {"step": m.name, "digest": m.digest[:8], "use": m.use, "rows": m.rows, "drops": m.drops,
         "failed": m.failed, **m.log}
        for m in sealed
    ]
    done = {m.name for m in sealed}
    now = [s for s in told["steps"] if s["state"] == "running" and s["step"] not in done]
    return {
        "run": str(run), "working": working, "of": len(places) or None, "steps": steps,
        "waiting": [name for name in places if name not in done], "now": now,
        "told": told["written"], "iterations": _lines(run / ITERATIONS),
    }


def _told(run: Path) -> dict[str, Any]:
    """What the run last said of itself, in `status.json`."""
    empty: dict[str, Any] = {"plan": [], "steps": [], "written": None}
    try:
        body = json.loads((run / "status.json").read_bytes())
    except (OSError, ValueError):
        return empty
    return {**empty, **body} if isinstance(body, dict) else empty


def _lines(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError):
        return []


def _watch(run: Path, found: dict[str, Any]) -> None:
    from rich.live import Live

    with Live(_view(found), refresh_per_second=2) as live:
        while found["working"]:
            time.sleep(1)
            found = read_status(run)
            live.update(_view(found))


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(_head(found), soft_wrap=True)
    console.print(_table(found["steps"]))
    for step in found["now"]:
        console.print(_now_line(step, found), soft_wrap=True)


def _view(found: dict[str, Any]) -> Any:
    """All of it as one thing that can be drawn again."""
    from rich.console import Group
    from rich.text import Text

    lines = [Text(_now_line(step, found)) for step in found["now"]]
    return Group(Text(_head(found)), _table(found["steps"]), *lines)


def _head(found: dict[str, Any]) -> str:
    done = len({s["step"] for s in found["steps"]})
    of = f" of {found['of']}" if found["of"] else ""
    return f"{found['run']}: {'working' if found['working'] else 'not working now'}, {done}{of} steps done"


def _table(steps: list[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from pairgen.cli.display import compact, duration

    columns = ("step", "rows", "requests", "reused", "tokens", "time", "cost", "drops")
    cost = any(s.get("cost") or s.get("unpriced") for s in steps)
    table = Table(box=None, pad_edge=False)
    for name in columns:
        if name != "cost" or cost:
            words = name in ("step", "drops")
            table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for s in steps:
        tokens = s.get("prompt_tokens", 0) + s.get("completion_tokens", 0)
        cells = [
            s["step"], f"{s['rows']:,}", _count(s.get("requests")), _count(s.get("reused")),
            compact(tokens) if tokens else "", duration(s.get("seconds", 0.0)),
            *([_cost(s)] if cost else []), drops_line(s["drops"]),
        ]
        table.add_row(*map(Text, cells))
    return table


def _cost(step: dict[str, Any]) -> str:
    """`$1.20`, `unknown`, or nothing where nothing was asked."""
    if step.get("unpriced") and not step.get("cost"):
        return "unknown"
    return f"${step['cost']:,.2f}" if step.get("cost") else ""


def _count(number: int | None) -> str:
    return f"{number:,}" if number else ""


def drops_line(drops: dict[str, int]) -> str:
    """`none_agree 577, balance 91`."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(drops.items(), key=lambda kv: -kv[1]))


def _now_line(step: dict[str, Any], found: dict[str, Any]) -> str:
    """What the step does now, or where it was when the run ended."""
    from pairgen.cli.display import duration, running
    from pairgen.pipeline.progress import Event
    from pairgen.store import Usage

    fields = {k: v for k, v in step.items() if k != "eta"}
    event = Event(**{**fields, "usage": Usage(**step["usage"])})
    parts = "  ".join(running(event))
    if not found["working"]:
        return f"stopped in {event.step}: {parts}"
    age = time.time() - float(found["told"])
    return f"now in {event.step}: {parts}" + (f"  (told {duration(age)} ago)" if age > 5 else "")
