"""The charts of an audit: distributions of several datasets over each other, points, and intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from pairgen.audit.summary import Bias, Histogram, Scatter
from pairgen.report.charts import MARKS, label_of
from pairgen.report.measures import FACTORS, HUNDREDFOLD, auc, plain_number
from pairgen.report.svg import INK, SERIES, SIZE, draw
from pairgen.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = ("-", "--", ":", "-.")
NAME = 26
"""Characters of a dataset's name in a chart: two fit side by side."""

SIDES = ("chosen longer", "equal", "rejected longer")
POINTS = 4000
"""Points of one scatter chart, all datasets together: about 300 kB of page."""


def overlaid(name: str, drawn: Mapping[str, Histogram], x_label: str) -> Markup:
    """The share of each dataset's rows by bin, over each other. What lies beyond the axis is in `beyond`."""
    same = common(list(drawn.values()))
    shares = {
        who: tuple(100 * count / (sum(h.counts) or 1) for count in h.counts)
        for who, h in zip(drawn, same, strict=True)
    }
    edges = same[0].edges
    geometric = same[0].name in FACTORS

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter

        for at, (who, heights) in enumerate(shares.items()):
            colour = SERIES[at % len(SERIES)]
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.14, linewidth=0)
            axes.stairs(
                heights, edges, color=colour, label=label_of(who, NAME), linewidth=1.6, linestyle=LINES[at % len(LINES)]
            )
        if geometric:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ratio(value)))
        elif edges[-1] - edges[0] > 100:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value, 0)))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        _finish(axes, x_label, "share of the pairs, %", len(shares))

    said = "; ".join(f"{one_line(who, 60)}: {_quarters(edges, heights)}" for who, heights in shares.items())
    return draw(name, f"Share of the pairs by {x_label}. {said}", paint)


def common(drawn: Sequence[Histogram]) -> list[Histogram]:
    """The same bins for all, without what was gathered from beyond the edges.

    Edges that differ are multiples of a power of two (`audit.stats.histogram`), so the widest bins are unions
    of the others'.
    """
    inside = [_inside(one) for one in drawn]
    if len({one.edges for one in inside}) == 1:
        return inside
    width = max(one.edges[1] - one.edges[0] for one in inside)
    first = math.floor(min(one.edges[0] for one in inside) / width)
    last = math.ceil(max(one.edges[-1] for one in inside) / width)
    edges = tuple(at * width for at in range(first, last + 1))
    return [Histogram(one.name, one.label, edges, _counts(one, first, width, last - first)) for one in inside]


def _inside(one: Histogram) -> Histogram:
    counts = list(one.counts)
    counts[0] -= one.below
    counts[-1] -= one.above
    scaled = 100.0 if one.name in HUNDREDFOLD else 1.0
    return Histogram(one.name, one.label, tuple(scaled * edge for edge in one.edges), tuple(counts))


def _counts(one: Histogram, first: int, width: float, bins: int) -> tuple[int, ...]:
    counts = [0] * bins
    for edge, count in zip(one.edges[:-1], one.counts, strict=True):
        counts[math.floor(edge / width + 1e-9) - first] += count
    return tuple(counts)


def beyond(drawn: Mapping[str, Histogram]) -> str:
    """How many rows the axis leaves out, in words; empty where it leaves out none."""
    left = [
        f"{one_line(who, NAME)} {100 * (h.below + h.above) / sum(h.counts):.1f} %"
        for who, h in drawn.items() if h.below + h.above
    ]
    return f" Beyond the axis: {', '.join(left)}." if left else ""


def _quarters(edges: Sequence[float], heights: Sequence[float], parts: int = 8) -> str:
    """A distribution in words: its bins in eight parts."""
    step = max(1, -(-len(heights) // parts))
    spans = [(at, min(at + step, len(heights))) for at in range(0, len(heights), step)]
    return ", ".join(f"{edges[a]:.4g} to {edges[b]:.4g} {sum(heights[a:b]):.0f} %" for a, b in spans)


def ratio(value: float) -> str:
    """A power of two as a factor: 0.25 -> ¼×."""
    return {0.125: "⅛×", 0.25: "¼×", 0.5: "½×"}.get(value, f"{value:g}×")


def scattered(name: str, drawn: Mapping[str, Scatter], scale: float = 100.0) -> Markup:
    """Points of several datasets over each other. x is a share, shown times 100; y can span magnitudes."""
    first = next(iter(drawn.values()))
    lowest = min(min(points.y) for points in drawn.values())

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter

        for at, (who, points) in enumerate(drawn.items()):
            axes.plot(
                [scale * x for x in points.x], points.y, linestyle="none", label=label_of(who, NAME),
                marker=MARKS[at % len(MARKS)], markersize=3, markeredgewidth=0, alpha=0.45,
                color=SERIES[at % len(SERIES)],
            )
        if lowest < 1:
            axes.set_yscale("symlog", linthresh=10)
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
        axes.set_xlim(0, scale)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value, 0)))
        _finish(axes, f"{first.x_label} ×{scale:g}", first.y_label, len(drawn))

    said = "; ".join(
        f"{one_line(who, 60)}: {len(p.x)} points around {scale * _middle(p.x):.0f}, {_middle(p.y):.0f}"
        for who, p in drawn.items()
    )
    return draw(name, f"{first.y_label} by {first.x_label} ×{scale:g}. {said}", paint, (5.6, 4.0))


