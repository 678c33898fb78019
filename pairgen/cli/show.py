"""`pairgen show RUN|STEP|SHARD`: read rows and drops in the terminal."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairgen.cli.options import AsJson

if TYPE_CHECKING:
    from pairgen.records import Judgment


def show(
    path: Annotated[Path, typer.Argument(help="A run folder, a step folder or one .arrow shard.")],
    drops: Annotated[bool, typer.Option("--drops", help="Show the rows that left, with reasons.")] = False,
    n: Annotated[int, typer.Option("-n", min=1, help="How many rows.")] = 5,
    row: Annotated[str | None, typer.Option("--row", help="Only rows whose id starts with this.")] = None,
    step: Annotated[str | None, typer.Option("--step", help="The step (default: the newest pairs).")] = None,
    json_: AsJson = False,
) -> None:
    """Print rows; a pair is shown as a word diff of chosen and rejected."""
    rows = (r for r in _rows(path, drops, step) if row is None or _id(r).startswith(row))
    if json_:
        for item in islice(rows, n):
            print(json.dumps(asdict(item)))
        return
    from rich.console import Console

    console, found = Console(highlight=False), list(islice(rows, n))
    for item in found:
        _print(console, item)
    if not found:
        console.print("no rows")


def _print(console: Any, row: Any) -> None:
    """One row: a title line, then a pair as a word diff, judgments a line each, the rest as it is."""
    from pairgen.records import Drop, Judged, Pair, Preference
    from pairgen.report.terminal import diff_table, plain

    console.rule(plain(f"{type(row).__name__} {_id(row)}"), align="left")
    if isinstance(row, Drop):
        console.print(plain(f"{row.reason} in {row.stage}{' (failed)' if row.failed else ''}: {row.detail}"))
        if row.raw is not None:
            console.print(plain(row.raw, "dim"))
        return
    pair = row.pair if isinstance(row, Judged) else row
    if isinstance(pair, Pair):
        console.print(plain(pair.instruction.text, "bold"))
        if pair.modified:
            console.print(plain(f"rejected answers: {pair.modified}", "dim"))
        console.print(diff_table(pair.chosen, pair.rejected))
    elif isinstance(row, Preference):
        console.print(plain("\n".join(f"{m.role}: {m.content}" for m in row.prompt), "dim"))
        console.print(diff_table(row.chosen[-1].content, row.rejected[-1].content, right_title=row.reason))
    else:
        console.print(plain(json.dumps(asdict(row), ensure_ascii=False, indent=1)))
    for judgment in row.judgments if isinstance(row, Judged) else ():
        console.print(plain(f"{judgment.order} #{judgment.sample} {_mark(judgment)}: {judgment.text}"))


def _mark(judgment: "Judgment") -> str:
    if judgment.kept:
        return "kept"
    if judgment.status != "ok":
        return judgment.status
    return "agrees" if judgment.agrees else "differs"


def _id(row: Any) -> str:
    return str(row.row_id if hasattr(row, "row_id") else row.id)


def _rows(path: Path, drops: bool, step: str | None) -> Iterator[Any]:
    from pairgen.errors import UsageError
    from pairgen.store import read_drops, read_manifest, read_rows

    if path.suffix == ".arrow":
        return _shard_rows(path)
    folder = path if read_manifest(path) is not None else step_of(path, step)
    if folder is None:
        raise UsageError(f"{path}: neither a run folder, a finished step folder nor an .arrow shard")
    return read_drops(folder) if drops else read_rows(folder)


def step_of(run: Path, step: str | None) -> Path | None:
    """The folder of a named step, or of the newest pairs."""
    from pairgen.errors import UsageError, nearest
    from pairgen.store import sealed_steps

    sealed = sorted(sealed_steps(run), key=lambda fm: str(fm[1].log.get("finished", "")))
    if not sealed:
        return None
    if step is None:
        pairs = [folder for folder, m in sealed if m.row_class == "Pair"]
        return pairs[-1] if pairs else sealed[-1][0]
    named = [folder for folder, m in sealed if step in (m.name, folder.name)]
    if not named:
        raise UsageError(f"{run}: no finished step {step!r}: {nearest(step, {m.name for _, m in sealed})}")
    return named[-1]


def _shard_rows(path: Path) -> Iterator[Any]:
    """The rows of one shard; where a manifest seals it, it must be as it was sealed."""
    from pairgen.errors import UsageError
    from pairgen.store import read_manifest, read_shard, verify_step

    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    step = path.parent.parent if path.parent.name == "drops" else path.parent
    if read_manifest(step) is not None:
        verify_step(step)
    return read_shard(path)
