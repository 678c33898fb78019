"""`pairgen plan`: what a run would do, what it would ask, and why again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pairgen.cli.options import AsJson, Iters, PipelineName, RunDir, Sets, run_folder

if TYPE_CHECKING:
    from pairgen.loop.plan import PlanLine


def plan(
    pipeline: PipelineName,
    set_: Sets = [],  # noqa: B006 (typer reads the default, nobody appends to it)
    iters: Iters = None,
    run_dir: RunDir = None,
    json_: AsJson = False,
) -> None:
    """Show each step's state, the answers it would ask for, and why it runs again. Asks nothing."""
    from pairgen.loop.config import load_experiment
    from pairgen.loop.plan import plan_lines
    from pairgen.loop.steps import program

    experiment = load_experiment(pipeline, set_, iters)
    folder = run_folder(run_dir, experiment.name)
    lines = plan_lines(experiment, program(experiment), folder)
    if json_:
        steps = [{**asdict(line), "to_ask": line.to_ask} for line in lines]
        print(json.dumps({"run": str(folder), "steps": steps}))
        return
    _print(f"{experiment.name}: {experiment.about}", folder, lines)


def _print(title: str, folder: Path, lines: list["PlanLine"]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pairgen.loop.plan import in_short

    table = Table(box=None, pad_edge=False)
    for column in ("step", "state", "rows in", "reuse", "to ask", "prompt tokens", "why again"):
        words = column in ("step", "state", "why again")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for line in lines:
        table.add_row(*map(Text, _cells(line)))
    console = Console(highlight=False, markup=False)
    console.print(title, soft_wrap=True)
    console.print(f"run folder {folder} ({'continues' if folder.exists() else 'new'})", soft_wrap=True)
    console.print(table)
    estimates = any(not line.exact for line in lines)
    hint = ". ~ is an estimate: earlier steps decide it" if estimates else ""
    console.print(f"{in_short(lines)}{hint}.", soft_wrap=True)


def _cells(line: "PlanLine") -> list[str]:
    about = "" if line.exact else "~"
    why = "; ".join(line.why[:2]) + (f" (+{len(line.why) - 2} more)" if len(line.why) > 2 else "")
    asks = line.state != "done" and line.samples > 0
    return [
        line.step, line.state, f"{about}{line.rows:,}" if line.rows is not None else "",
        f"{line.answered:,}" if asks and line.exact else "", f"{about}{line.to_ask:,}" if asks else "",
        f"~{line.tokens:,}" if line.tokens else "", why,
    ]
