"""`pairgen run`: do everything a pipeline says that is not done yet."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pairgen.cli.options import AsJson, Iters, PipelineName, Prices, RunDir, Sets, run_folder, with_prices

if TYPE_CHECKING:
    from pairgen.cli.display import Display
    from pairgen.loop.config import Experiment
    from pairgen.loop.run import Outcome
    from pairgen.loop.session import Session


def run(
    pipeline: PipelineName,
    set_: Sets = [],  # noqa: B006 (typer reads the default, nobody appends to it)
    iters: Iters = None,
    run_dir: RunDir = None,
    json_: AsJson = False,
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, only the result."),
    budget: float | None = typer.Option(
        None, "--budget", min=0.0, help="Stop before this run has cost more, in dollars, over all its launches."
    ),
    prices: Prices = None,
    dry_run: bool = typer.Option(False, "--dry-run", help="Show the plan and what it would cost; ask nothing."),
) -> None:
    """Run a pipeline. The same command goes on after a stop; nothing answered is asked again."""
    import yaml

    from pairgen.loop.config import experiment_tree, parse_experiment
    from pairgen.loop.session import Session

    tree = with_prices(experiment_tree(pipeline, set_, iters), prices)
    experiment = parse_experiment(tree)
    if dry_run:
        from pairgen.cli.plan import show_plan

        show_plan(experiment, run_folder(run_dir, experiment.name), json_)
        return
    folder, config = run_folder(run_dir, experiment.name), yaml.safe_dump(tree, sort_keys=False)
    with Session(folder, experiment, config=config, command=_command(), budget=budget) as session:
        outcome = _work(session, quiet=quiet or json_)
        report = session.write_report(outcome)
    _print_result(session, outcome, report, as_json=json_)
    _complain(experiment, folder, outcome)


def _command() -> str:
    return " ".join(["pairgen", *sys.argv[1:]])


def _work(session: "Session", quiet: bool) -> "Outcome":
    """Run with the terminal to ourselves."""
    import asyncio

    from pairgen.cli.display import display
    from pairgen.cli.terminal import only_ours
    from pairgen.loop.plan import in_short, plan_lines

    with (
        only_ours(session.folder / "output.log") as terminal,
        display(terminal, list(session.plan.steps), quiet) as shown,
        _Signals(session, shown),
    ):
        if not quiet:
            lines = plan_lines(session.experiment, session.plan, session.folder)
            shown.say(f"{session.folder}: {in_short(lines)}")
        session.listen(shown)
        return asyncio.run(session.run(shown.iteration))


class _Signals:
    """First Ctrl-C or SIGTERM: keep what is on its way and leave in order. Second: leave now."""

    def __init__(self, session: "Session", shown: "Display") -> None:
        self._session, self._shown = session, shown
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        from pairgen.cli import STOPPED
        from pairgen.errors import Stopped
        from pairgen.pipeline.run import Interrupted

        why = Interrupted(STOPPED) if number == signal.SIGINT else Stopped(STOPPED)
        if not self._session.stop(why):
            os._exit(why.exit_code)
        self._shown.stopping()


def _print_result(session: "Session", outcome: "Outcome", report: Path, *, as_json: bool) -> None:
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


def _complain(experiment: "Experiment", folder: Path, outcome: "Outcome") -> None:
    from pairgen.errors import FailedRows

    if outcome.failed_share > experiment.max_failed:
        raise FailedRows(
            f"complete, but {outcome.failed_share:.0%} of the rows of {outcome.failing} failed (limit "
            f"{experiment.max_failed:.0%}). See them: pairgen show {folder} --step {outcome.failing} --drops"
        )
