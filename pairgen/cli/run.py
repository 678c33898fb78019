"""`pairgen run`: do everything a pipeline says that is not done yet."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pairgen.cli.options import (
    AsJson,
    Budget,
    Iters,
    PipelineName,
    Prices,
    RunDir,
    Sets,
    command_line,
    run_folder,
    with_prices,
)

if TYPE_CHECKING:
    from pairgen.loop.config import Experiment
    from pairgen.loop.run import Outcome
    from pairgen.loop.session import Session


def run(
    pipeline: PipelineName,
    set_: Sets = None,
    iters: Iters = None,
    run_dir: RunDir = None,
    json_: AsJson = False,
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, only the result."),
    budget: Budget = None,
    prices: Prices = None,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the plan and what it would cost; ask nothing."),
) -> None:
    """Run a pipeline. The same command goes on after a stop; nothing answered is asked again."""
    import yaml

    from pairgen.loop.config import experiment_tree, parse_experiment
    from pairgen.loop.session import Session

    tree = with_prices(experiment_tree(pipeline, set_ or (), iters), prices)
    experiment = parse_experiment(tree)
    if dry_run:
        from pairgen.cli.plan import show_plan

        show_plan(experiment, run_folder(run_dir, experiment.name), json_)
        return
    folder, config = run_folder(run_dir, experiment.name), yaml.safe_dump(tree, sort_keys=False)
    with Session(folder, experiment, config=config, command=command_line(), budget=budget) as session:
        outcome = _work(session, quiet=quiet or json_)
        report = session.write_report(outcome)
    _print_result(session, outcome, report, as_json=json_)
    _complain(experiment, folder, outcome)


def _work(session: "Session", quiet: bool) -> "Outcome":
    """Run with the terminal to ourselves."""
    import asyncio

    from pairgen.cli.display import display
    from pairgen.cli.signals import Signals
    from pairgen.cli.terminal import only_ours
    from pairgen.loop.plan import in_short, plan_lines

    with (
        only_ours(session.folder / "output.log") as terminal,
        display(terminal, list(session.plan.steps), quiet) as shown,
        Signals(session, shown),
    ):
        if not quiet:
            lines = plan_lines(session.experiment, session.plan, session.folder)
            shown.say(f"{session.folder}: {in_short(lines)}")
        session.listen(shown)
        return asyncio.run(session.run(shown.iteration))


def _print_result(session: "Session", outcome: "Outcome", report: Path, *, as_json: bool) -> None:
    if session.experiment.compare is not None:
        _print_study(session, report, as_json)
        return
    if as_json:
        print(json.dumps({
            "run": str(session.folder), "report": str(report), "stopped": outcome.stopped,
            "alarms": outcome.alarms, "iterations": outcome.to_json(),
        }))
        return
    from rich.console import Console

    from pairgen.report.terminal import headline_text, iteration_table, reference_text

    console, summary = Console(), session.summary(outcome)
    if outcome.iterations:
        console.print(iteration_table(summary))
        console.print("consistent: right in both orders. ± one standard error. Agreement is with the construction.\n")
        console.print(headline_text(summary))
        if reference := reference_text(summary):
            console.print()
            console.print(reference)
    print(f"report: {report}")


def _print_study(session: "Session", report: Path, as_json: bool) -> None:
    """A comparison of objectives: the table of the arms and what may be said of them."""
    from rich.console import Console

    from pairgen.report.study import study_json, study_table, study_text

    found = session.study()
    if as_json:
        print(json.dumps({"run": str(session.folder), "report": str(report), **study_json(found)}))
        return
    console = Console()
    console.print(study_table(found))
    console.print("mean over seeds and items, 95 % interval; consistent: right in both orders\n")
    console.print(study_text(found))
    print(f"report: {report}")


def _complain(experiment: "Experiment", folder: Path, outcome: "Outcome") -> None:
    from pairgen.errors import FailedRows

    if outcome.failed_share > experiment.max_failed:
        raise FailedRows(
            f"complete, but {outcome.failed_share:.0%} of the rows of {outcome.failing} failed (limit "
            f"{experiment.max_failed:.0%}). See them: pairgen show {folder} --step {outcome.failing} --drops"
        )
