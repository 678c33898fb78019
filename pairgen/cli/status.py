"""`pairgen status RUN`: how far a run is, also while it works in another terminal."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pairgen.cli.options import AsJson


def status(
    run: Annotated[Path, typer.Argument(help="The run folder.")], json_: AsJson = False,
) -> None:
    """Show every step of a run: rows, drops by reason, tokens, time; and whether it is working now."""
    found = read_status(run)
    if json_:
        print(json.dumps(found))
        return
    _print(run, found)


def read_status(run: Path) -> dict[str, Any]:
    """The state of a run as plain JSON. Raises UsageError when the folder is no run."""
    from pairgen import fs
    from pairgen.errors import UsageError
    from pairgen.store import sealed_steps

    if not (run / "journal.db").exists():
        raise UsageError(f"{run}: not a run folder (no journal.db in it)")
    sealed = sorted((m for _, m in sealed_steps(run)), key=lambda m: str(m.log.get("finished", "")))
    steps = [
        {"step": m.name, "digest": m.digest[:8], "use": m.use, "rows": m.rows, "drops": m.drops, "failed": m.failed, **m.log}
        for m in sealed
    ]
    live = _live(run)
    return {"run": str(run), "working": fs.is_locked(run / "lock"), "steps": steps, "now": live}


def _live(run: Path) -> list[dict[str, Any]]:
    try:
        body = json.loads((run / "status.json").read_bytes())
    except (OSError, ValueError):
        return []
    return [{**s, "age": time.time() - body["written"]} for s in body["steps"] if s["state"] == "running"]


def _print(run: Path, found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pairgen.cli.display import compact, duration

    table = Table(box=None, pad_edge=False)
    for name in ("step", "rows", "drops", "requests", "reused", "tokens", "time", "cost"):
        table.add_column(name, justify="left" if name in ("step", "drops") else "right")
    for s in found["steps"]:
        drops = ", ".join(f"{reason} {count:,}" for reason, count in sorted(s["drops"].items(), key=lambda kv: -kv[1]))
        tokens = s.get("prompt_tokens", 0) + s.get("completion_tokens", 0)
        table.add_row(
            s["step"], f"{s['rows']:,}", drops, f"{s.get('requests', 0):,}", f"{s.get('reused', 0):,}",
            compact(tokens), duration(s.get("seconds", 0.0)), f"${s.get('cost', 0.0):,.2f}",
        )
    console = Console()
    console.print(f"{run}: {'working' if found['working'] else 'not working now'}", highlight=False)
    console.print(table)
    for s in found["now"]:
        total = f" of {s['total']:,}" if s["total"] else ""
        console.print(f"now: {s['step']} {s['done']:,}{total}, {s['drops']:,} drops, {duration(s['seconds'])}", highlight=False)
