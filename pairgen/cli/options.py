"""Options several verbs share."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

PIPELINE = "A shipped pipeline (self-taught, ...) or the path of a .yaml file."
SET = "Override one value: engines.policy.model=..., loop.stages.judged.n=15."
PipelineName = Annotated[str, typer.Argument(help=PIPELINE)]
Sets = Annotated[list[str] | None, typer.Option("--set", help=SET)]
Iters = Annotated[int | None, typer.Option("--iters", min=1, help="Iterations of the loop.")]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Folder of the run (default: runs/<pipeline>).")
]
Prices = Annotated[
    Path | None, typer.Option("--prices", help="Your price table, before the one that ships (data/prices.yaml).")
]
Budget = Annotated[float | None, typer.Option(
    "--budget", min=0.0, help="Stop before this run has cost more, in dollars, over all its launches."
)]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]


def command_line() -> str:
    """The command as it was typed."""
    return " ".join(["pairgen", *sys.argv[1:]])


def columns_of(given: str | None) -> dict[str, str]:
    """`prompt=question,chosen=better` as a mapping. Raises UsageError for anything else."""
    from pairgen.errors import UsageError

    pairs = [item.partition("=") for item in given.split(",")] if given else []
    for part, equals, column in pairs:
        if not (part and equals and column):
            raise UsageError(f"--columns {given!r}: write it as prompt=question,chosen=better")
    return {part.strip(): column.strip() for part, _, column in pairs}


def model_at(name: str) -> Path:
    """A model's folder. Raises UsageError when there is no model in it."""
    from pairgen.engine import EngineConfig
    from pairgen.errors import UsageError
    from pairgen.models import model_folder

    folder = model_folder(EngineConfig(use="train", model=name))
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: no model here (no config.json)")
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise UsageError(f"{folder}: no tokenizer here (no tokenizer.json); put the model's own beside it")
    return folder


def with_prices(tree: dict[str, Any], prices: Path | None) -> dict[str, Any]:
    """The pipeline with a price table for every API engine."""
    for engine in (tree.get("engines") or {}).values() if prices is not None else ():
        if isinstance(engine, dict) and engine.get("use") == "openai":
            engine.setdefault("prices", str(prices))
    return tree


def run_folder(given: Path | None, name: str) -> Path:
    """The run folder: the one given, or runs/<pipeline>."""
    return given if given is not None else Path("runs") / name
