"""The charts of the reports. Each is named, says in words what it shows, and never tells two lines apart
by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from pairgen.report.svg import INK, SERIES, draw
from pairgen.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = "osD^v*"
Z95 = 1.96
"""Standard errors to each side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. `errors` are half-widths of error bars; `reference` lines are dashed."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    errors: tuple[float, ...] = ()
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """One layer of stacked bars, a value for each place."""

    label: str
    values: tuple[float, ...]


def line_chart(
    name: str, lines: Sequence[Line], x_label: str, y_label: str, each_x: bool = True, shares: bool = False
) -> Markup:
    """Lines with error bars. `each_x` puts a tick at every x, as iterations want; `shares` are in [0, 1]."""

    def paint(axes: "Axes") -> None:
        for index, line in enumerate(lines):
            _paint_line(axes, line, index)
        if each_x:
            axes.set_xticks(sorted({x for line in lines for x in line.x}))
        if shares:
            axes.set_ylim(*_share_limits(axes.get_ylim()))
        _finish(axes, x_label, y_label, len(lines))

    said = "; ".join(f"{one_line(line.label, 60)}: {_points(line)}" for line in lines)
    return draw(name, f"{y_label} by {x_label}. {said}", paint)


def _paint_line(axes: "Axes", line: Line, index: int) -> None:
    axes.errorbar(
        line.x, line.y, yerr=line.errors or None, label=label_of(line.label), color=SERIES[index % len(SERIES)],
        linestyle="--" if line.reference else "-", linewidth=1.2 if line.reference else 1.9, capsize=2.5,
        elinewidth=1.0, marker=MARKS[index % len(MARKS)], markersize=4.5,
        markevery=1 + len(line.x) // 12,
    )


def _share_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """At least a fifth of the scale, so that noise looks like noise, and nothing above all of them."""
    low, high = limits
    middle, half = (low + high) / 2, max((high - low) / 2, 0.1)
    low, high = middle - half, middle + half
    shift = min(0.0, 1.01 - high)
    return max(-0.01, low + shift), min(1.01, high)


def bar_chart(name: str, places: Sequence[str], layers: Sequence[Bars], x_label: str, y_label: str) -> Markup:
    """Stacked bars, one for each place."""

    def paint(axes: "Axes") -> None:
        base = [0.0] * len(places)
        for index, layer in enumerate(layers):
            axes.bar(
                range(len(places)), layer.values, bottom=base, width=0.65, label=label_of(layer.label),
                color=SERIES[index % len(SERIES)], alpha=max(0.3, 1 - 0.35 * (index // len(SERIES))),
            )
            base = [low + value for low, value in zip(base, layer.values, strict=True)]
        axes.set_xticks(range(len(places)), [label_of(place) for place in places])
        _finish(axes, x_label, y_label, len(layers))

    said = "; ".join(
        f"{one_line(place, 60)}: " + ", ".join(f"{one_line(b.label, 40)} {b.values[i]:.4g}" for b in layers)
        for i, place in enumerate(places)
    )
    return draw(name, f"{y_label} by {x_label}. {said}", paint)


def _finish(axes: "Axes", x_label: str, y_label: str, series: int) -> None:
    axes.set_xlabel(label_of(x_label))
    axes.set_title(label_of(y_label), loc="left", fontsize=10)
    axes.grid(axis="x", visible=False)
    axes.tick_params(color=INK)
    if series > 1:
        axes.figure.legend(loc="outside upper left", ncols=2, fontsize=9)


def _points(line: Line, most: int = 20) -> str:
    """The values in words, thinned out for a long line."""
    step = max(1, -(-len(line.x) // most))
    return ", ".join(f"{x:g} → {y:.4g}" for x, y in list(zip(line.x, line.y, strict=True))[::step])


def label_of(text: str, limit: int = 44) -> str:
    """A label of one line; matplotlib would hide one that starts with an underscore."""
    return one_line(f" {text}" if text.startswith("_") else text, limit) if text.strip("_") else "·"
