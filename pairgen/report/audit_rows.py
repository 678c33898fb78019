"""The tables of an audit as rows of text, measures down and datasets across: terminal and page draw the same."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pairgen.audit.summary import Bias, DatasetAudit, Rate, Stat
from pairgen.report.measures import (
    LENGTH,
    auc,
    counted,
    length_bias,
    longer_wins,
    named,
    names,
    pairs_of,
    percent,
    rated,
    shown,
    style_wins,
    titled,
)
from pairgen.report.numbers import NONE, count

LANGUAGES = 8
"""Languages that are listed, most frequent first."""


WEIGHTS = 10
"""Features of the style classifier that are listed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell says, and a second line under it."""

    main: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A measure with a cell for each dataset."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A titled table; `lead` says how to read it. A terminal shows the first `few` rows."""

    title: str
    lead: str
    rows: tuple[Row, ...]
    few: int = 24


EMPTY = Cell(NONE)
Datasets = Sequence[DatasetAudit]


def blocks(datasets: Datasets) -> list[Block]:
    """Every table that has a row."""
    made = [
        Block("Contrast", "Mean [95 % interval]; below it median, and from the 10th to the 90th percentile.",
              _stats(datasets, lambda d: d.contrast)),
        Block("Scores", "Scores that the rows carry, summed up likewise.", _stats(datasets, lambda d: d.scores)),
        Block("Label without reading", "Right answers of two judges that do not read; a coin has 50 %.",
              _judges(datasets)),
        Block("Style", "AUC [95 % interval]: the chance that chosen has more of it; 0.50 says nothing about the label. "
              "Below it the pairs in which chosen has more, and in which rejected has more.", _biases(datasets), 8),
        Block("Weights", "What a classifier of style goes by: standardised weights, positive where chosen has more.",
              _weights(datasets), 6),
        Block("Hygiene", "Pairs, and their share.", _rates(datasets, lambda d: d.hygiene)),
        Block("Under the model", "Mean [95 % interval]; below it median, and from the 10th to the 90th percentile.",
              _stats(datasets, lambda d: d.model) + _rates(datasets, lambda d: d.model_rates)),
        Block("Languages", "Share of the pairs, as far as it was recognised.", _languages(datasets)),
        Block("Rows that are no pairs", "Rows by reason; they are in no other number.", _unread(datasets)),
    ]
    return [block for block in made if block.rows]


def stat_cell(stat: Stat | None, pairs: int) -> Cell:
    """Mean and interval over median and tenths; how many rows, where some have no value."""
    if stat is None or not stat.n:
        return EMPTY
    text = shown(stat)
    interval = "" if text.interval == NONE else f" {text.interval}"
    few = f"\nn {count(stat.n)}" if stat.n != pairs else ""
    return Cell(text.mean + interval, f"{text.median} · {text.spread}{few}")


GROUPS = 40
"""Groups of a dataset that are shown, largest first."""

GROUP_STATS = ("jaccard", "levenshtein", "len_ratio")


