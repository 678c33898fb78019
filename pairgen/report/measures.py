"""The measures of an audit as people read them: one place for units and digits, for terminal and page alike."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pairgen.audit.summary import Bias, DatasetAudit, Histogram, Rate, Stat
from pairgen.report.numbers import NONE, count, share

HUNDREDFOLD = frozenset({
    "jaccard", "lev_norm", "prefix_share", "suffix_share", "word_diff", "newline_share",
})
"""Shares that are shown times 100, as the paper shows Jaccard."""

FACTORS = frozenset({"len_ratio"})
"""How many times as long: binned by powers of two and drawn so."""
FIXED = dict.fromkeys(HUNDREDFOLD, 1) | {"len_ratio": 2}
"""Decimals of measures that are read across datasets and groups."""

LENGTH = ("chars", "length", "words")
"""What the bias of length may be called, the preferred name first."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A measure in strings: `43.1`, `[42.9, 43.4]`, `41.2`, `20.1 to 66.0`."""

    mean: str
    interval: str
    median: str
    spread: str


def titled(stat: Stat) -> str:
    """The label with its unit."""
    return f"{stat.label} ×100" if stat.name in HUNDREDFOLD and "100" not in stat.label else stat.label


def shown(stat: Stat) -> Shown:
    """All numbers of a measure with the digits that its size asks for; what is not known is a dash."""
    times = 100.0 if stat.name in HUNDREDFOLD else 1.0
    low, high, mean, median, p10, p90 = (
        times * value for value in (stat.low, stat.high, stat.mean, stat.median, stat.p10, stat.p90)
    )
    fine, coarse = _digits(mean, low, high), _digits(median, p10, p90)
    if stat.name in FIXED:
        fine = coarse = FIXED[stat.name]
    interval = NONE if math.isnan(low) else f"[{plain_number(low, fine)}, {plain_number(high, fine)}]"
    return Shown(
        plain_number(mean, fine), interval, plain_number(median, coarse),
        f"{plain_number(p10, coarse)} to {plain_number(p90, coarse)}",
    )


def plain_number(value: float, digits: int) -> str:
    """With separators and never in powers of ten; nan is a dash, and there is no minus zero."""
    if not math.isfinite(value):
        return NONE
    return f"{round(value, digits) + 0.0:,.{digits}f}"


def _digits(*values: float) -> int:
    """Decimals that leave the largest of these three figures or so."""
    size = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3


def percent(part: float, n: float) -> str:
    """Of nothing, nothing is known; what there is is never shown as nothing."""
    if not n:
        return NONE
    return "< 0.1 %" if 0 < part / n < 0.0005 else share(part / n)


def counted(part: int, n: int) -> str:
    """90 (3.0 %); none is 0, and of nothing nothing is known."""
    return f"{count(part)} ({percent(part, n)})" if n and part else "0" if n else NONE


def rated(rate: Rate) -> str:
    """90 (3.0 %)."""
    return counted(rate.count, rate.n)


def auc(bias: Bias) -> str:
    """0.65 [0.63, 0.66]."""
    return f"{plain_number(bias.auc, 2)} [{plain_number(bias.low, 2)}, {plain_number(bias.high, 2)}]"


def pairs_of(bias: Bias) -> int:
    """The pairs a bias was measured on."""
    return bias.chosen_more + bias.rejected_more + bias.equal


def named(stats: Iterable[Stat], name: str) -> Stat | None:
    """A measure by its name, None where no row has a value."""
    return next((stat for stat in stats if stat.name == name and stat.n), None)


def length_bias(audit: DatasetAudit) -> Bias | None:
    """The bias of length, None where it was not measured."""
    return next((b for name in LENGTH for b in audit.biases if b.name == name and pairs_of(b)), None)


def longer_wins(audit: DatasetAudit) -> str:
    """How often a judge is right that takes the longer answer; ties are decided by a coin."""
    bias = length_bias(audit)
    return percent(bias.chosen_more + bias.equal / 2, pairs_of(bias)) if bias else NONE


def style_wins(audit: DatasetAudit) -> str:
    """How often a classifier of style is right."""
    style = audit.predictability
    if style is None:
        return NONE
    return f"{share(style.accuracy)} [{plain_number(100 * style.low, 1)}, {plain_number(100 * style.high, 1)}]"


def names(parts: Iterable[Iterable[Stat | Rate | Bias | Histogram]]) -> list[str]:
    """The names in several lists, each once, in the order in which they first come."""
    return list(dict.fromkeys(one.name for part in parts for one in part))


def unlike(datasets: Sequence[DatasetAudit]) -> list[str]:
    """The datasets' names, numbered where two are the same."""
    seen: dict[str, int] = {}
    told = []
    for dataset in datasets:
        seen[dataset.name] = seen.get(dataset.name, 0) + 1
        told.append(dataset.name if seen[dataset.name] == 1 else f"{dataset.name} ({seen[dataset.name]})")
    return told
