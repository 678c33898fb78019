"""What each iteration of the loop made of its pairs."""

from collections.abc import Callable, Mapping

from markupsafe import Markup

from pairgen.report.html import EMPTY, table
from pairgen.report.numbers import NONE, count, number, share
from pairgen.report.summary import LoopRecord, RunSummary

COLUMNS: dict[str, Callable[[LoopRecord], str]] = {
    "readable": lambda loop: share(loop.parse_rate),
    "agree, chosen first": lambda loop: share(loop.agreement.get("chosen_first")),
    "agree, rejected first": lambda loop: share(loop.agreement.get("rejected_first")),
    "pairs all right": lambda loop: share(loop.all_right),
    "pairs none right": lambda loop: share(loop.none_right),
    "classes before": lambda loop: _classes(loop.classes_before),
    "classes after": lambda loop: _classes(loop.classes_after),
    "rows kept": lambda loop: count(loop.rows_kept),
    "judgment tokens": lambda loop: number(loop.judgment_tokens, 1),
    "length gap": lambda loop: number(loop.length_gap, 1),
}


def inside_table(run: RunSummary) -> Markup:
    """A row an iteration; nothing when no iteration has a record."""
    rows = [
        [i.iteration, *(column(i.loop) for column in COLUMNS.values())]
        for i in run.iterations if i.loop is not None
    ]
    return table(["iteration", *COLUMNS], rows) if rows else EMPTY


def _classes(classes: Mapping[str, int]) -> str:
    return " / ".join(f"{name} {count(n)}" for name, n in classes.items()) or NONE
