"""Options several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

PIPELINE = "A shipped pipeline (self-taught, ...) or the path of a .yaml file."
SET = "Override one value: engines.policy.model=..., loop.stages.judged.n=15."
PipelineName = Annotated[str, typer.Argument(help=PIPELINE)]
Sets = Annotated[list[str], typer.Option("--set", help=SET)]
Iters = Annotated[int | None, typer.Option("--iters", min=1, help="Iterations of the loop.")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Folder of the run (default: runs/<pipeline>).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]


def run_folder(given: Path | None, name: str) -> Path:
    """The run folder: the one given, or runs/<pipeline>."""
    return given if given is not None else Path("runs") / name
