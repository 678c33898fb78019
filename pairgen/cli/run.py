"""`pairgen run`: do everything a pipeline says that is not done yet."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import typer
import yaml

from pairgen.cli.options import AsJson, Iters, PipelineName, RunDir, Sets, run_folder


def run(
    pipeline: PipelineName,
    set_: Sets = [],  # noqa: B006 (typer reads the default, nobody appends to it)
    iters: Iters = None,
    run_dir: RunDir = None,
    json_: AsJson = False,
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, only the result."),
) -> None:
    """Run a pipeline. The same command goes on after a stop; nothing answered is asked again."""
    from pairgen.cli.display import display
    from pairgen.errors import FailedRows
    from pairgen.loop.config import experiment_tree, parse_experiment
    from pairgen.loop.session import Session

    tree = experiment_tree(pipeline, set_, iters)
    experiment = parse_experiment(tree)
    folder = run_folder(run_dir, experiment.name)
    with Session(folder, experiment, command=_command()) as session, display(quiet or json_) as listen:
        session.record_config(yaml.safe_dump(tree, sort_keys=False))
        session.listen(listen)
        _on_signals(session)
        outcome = asyncio.run(session.run(listen.iteration))
    report = session.write_report(outcome)
    _print_result(session, outcome, report, as_json=json_)
    if outcome.failed_share > experiment.max_failed:
        raise FailedRows(
            f"complete, but {outcome.failed_share:.0%} of the rows of one step failed (limit {experiment.max_failed:.0%}); "
            f"pairgen status {folder} says which"
        )


def _command() -> str:
    return " ".join(["pairgen", *sys.argv[1:]])


def _on_signals(session: Any) -> None:
    """First Ctrl-C or SIGTERM: stop sending and leave in order. Second: leave now."""

    def handle(number: int, frame: object) -> None:
        if session.stop():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def _print_result(session: Any, outcome: Any, report: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"run": str(session.folder), "report": str(report), "stopped": outcome.stopped,
                          "alarms": outcome.alarms, "iterations": outcome.iterations}))
        return
    from rich.console import Console

    from pairgen.report.terminal import headline_text, iteration_table

    console, summary = Console(), session.summary(outcome)
    if outcome.iterations:
        console.print(iteration_table(summary))
        console.print(headline_text(summary))
    print(f"report: {report}")
