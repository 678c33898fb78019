"""`pairgen plan`: what a run would do, what it would ask, and why again."""

import json
from dataclasses import asdict
from pathlib import Path

from pairgen.cli.options import AsJson, Iters, PipelineName, RunDir, Sets, run_folder


def plan(
    pipeline: PipelineName, set_: Sets = [], iters: Iters = None, run_dir: RunDir = None, json_: AsJson = False,  # noqa: B006
) -> None:
    """Show each step's state, the requests it would take, and what changed since it last ran. Asks nothing."""
    from pairgen.loop.config import load_experiment
    from pairgen.loop.plan import plan_lines

    experiment = load_experiment(pipeline, set_, iters)
    folder = run_folder(run_dir, experiment.name)
    lines = plan_lines(experiment, folder)
    if json_:
        print(json.dumps({"run": str(folder), "steps": [asdict(line) for line in lines]}))
        return
    _print(experiment.name, experiment.about, folder, lines)


def _print(name: str, about: str, folder: Path, lines: list) -> None:  # type: ignore[type-arg]
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column, right in (("step", False), ("state", False), ("rows in", True), ("requests", True), ("answered", True), ("why again", False)):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for line in lines:
        table.add_row(
            line.step, line.state, _number(line.rows), _number(line.requests), _number(line.reuse),
            escape("; ".join(line.why[:2]) + (f" (+{len(line.why) - 2} more)" if len(line.why) > 2 else "")),
        )
    console = Console()
    console.print(f"[bold]{name}[/]  {escape(about)}", highlight=False)
    console.print(f"run folder {escape(str(folder))} ({'continues' if folder.exists() else 'new'})", highlight=False)
    console.print(table)
    open_steps = [line for line in lines if line.state != "done"]
    console.print(
        f"{len(lines) - len(open_steps)} of {len(lines)} steps are done. "
        + ("~ counts are estimates: earlier steps decide them." if open_steps else "Nothing to do."), highlight=False,
    )


def _number(value: object) -> str:
    return "" if value is None else f"~{-value:,}" if isinstance(value, int) and value < 0 else f"{value:,}"
