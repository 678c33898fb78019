"""How a finding is worded: numbers as the sentences of the verdict say them, filters with what they keep."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pairgen.audit.limits import KEPT, Limit
from pairgen.audit.stats import Interval
from pairgen.audit.summary import Bias, DatasetAudit, Finding, Histogram, Level, Stat


@dataclass(frozen=True, slots=True)
class Weighed:
    """A finding and the share of the pairs, or the distance from chance, that puts it before others."""

    weight: float
    finding: Finding


def filtered(
    audit: DatasetAudit, level: Level, title: str, text: str, column: str, low: float, high: float | None
) -> Finding:
    """A finding that advises to keep the pairs within bounds, with the share that would be left; of too few, not."""
    bounds = [f"{column}>{low:g}"] + ([] if high is None else [f"{column}<{high:g}"])
    drawn = next((h for h in audit.histograms if h.name == column), None)
    kept = None if drawn is None else between(drawn, low, math.inf if high is None else high)
    expression = " and ".join(bounds)
    if kept is None:
        return Finding(level, title, text, expression)
    if kept > 0.995:
        return Finding(level, title, f"{text} No filter mends that: {expression} is true of all.")
    if kept < KEPT:
        return Finding(level, title, f"{text} No filter mends that: {expression} is true of {100 * kept:.0f} %.")
    return Finding(level, title, f"{text} The filter keeps about {100 * kept:.0f} % of the pairs.", expression)


def between(drawn: Histogram, low: float, high: float) -> float | None:
    """The share of a histogram between two values, taking each bin as even."""
    total = sum(drawn.counts)
    inside = sum(
        inside_bin * max(0.0, min(b, high) - max(a, low)) / (b - a)
        for a, b, inside_bin in zip(drawn.edges[:-1], drawn.edges[1:], drawn.counts, strict=True)
    )
    return inside / total if total else None


def level_of(value: float, limit: Limit) -> Level:
    """How serious a value is that is worth a note at least."""
    return "bad" if value > limit.bad else "warn" if value > limit.warn else "note"


def named(stats: Iterable[Stat], name: str) -> Stat | None:
    """A measure by its name, None where no row has a value."""
    return next((stat for stat in stats if stat.name == name and stat.n), None)


def pairs_of(bias: Bias) -> int:
    """The pairs a bias was measured on."""
    return bias.chosen_more + bias.rejected_more + bias.equal


def count(n: int) -> str:
    """1234567 -> 1,234,567."""
    return f"{n:,}"


def of(part: int, n: int, what: str) -> str:
    """12 of 400 pairs (3.0 %)."""
    return f"{count(part)} of {count(n)} {what} ({percent(part / n)})"


def percent(share: float) -> str:
    """0.716 -> 71.6 %; what is there is never shown as 0.0 %."""
    return "under 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def hundred(share: float) -> str:
    """0.4311 -> 43.1, as the paper writes Jaccard."""
    return f"{100 * share:.1f}"


def spread(interval: Interval) -> str:
    """An interval of a share in percent."""
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
