"""`pairgen eval panel A B C`: finished evaluations of one suite put together, as a panel of judges."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairgen.cli.options import AsJson, command_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pairgen.evals.benchmark import Benchmark, EvalItem
    from pairgen.loop.assess import Marking

FOLDERS = "Folders of finished evaluations of one suite: an odd number of judges, each asked in both orders."


def panel(
    folders: Annotated[list[Path], typer.Argument(help=FOLDERS)],
    out: Annotated[Path | None, typer.Option("--out", help="Folder (default: runs/eval/SUITE-panel).")] = None,
    json_: AsJson = False,
) -> None:
    """Several judges as one: in each order the answer most of them name (PoLL). No model is asked."""
    from pairgen.cli.assess import Answering, settle
    from pairgen.loop.assessed import finished, suite_tree

    found = [finished(folder) for folder in folders]
    _check(folders, [benchmark for benchmark, _ in found])
    names = _names(folders)
    members = dict(zip(names, (rows for _, rows in found), strict=True))
    tree = {"eval": suite_tree(folders[0]), "who": {"panel": dict(zip(names, map(str, folders), strict=True))}}
    marking = _marking(members, [_identity(folder) for folder in folders])
    settle(tree, found[0][0], marking, out, Answering(command_line(), quiet=True, as_json=json_))


def _check(folders: "Sequence[Path]", suites: "Sequence[Benchmark[Any]]") -> None:
    """Raise UsageError where these are no judges of one suite of pairs."""
    from pairgen.errors import UsageError
    from pairgen.evals.judging import PairBenchmark

    if twice := next((folder for at, folder in enumerate(folders) if folder in folders[:at]), None):
        raise UsageError(f"{twice}: named twice; a judge sits on a panel once")
    if len(folders) == 1:
        raise UsageError("a panel of one is that judge; name three evaluations, or five")
    names = sorted({suite.use for suite in suites})
    if len(names) > 1:
        raise UsageError(f"a panel judges one suite; these are evaluations of {' and '.join(names)}")
    if not isinstance(suites[0], PairBenchmark):
        raise UsageError(f"a panel judges pairs, and {names[0]} is no suite of pairs")


def _names(folders: "Sequence[Path]") -> list[str]:
    """What members are called: who was evaluated; where two are called the same, by their folders."""
    from pairgen.loop.assessed import result_in

    who = [str(result_in(folder)["who"]) for folder in folders]
    for names in (who, [folder.resolve().name for folder in folders]):
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _identity(folder: Path) -> str:
    from pairgen.fingerprint import file_digest
    from pairgen.loop.assessed import result_in
    from pairgen.store.manifest import MANIFEST

    return file_digest(folder / result_in(folder)["step"] / MANIFEST)


def _marking(members: "Mapping[str, Sequence[EvalItem]]", digests: "Sequence[str]") -> "Marking":
    """The panel as what marks the items. Raises UsageError for judges that cannot be one."""
    from pairgen.evals.panel import panel_rows
    from pairgen.loop.assess import Marking

    rows = panel_rows(members)
    return Marking("panel", {"panel": list(digests)}, partial(_in_order, rows), stored=True, members=tuple(members))


def _in_order(rows: "Sequence[EvalItem]", items: "Sequence[Any]") -> "list[EvalItem]":
    from pairgen.errors import UsageError

    by_id = {row.id: row for row in rows}
    if lacking := next((item.id for item in items if item.id not in by_id), None):
        raise UsageError(f"item {lacking} of the suite was not judged by the panel; has its data changed since?")
    return [by_id[item.id] for item in items]