@dataclass(frozen=True, slots=True)
class Groups:
    """A dataset's groups, a row each; `left` are the groups beyond those shown."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int


def groups(dataset: DatasetAudit, most: int = GROUPS) -> Groups | None:
    """Pairs and mean contrast by group; None where the rows name no groups."""
    if len(dataset.groups) < 2:
        return None
    largest = sorted(dataset.groups, key=lambda group: -group.n)[:most]
    heads = [next((titled(s) for g in largest if (s := named(g.stats, name))), "") for name in GROUP_STATS]
    kept = [(name, head) for name, head in zip(GROUP_STATS, heads, strict=True) if head]
    rows = tuple(
        (group.name or NONE, count(group.n), *(stat_cell(named(group.stats, name), group.n).main for name, _ in kept))
        for group in largest
    )
    return Groups(("group", "pairs", *(head for _, head in kept)), rows, len(dataset.groups) - len(largest))


def _stats(datasets: Datasets, part: Callable[[DatasetAudit], Iterable[Stat]]) -> tuple[Row, ...]:
    found = [{stat.name: stat for stat in part(dataset)} for dataset in datasets]
    return tuple(
        Row(
            titled(next(stats[name] for stats in found if name in stats)),
            tuple(stat_cell(stats.get(name), d.pairs) for stats, d in zip(found, datasets, strict=True)),
        )
        for name in names(part(dataset) for dataset in datasets)
    )


def _judges(datasets: Datasets) -> tuple[Row, ...]:
    rows = []
    if any(length_bias(d) for d in datasets):
        rows.append(Row("takes the longer answer", tuple(Cell(longer_wins(d)) for d in datasets)))
    if any(d.predictability for d in datasets):
        rows.append(Row("looks at style alone", tuple(Cell(style_wins(d)) for d in datasets)))
    return tuple(rows)


def _biases(datasets: Datasets) -> tuple[Row, ...]:
    """Length first, then by how far any dataset's AUC is from chance."""
    found = [{bias.name: bias for bias in dataset.biases} for dataset in datasets]

    def away(name: str) -> tuple[bool, float]:
        return name not in LENGTH, -max(abs(b[name].auc - 0.5) for b in found if name in b)

    every = sorted(names(dataset.biases for dataset in datasets), key=away)
    return tuple(
        Row(
            next(biases[name].label for biases in found if name in biases),
            tuple(_bias_cell(biases.get(name)) for biases in found),
        )
        for name in every
    )


def _bias_cell(bias: Bias | None) -> Cell:
    if bias is None or not (n := pairs_of(bias)):
        return EMPTY
    return Cell(auc(bias), f"{percent(bias.chosen_more, n)} · {percent(bias.rejected_more, n)}")


def _weights(datasets: Datasets) -> tuple[Row, ...]:
    """The features that any dataset's classifier leans on most, strongest first."""
    found = [dict(d.predictability.weights) if d.predictability else {} for d in datasets]
    called = {bias.name: bias.label for dataset in datasets for bias in dataset.biases}
    every = {name for weights in found for name in weights}
    order = sorted(every, key=lambda name: -max(abs(weights.get(name, 0.0)) for weights in found))[:WEIGHTS]
    return tuple(
        Row(
            called.get(name, name.replace("_", " ")),
            tuple(Cell(f"{weights[name]:+.2f}") if name in weights else EMPTY for weights in found),
        )
        for name in order
    )


def _rates(datasets: Datasets, part: Callable[[DatasetAudit], Iterable[Rate]]) -> tuple[Row, ...]:
    found = [{rate.name: rate for rate in part(dataset)} for dataset in datasets]
    return tuple(
        Row(
            next(rates[name].label for rates in found if name in rates),
            tuple(Cell(rated(rates[name])) if name in rates else EMPTY for rates in found),
        )
        for name in names(part(dataset) for dataset in datasets)
    )


def _languages(datasets: Datasets) -> tuple[Row, ...]:
    total: dict[str, float] = {}
    for dataset in datasets:
        n = sum(dataset.languages.values())
        for name, rows in dataset.languages.items():
            total[name] = total.get(name, 0.0) + rows / n
    most = sorted(total, key=lambda name: -total[name])[:LANGUAGES]
    return tuple(Row(name, tuple(_language(dataset, name) for dataset in datasets)) for name in most)


def _language(dataset: DatasetAudit, name: str) -> Cell:
    n = sum(dataset.languages.values())
    return Cell(percent(dataset.languages.get(name, 0), n)) if n else EMPTY


def _unread(datasets: Datasets) -> tuple[Row, ...]:
    reasons = sorted({r for d in datasets for r in d.bad}, key=lambda r: -sum(d.bad.get(r, 0) for d in datasets))
    rows = [
        Row(reason, tuple(Cell(counted(d.bad.get(reason, 0), d.rows)) for d in datasets)) for reason in reasons
    ]
    return tuple(rows)
