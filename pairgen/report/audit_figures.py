"""The figures of an audit: which chart is drawn from which part of the summary, with n in every caption."""

from collections.abc import Mapping

from markupsafe import Markup

from pairgen.audit.summary import Histogram
from pairgen.report.audit_charts import NAME, beyond, intervals, overlaid, scattered, sides, thinned
from pairgen.report.audit_rows import Datasets
from pairgen.report.html import EMPTY, figure, figures
from pairgen.report.measures import HUNDREDFOLD, length_bias, names, pairs_of, unlike
from pairgen.report.numbers import count
from pairgen.report.text import one_line

LENGTHS = ("len_diff", "len_ratio", "chosen_chars", "rejected_chars")
"""Distributions that are shown where length is spoken of."""

FEATURES = 12
"""Features in the chart of style; the table has them all."""


def _histograms(datasets: Datasets, name: str) -> dict[str, Histogram]:
    found = [next((h for h in d.histograms if h.name == name and sum(h.counts) > 0), None) for d in datasets]
    return {who: h for who, h in zip(unlike(datasets), found, strict=True) if h}


def _drawn(datasets: Datasets, name: str) -> Markup:
    found = _histograms(datasets, name)
    if not found:
        return EMPTY
    label = next(iter(found.values())).label
    axis = f"{label} ×100" if name in HUNDREDFOLD and "100" not in label else label
    n = each({who: sum(drawn.counts) for who, drawn in found.items()})
    return figure(overlaid(f"h-{name}", found, axis), f"{label} ({n}).{beyond(found)}")


def distributions(datasets: Datasets) -> Markup:
    """Every measured distribution but those of length."""
    drawn = [_drawn(datasets, name) for name in names(d.histograms for d in datasets) if name not in LENGTHS]
    return figures(drawn) if drawn else EMPTY


def scatter(datasets: Datasets) -> Markup:
    """Jaccard against Levenshtein, all datasets in one chart."""
    found = {who: d.scatter for who, d in zip(unlike(datasets), datasets, strict=True) if d.scatter and d.scatter.x}
    if not found:
        return EMPTY
    found = thinned(found)
    n = each({who: len(points.x) for who, points in found.items()})
    return figures([figure(scattered("scatter", found), f"Sampled pairs ({n}). The vertical axis is logarithmic.")])


def length(datasets: Datasets) -> Markup:
    """Which side is longer, and by how much."""
    drawn = [chart for chart in [_longer(datasets), *(_drawn(datasets, name) for name in LENGTHS)] if chart]
    return figures(drawn) if drawn else EMPTY


def _longer(datasets: Datasets) -> Markup:
    """How often each side is the longer one."""
    found = {who: b for who, d in zip(unlike(datasets), datasets, strict=True) if (b := length_bias(d))}
    if not found:
        return EMPTY
    n = each({who: pairs_of(bias) for who, bias in found.items()})
    return figure(sides("longer", found), f"Which side is longer ({n}).")


def style(datasets: Datasets) -> Markup:
    """AUC of every feature of style, the most telling first."""
    found = {
        who: {bias.name: bias for bias in d.biases if pairs_of(bias)}
        for who, d in zip(unlike(datasets), datasets, strict=True) if d.biases
    }
    order = names(list(biases.values()) for biases in found.values())
    if not order:
        return EMPTY
    order.sort(key=lambda name: -max(abs(b[name].auc - 0.5) for b in found.values() if name in b))
    n = each({who: max(map(pairs_of, biases.values())) for who, biases in found.items()})
    chart = intervals("style", found, order[:FEATURES])
    most = f"The {FEATURES} features farthest from 0.50" if len(order) > FEATURES else "Features of style"
    return figures([figure(chart, f"{most} ({n}).")])


def each(sizes: Mapping[str, int]) -> str:
    """`river n = 3,000, stones n = 1,200`; of one dataset `n = 3,000`."""
    if len(sizes) == 1:
        return f"n = {count(next(iter(sizes.values())))}"
    return ", ".join(f"{one_line(who, NAME)} n = {count(n)}" for who, n in sizes.items())
