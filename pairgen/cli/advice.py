"""An advice on the objective, as text."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairgen.train.advise import Advice


def print_advice(found: "Advice", *, as_json: bool) -> None:
    """The objective first, then why, what was measured, and how far to trust it."""
    if as_json:
        print(json.dumps(found.to_json()))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in asdict(found.numbers).items():
        table.add_row(name.replace("_", " "), _number(value))
    console: Any = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(f"objective: {found.recommendation}", style="bold")
    console.print(found.reason, markup=False)
    dropped = f", {sum(found.drops.values()):,} could not be" if found.drops else ""
    console.print(f"\n{found.rows:,} of {found.of:,} pairs were measured by {found.basis}, each beside "
                  f"{found.samples} own answers{dropped}:")
    console.print(table)
    for name, count in asdict(found.duplicates).items():
        if count:
            console.print(f"duplicates, {name.replace('_', ' ')}: {count:,}")
    for caveat in found.caveats:
        console.print(f"note: {caveat}", markup=False)


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['mean']:.3g} ± {value['se']:.1g}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
