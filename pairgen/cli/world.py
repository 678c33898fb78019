"""`pairgen world`: build the small model and the instructions that ship with pairgen."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The embedded world: build its seed model and its instructions.", no_args_is_help=True)


@app.command("seed")
def seed(
    out: Annotated[Path, typer.Argument(help="Folder to write the model to.")],
    lineage: Annotated[int, typer.Option(help="Which of the independent pretraining lineages.")] = 0,
) -> None:
    """Pretrain a seed model (some minutes on two cores)."""
    from pairgen.world.pretrain import build_seed

    build_seed(out, lineage)


@app.command("instructions")
def instructions(out: Annotated[Path, typer.Argument(help="The .jsonl file to write.")]) -> None:
    """Write the pool of instructions: plain text, no labels."""
    from pairgen.world.make_data import write_pool

    write_pool(out)
