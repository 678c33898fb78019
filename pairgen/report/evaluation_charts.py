"""The chart of what the order did: two points for each part of a suite, joined by a line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup

from pairgen.report.charts import label_of
from pairgen.report.evaluation_summary import Metrics
from pairgen.report.html import EMPTY
from pairgen.report.svg import GRID, INK, SERIES, SIZE, draw
from pairgen.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST, SECOND = "accuracy_chosen_first", "accuracy_rejected_first"
ROW = 0.24
"""Inches of a part's line."""


def order_chart(name: str, parts: Mapping[str, Metrics]) -> Markup:
    """Accuracy with the better answer first and second, for each part; nothing where no order was measured."""
    ends = {part: (mean(metrics, FIRST), mean(metrics, SECOND)) for part, metrics in parts.items()}
    drawn = {part: (a, b) for part, (a, b) in ends.items() if a is not None and b is not None}
    if not drawn:
        return EMPTY

    def paint(axes: "Axes") -> None:
        places = range(len(drawn))
        first, second = ([pair[end] for pair in drawn.values()] for end in (0, 1))
        axes.hlines(places, first, second, color=GRID, linewidth=2.5)
        axes.plot(first, places, "o", color=SERIES[0], markersize=6, label="better answer first")
        axes.plot(second, places, "s", color=SERIES[1], markersize=6, label="better answer second",
                  markerfacecolor="none", markeredgewidth=1.6)
        axes.set_yticks(places, [label_of(one_line(part, 26)) for part in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("accuracy")
        axes.grid(axis="y", visible=False)
        axes.tick_params(color=INK)
        axes.figure.legend(loc="outside upper left", ncols=2, fontsize=9)

    said = "; ".join(f"{one_line(part, 40)}: {a:.3f} first, {b:.3f} second" for part, (a, b) in drawn.items())
    size = (SIZE[0], max(1.6, 1.1 + ROW * len(drawn)))
    return draw(name, f"Accuracy by the place of the better answer. {said}", paint, size)


def mean(metrics: Metrics, name: str) -> float | None:
    """A metric's mean; None where it was not measured."""
    found = metrics.get(name)
    return found["mean"] if found else None
