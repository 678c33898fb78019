"""What an audit found, as plain values: the one thing that terminal, JSON and HTML are drawn from."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Published:
    """Mean contrast of a published dataset: Jaccard of tokens in [0, 1], Levenshtein in characters."""

    name: str
    jaccard: float
    levenshtein: float


TABLE_1 = (
    Published("CLAIR", 0.4311, 1108),
    Published("on-policy judge", 0.3906, 1258),
    Published("stronger preferred", 0.2435, 1607),
    Published("off-policy judge", 0.1805, 1203),
)
"""Table 1 of the CLAIR and APO paper (D'Oosterlinck et al., TACL), for scale. Its tokenizer, casing and code
were never published, so its Jaccard means are not to be matched closely."""


@dataclass(frozen=True, slots=True)
class Stat:
    """A measure over `n` rows: mean with its 95 % bootstrap interval, median and the outer tenths.

    `missing` rows had no value. `label` is what a table calls it, `name` what a filter does.
    """

    name: str
    label: str
    mean: float
    low: float
    high: float
    median: float
    p10: float
    p90: float
    n: int
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something is so: `count` of `n` rows, with a 95 % Wilson interval; `rows` names some."""

    name: str
    label: str
    count: int
    n: int
    low: float
    high: float
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bias:
    """One feature on both sides of the pairs: how often chosen has more of it, how often rejected has.

    `auc` is the chance that a chosen text has more of it than a rejected one (ties half), with a 95 %
    bootstrap interval over pairs: .5 says nothing about the label.
    """

    name: str
    label: str
    chosen_more: int
    rejected_more: int
    equal: int
    auc: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Predictability:
    """How well style alone tells chosen from rejected: held-out accuracy and AUC of a logistic regression.

    `weights` are its standardised coefficients, largest first. `n` pairs, `folds` of them by prompt.
    """

    accuracy: float
    low: float
    high: float
    auc: float
    n: int
    folds: int
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between neighbouring `edges` (one more edge than counts).

    Of the first bin `below` and of the last `above` lie beyond the edge and are gathered there.
    """

    name: str
    label: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True)
class Scatter:
    """A sample of rows as points."""

    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A row to look at, and why it is shown (`most contrastive`, `least contrastive`, a hygiene rate's name)."""

    why: str
    row: int
    group: str
    prompt: str
    chosen: str
    rejected: str
    jaccard: float
    levenshtein: int
    length_ratio: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One plain sentence of the verdict. `filter` is an expression for `--filter` that would mend it."""

    level: Level
    title: str
    text: str
    filter: str | None = None


NO_PREFERENCE = frozenset({"tie", "unpaired", "no partner", "too few answers"})
"""Reasons of rows that are well formed and prefer nothing; all other reasons are damage."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read as a pair, and why."""

    row: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The contrast measures of the rows of one source or category."""

    name: str
    n: int
    stats: tuple[Stat, ...]


@dataclass(frozen=True, slots=True)
class DatasetAudit:
    """Everything about one dataset.

    `format` says what it was recognised as. `bad` counts unreadable rows by reason, `bad_rows` are the
    first of each. `near` says what the near-duplicate search covered. `model` are measures under a given
    model, `advice` the objective they suggest.
    """

    name: str
    path: str
    format: str
    rows: int
    pairs: int
    tokenizer: str
    bad: dict[str, int]
    bad_rows: tuple[BadRow, ...]
    contrast: tuple[Stat, ...]
    groups: tuple[Group, ...]
    biases: tuple[Bias, ...]
    predictability: Predictability | None
    scores: tuple[Stat, ...]
    hygiene: tuple[Rate, ...]
    languages: dict[str, int]
    model: tuple[Stat, ...]
    model_rates: tuple[Rate, ...]
    advice: tuple[str, ...]
    histograms: tuple[Histogram, ...]
    scatter: Scatter | None
    examples: tuple[Example, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit: its datasets side by side, the command that made it and how long it took."""

    datasets: tuple[DatasetAudit, ...]
    command: str
    code_version: str
    seconds: float
