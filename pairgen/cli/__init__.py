"""The command line: parse, call, print. One file a verb; heavy imports wait until a verb needs them."""

import os
import sys
from typing import NoReturn

import typer

from pairgen.cli import audit, doctor, eval, export, plan, report, run, score, serve_check, show, status, train, world
from pairgen.errors import PairgenError

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True,
    help="Synthetic preference data, and the loop that trains judges and policies on it.",
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("train")(train.train)
app.command("score")(score.score)
app.command("status")(status.status)
app.command("show")(show.show)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("audit")(audit.audit)
app.command("doctor")(doctor.doctor)
app.command("serve-check")(serve_check.serve_check)
app.add_typer(eval.app, name="eval")
app.add_typer(world.app, name="world")

STOPPED = "stopped: every answer received is kept; the same command goes on"


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        from pairgen import __version__

        print(f"pairgen {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; an error a user can mend is one line and its own exit code."""
    _fill_streams()
    try:
        app()
    except PairgenError as error:
        _leave(str(error), error.exit_code)
    except KeyboardInterrupt:
        _leave(STOPPED, 130)
    except BrokenPipeError:  # whoever read our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(141)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _leave(f"{place}{error.strerror or error}; mend that, then run the same command", 74)


def _fill_streams() -> None:
    """A stream that was closed before us goes nowhere: no file of ours may get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _leave(message: str, code: int) -> NoReturn:
    """One line on stderr. After a stop, nothing waits for threads of a model that is still loading, nor for
    those of other processes of one training."""
    print(f"pairgen: {message}", file=sys.stderr, flush=True)
    if code == 130 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
