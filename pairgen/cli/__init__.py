"""The command line: parse, call, print. One file a verb; heavy imports wait until a verb needs them."""

import sys

import typer

from pairgen.cli import doctor, plan, run, show, status, world
from pairgen.errors import PairgenError

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True,
    help="Synthetic preference data, and the loop that trains judges and policies on it.",
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("show")(show.show)
app.command("doctor")(doctor.doctor)
app.add_typer(world.app, name="world")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        from pairgen import __version__

        print(f"pairgen {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; an error a user can mend is one line and its own exit code."""
    try:
        app()
    except PairgenError as error:
        print(f"pairgen: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("pairgen: stopped: every answer received is kept; the same command goes on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
