"""`pairgen report RUN`: write the report of a run again, from its sealed steps."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pairgen.cli.options import AsJson


def report(run: Annotated[Path, typer.Argument(help="The run folder.")], json_: AsJson = False) -> None:
    """Write report.html and iterations.jsonl of a run again; whatever is sealed is in it. Asks nothing."""
    import yaml

    from pairgen.errors import UsageError
    from pairgen.loop.config import parse_experiment
    from pairgen.loop.history import History
    from pairgen.loop.session import CONFIG, write_report
    from pairgen.loop.steps import program
    from pairgen.loop.summary import summarise

    path = run / CONFIG
    if not path.is_file():
        raise UsageError(f"{run}: not a run folder (no {CONFIG} in it)")
    first, _, config = path.read_text(encoding="utf-8").partition("\n")
    tree = yaml.safe_load(config)
    if "eval" in tree:
        from pairgen.loop.assessed import rewrite

        again = rewrite(run)
        print(json.dumps({"report": str(again)}) if json_ else f"report: {again}")
        return
    experiment = parse_experiment(tree)
    plan, command = program(experiment), first.removeprefix("# ")
    if experiment.compare is not None:
        from pairgen.loop.study import study

        compared = study(experiment, plan, run, command=command, config=config)
        written, found = write_report(run, compared), {"arms": len(compared.arms)}
    else:
        records = History(experiment, plan, run).complete()
        written = write_report(run, summarise(experiment, plan, run, records, command=command, config=config))
        found = {"iterations": len(records)}
    print(json.dumps({"report": str(written), **found}) if json_ else f"report: {written}")