def thinned(drawn: Mapping[str, Scatter]) -> dict[str, Scatter]:
    """As many points of each as a page has room for, evenly taken."""
    each = max(1, POINTS // max(1, len(drawn)))
    steps = {who: max(1, -(-len(points.x) // each)) for who, points in drawn.items()}
    return {
        who: replace(points, x=points.x[:: steps[who]], y=points.y[:: steps[who]]) for who, points in drawn.items()
    }


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else math.nan


def intervals(name: str, drawn: Mapping[str, Mapping[str, Bias]], order: Sequence[str]) -> Markup:
    """AUC of each feature with its interval, features down, datasets in their own marks."""
    titles = {one.name: one.label for found in drawn.values() for one in found.values()}
    gap = 0.7 / max(1, len(drawn))

    def paint(axes: "Axes") -> None:
        axes.axvline(0.5, color=INK, linewidth=0.8)
        for at, (who, found) in enumerate(drawn.items()):
            places = [(place, found[feature]) for place, feature in enumerate(order) if feature in found]
            axes.errorbar(
                [bias.auc for _, bias in places], [place + gap * (at - (len(drawn) - 1) / 2) for place, _ in places],
                xerr=[[max(0.0, b.auc - b.low) for _, b in places], [max(0.0, b.high - b.auc) for _, b in places]],
                linestyle="none", marker=MARKS[at % len(MARKS)], markersize=4.5, elinewidth=1.2, capsize=2,
                color=SERIES[at % len(SERIES)], label=label_of(who, NAME),
            )
        axes.set_yticks(range(len(order)), [label_of(titles[feature]) for feature in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        low, high = axes.get_xlim()
        reach = max(0.1, 0.5 - low, high - 0.5)
        axes.set_xlim(0.5 - reach, 0.5 + reach)
        _finish(axes, "AUC: chance that chosen has more of it", "", len(drawn))
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)

    said = "; ".join(
        f"{one_line(who, 60)}: " + ", ".join(f"{one_line(f.label, 40)} {auc(f)}" for f in found.values())
        for who, found in drawn.items()
    )
    height = 1.3 + 0.2 * len(order) * max(1.3, 0.8 * len(drawn))
    return draw(name, f"AUC of style features. {said}", paint, (SIZE[0], height))


def sides(name: str, drawn: Mapping[str, Bias]) -> Markup:
    """Which side has more, as shares of the pairs: a bar for each dataset, chosen on the left."""
    shares = {who: [100 * part / sum(_parts(bias)) for part in _parts(bias)] for who, bias in drawn.items()}

    def paint(axes: "Axes") -> None:
        left = [0.0] * len(shares)
        for at, (side, colour) in enumerate(zip(SIDES, (SERIES[0], SERIES[4], SERIES[1]), strict=True)):
            widths = [parts[at] for parts in shares.values()]
            axes.barh(range(len(shares)), widths, left=left, height=0.6, label=side, color=colour)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axes.axvline(50, color=INK, linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(shares)), [label_of(who, NAME) for who in shares])
        axes.set_ylim(len(shares) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("share of the pairs, %")
        axes.figure.legend(loc="outside upper left", ncols=3, fontsize=9)

    said = "; ".join(
        f"{one_line(who, 60)}: " + ", ".join(f"{side} {part:.1f} %" for side, part in zip(SIDES, parts, strict=True))
        for who, parts in shares.items()
    )
    return draw(name, f"Which side is longer. {said}", paint, (SIZE[0], 1.3 + 0.4 * len(shares)))


def _parts(bias: Bias) -> tuple[int, int, int]:
    return bias.chosen_more, bias.equal, bias.rejected_more


def _finish(axes: "Axes", x_label: str, y_label: str, series: int) -> None:
    axes.set_xlabel(label_of(x_label))
    if y_label:
        axes.set_ylabel(label_of(y_label))
    axes.tick_params(color=INK)
    if series > 1:
        axes.figure.legend(loc="outside upper left", ncols=2, fontsize=9)
