"""`pairgen export RUN|STEP`: a finished step as a dataset to hand on, with its card."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pairgen.cli.options import AsJson


def export(
    path: Annotated[Path, typer.Argument(help="A run folder or a step folder.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    to: Annotated[str, typer.Option("--to", help="trl (conversational Parquet), jsonl or parquet.")] = "trl",
    step: Annotated[str | None, typer.Option("--step", help="The step (default: the newest pairs).")] = None,
    license_: Annotated[str, typer.Option("--license", help="The licence, as the hub names it.")] = "unknown",
    title: Annotated[str | None, typer.Option("--title", help="The dataset's name in its card.")] = None,
    heldout: Annotated[
        float, typer.Option("--heldout", min=0.0, max=0.9, help="Share of the prompts that become the split test.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Which prompts are held out.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", help="Also commit it to this dataset repository, owner/name.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create the repository as a private one.")] = False,
    json_: AsJson = False,
) -> None:
    """Write rows and a dataset card: models, sampling, prompts, what was left out, contrast."""
    from pairgen.cli.show import step_of
    from pairgen.errors import UsageError, nearest
    from pairgen.export import FORMATS, Wanted, export_step
    from pairgen.store import read_manifest

    if to not in FORMATS:
        raise UsageError(f"--to {to}: {nearest(to, FORMATS)}")
    folder = path if read_manifest(path) is not None else step_of(path, step)
    if folder is None:
        raise UsageError(f"{path}: neither a run folder with finished steps nor a finished step folder")
    done = export_step(folder, Wanted(to, out, license_, title, overwrite, heldout, seed))
    url = None
    if push_to_hub is not None:
        from pairgen.export.hub import push

        url = push(done.folder, push_to_hub, private=private)
    if json_:
        print(json.dumps({
            "out": str(done.folder), "step": done.step, "rows": done.rows, "heldout": done.heldout,
            "files": done.files, "url": url,
        }))
        return
    split = f", {done.heldout:,} of them held out" if done.heldout else ""
    print(f"{done.step}: {done.rows:,} rows{split} as {to} in {done.folder} ({', '.join(done.files)})")
    if url is not None:
        print(f"pushed: {url}")
