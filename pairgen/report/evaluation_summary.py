"""What the report of one evaluation is made of: plain values, gathered from its sealed rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pairgen.fingerprint import JSON
from pairgen.report.numbers import Estimated

Metrics = Mapping[str, Estimated]
"""Estimates by name, as evals writes them."""


@dataclass(frozen=True, slots=True)
class Said:
    """One reply: the order shown, what it says, what would be right, why nothing was read, its text."""

    order: str
    answer: str | None
    gold: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """An item to look at: `kind` is wrong | inconsistent | unreadable | refused."""

    kind: str
    id: str
    group: str
    question: str
    answers: tuple[str, ...]
    replies: tuple[Said, ...]
    scores: tuple[float | None, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """A slice of the items along one axis (length, confidence): its middle, what was found there, and n."""

    at: float
    mean: float
    stderr: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What the evaluation took: requests sent, samples the journal had, tokens, dollars, seconds."""

    requests: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """One evaluation. `official` names the benchmark's own numbers among `metrics`, which come first.

    `missing` are subsets without which there is no overall number; `baselines` and `groups` hold the same
    metrics for judges that do not read, and for parts of the suite; `longer` is the accuracy of picking the
    longer answer in each, `members` the accuracy of each judge of a panel. `drawn_from` is how many items there
    are where only some were asked (0 where all were), `votes` the samples behind each vote. `unread_share` is of
    the greedy replies, and `unread` counts those that could not be read by why, `unscored_share` of the items.
    """

    suite: str
    title: str
    who: str
    command: str
    config: str
    code_version: str
    step: str
    items: int
    metrics: Metrics
    official: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    baselines: Mapping[str, Metrics] = field(default_factory=dict)
    groups: Mapping[str, Metrics] = field(default_factory=dict)
    longer: Mapping[str, Estimated] = field(default_factory=dict)
    members: Mapping[str, Estimated] = field(default_factory=dict)
    calibration: tuple[Bin, ...] = ()
    lengths: tuple[Bin, ...] = ()
    samples: tuple[Sample, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    drawn_from: int = 0
    votes: int = 0
    unscored_share: float = 0.0
    unread_share: float = 0.0
    unread: Mapping[str, int] = field(default_factory=dict)
    first_error: str | None = None
    spent: Spent = Spent()

    def to_json(self) -> dict[str, JSON]:
        """The numbers, without texts and samples."""
        whole = asdict(self)
        return {key: value for key, value in whole.items() if key != "samples"}
