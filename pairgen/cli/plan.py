"""`pairgen plan`: what a run would do, what it would ask, and why again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pairgen.cli.options import AsJson, Iters, PipelineName, Prices, RunDir, Sets, run_folder, with_prices

if TYPE_CHECKING:
    from pairgen.loop.config import Experiment
    from pairgen.loop.plan import PlanLine


def plan(
    pipeline: PipelineName,
    set_: Sets = None,
    iters: Iters = None,
    run_dir: RunDir = None,
    json_: AsJson = False,
    prices: Prices = None,
) -> None:
    """Show each step's state, the answers it would ask for, their cost, and why it runs again. Asks nothing."""
    from pairgen.loop.config import experiment_tree, parse_experiment

    experiment = parse_experiment(with_prices(experiment_tree(pipeline, set_ or (), iters), prices))
    show_plan(experiment, run_folder(run_dir, experiment.name), json_)


def show_plan(experiment: "Experiment", folder: Path, json_: bool) -> None:
    """Print what a run in that folder would do."""
    from pairgen.loop.plan import plan_lines
    from pairgen.loop.steps import program

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
    money = ("cost", "at most") if any(line.cost != 0.0 for line in lines) else ()
    for column in ("step", "state", "rows in", "reuse", "to ask", "prompt tokens", *money, "why again"):
        words = column in ("step", "state", "why again")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for line in lines:
        table.add_row(*map(Text, _cells(line, bool(money))))
    console = Console(highlight=False, markup=False)
    console.print(title, soft_wrap=True)
    console.print(f"run folder {folder} ({'continues' if folder.exists() else 'new'})", soft_wrap=True)
    console.print(table)
    estimates = any(not line.exact for line in lines)
    hint = ". ~ is an estimate: earlier steps decide it" if estimates else ""
    console.print(f"{in_short(lines)}{hint}.", soft_wrap=True)


def _cells(line: "PlanLine", money: bool) -> list[str]:
    from pairgen.loop.estimate import dollars

    about = "" if line.exact else "~"
    why = "; ".join(line.why[:2]) + (f" (+{len(line.why) - 2} more)" if len(line.why) > 2 else "")
    asks = line.state != "done" and line.samples > 0
    costs = []
    if money:
        unknown = "unknown" if line.cost is None else ""
        pairs = (("~", line.cost), ("", line.most))
        costs = [f"{about_}{dollars(c)}" if c else unknown for about_, c in pairs]
    return [
        line.step, line.state, f"{about}{line.rows:,}" if line.rows is not None else "",
        f"{line.answered:,}" if asks and line.exact else "", f"{about}{line.to_ask:,}" if asks else "",
        f"~{line.tokens:,}" if line.tokens else "", *costs, why,
    ]
