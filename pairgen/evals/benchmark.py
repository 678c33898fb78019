"""A benchmark is items and a scoring rule. What could not be scored is counted, never a zero.

Every mean carries the number of independent units behind it and a standard error. Where one unit is
asked several times (both orders, many samples) the unit stays the unit: its replies are a cluster.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import Field

from pairgen.engine import Completion, Frozen, Request, Sampling
from pairgen.errors import UsageError
from pairgen.fingerprint import JSON, Runtime

Scores = Mapping[str, float | None]
"""A score per item id; None is unscored."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` units with its standard error; `unscored` units had no value at all.

    `mean` is None when nothing was scored, `stderr` when fewer than two units were.
    """

    mean: float | None
    stderr: float | None
    n: int
    unscored: int

    def to_json(self) -> dict[str, JSON]:
        """The estimate as it is written to disk."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher `after` is than `before` on the same `n` items, with a 95 % interval."""

    diff: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to score. `group` is the part of the benchmark it belongs to."""

    id: str
    group: str


@dataclass(frozen=True, slots=True)
class EvalReply:
    """One reply to an item, as received and as read.

    `mode` is greedy | sampled, `order` the order two answers were shown in. `answer` is what was read
    in the text (a verdict, a result) and None when nothing could be: `status` says why. `derivation`
    tells whether the reasoning before a verdict is right, where a suite can know. `confidence` is the
    probability of the answer, where the judge gives one (the tokens of its verdict).
    """

    mode: str
    order: str | None
    sample: int
    text: str
    answer: str | None
    status: str
    gold: str
    tokens: int
    derivation: bool | None = None
    confidence: float | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is the true one; an unreadable reply is not."""
        return self.answer == self.gold


@dataclass(frozen=True, slots=True)
class EvalItem:
    """An item with all that was said about it: every metric can be computed again from these rows.

    `answers` are what was compared, the better one first. `error` is why the engine refused the item,
    which makes it unscored: that is no failure of the model. The first `right` answers are right; none is
    in a tie. `scores` are a scoring model's, one per answer; `ratings` the gold ones of an answer that is
    rated, or annotators' votes for the first of two answers (1, 0.5, 0). Items of one `cluster` (a prompt) are
    resampled together. `swapped` says that the source lists the second of two answers first.
    """

    id: str
    group: str
    question: str
    answers: tuple[str, ...]
    replies: tuple[EvalReply, ...]
    error: str | None = None
    right: int = 1
    scores: tuple[float | None, ...] = ()
    ratings: tuple[float, ...] = ()
    cluster: str | None = None
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """A self-check: these replies to this item must give these metrics."""

    item: Item
    replies: list[list[Completion]]
    expected: dict[str, float]


I = TypeVar("I", bound=Item)  # noqa: E741


class Benchmark(Frozen, Generic[I]):
    """What every benchmark has; its fields are its YAML options. `id` names it in results.

    `source` is the step its items come from, for those that read one. `goal` says whether the loop is
    there to raise it, or must only not harm it. `subset` keeps items of these groups, and `limit` so many
    of them (see `evals.select`).
    Bump `version` when a score would come out differently: source code is not hashed.
    """

    version: ClassVar[int] = 1

    id: Runtime[str]
    use: str
    source: Runtime[str | None] = None
    title: Runtime[str] = ""
    goal: Runtime[bool] = True
    subset: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=1)

    @property
    def label(self) -> str:
        """What reports call it."""
        return self.title or self.id

    def at(self, folders: Sequence[Path]) -> "Benchmark[I]":
        """The benchmark with the folders of the step it reads (`source`), where it reads one."""
        return self

    def outside(self) -> JSON:
        """The identity of what is read from outside, where the items are not made of the options alone."""
        return None

    def items(self) -> Sequence[I]:
        """What is asked, in a fixed order."""
        raise TypeError(f"benchmark {self.use!r} does not say what its items are")

    def ask(self, item: I) -> list[Request]:
        """The requests of an item, in a fixed order. Pure."""
        raise TypeError(f"benchmark {self.use!r} does not say what to ask")

    def read(self, item: I, replies: list[list[Completion]]) -> EvalItem:
        """The replies read and marked, `replies[i]` answering `ask(item)[i]`. Pure."""
        raise TypeError(f"benchmark {self.use!r} does not say how to read replies")

    def score(self, row: EvalItem) -> float | None:
        """The one number of an item that two models are compared by; None is unscored. Pure."""
        raise TypeError(f"benchmark {self.use!r} does not say how to score")

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Every number of the benchmark, from any set of its rows. Pure."""
        raise TypeError(f"benchmark {self.use!r} has no metrics")

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """The benchmark's own published numbers, under its own names; merged into `metrics`. Pure."""
        return {}

    def missing(self, rows: Sequence[EvalItem]) -> tuple[str, ...]:
        """The subsets without which the benchmark has no overall number."""
        return ()

    def gold(self) -> list[Known]:
        """Replies whose metrics are known, for `self_check`."""
        raise TypeError(f"benchmark {self.use!r} has no self-check")


class SampledBenchmark(Benchmark[I]):
    """A benchmark that asks greedily once, and `votes` times more by `sampling` when that is set."""

    seed: int = 0
    votes: int = Field(default=0, ge=0)
    sampling: Sampling = Sampling(temperature=1.0)

    def modes(self) -> dict[str, tuple[Sampling, int]]:
        """How to sample, and how many replies, for each mode asked."""
        greedy = self.sampling.model_copy(update={"temperature": 0.0, "top_p": 1.0})
        asked = {"greedy": (greedy, 1), "sampled": (self.sampling, self.votes)}
        return {mode: (sampling, n) for mode, (sampling, n) in asked.items() if n}


def estimate(values: Iterable[float | None]) -> Estimate:
    """The mean of independent values; None is unscored and stays out of it."""
    return estimate_clustered([value] for value in values)


def estimate_clustered(clusters: Iterable[Sequence[float | None]]) -> Estimate:
    """The mean over all values of all clusters, with the standard error of independent clusters.

    `n` counts clusters with a value. With equal sizes this is the plain standard error of the
    clusters' means; with unequal ones that of a ratio of sums (linearised, times G/(G-1)).
    """
    kept = [[value for value in cluster if value is not None] for cluster in clusters]
    scored = [cluster for cluster in kept if cluster]
    n, unscored = len(scored), len(kept) - len(scored)
    if n == 0:
        return Estimate(None, None, 0, unscored)
    size = sum(map(len, scored))
    mean = math.fsum(value for cluster in scored for value in cluster) / size
    if n == 1:
        return Estimate(mean, None, 1, unscored)
    squares = math.fsum(math.fsum(value - mean for value in cluster) ** 2 for cluster in scored)
    return Estimate(mean, math.sqrt(squares * n / (n - 1)) / size, n, unscored)


def estimate_rows(
    rows: Iterable[EvalItem], values: Callable[[EvalItem], Sequence[float | None]],
) -> Estimate:
    """The mean over all values of all rows; rows of one cluster (a prompt) are one unit.

    `unscored` counts rows without any value, whatever cluster they are in.
    """
    clusters: dict[object, list[float | None]] = {}
    unscored = 0
    for place, row in enumerate(rows):
        found = values(row)
        unscored += all(value is None for value in found)
        clusters.setdefault(place if row.cluster is None else row.cluster, []).extend(found)
    return replace(estimate_clustered(clusters.values()), unscored=unscored)


def bootstrap_difference(after: Scores, before: Scores, seed: int = 0, rounds: int = 10_000) -> Difference:
    """`after` minus `before`, paired by item: the percentile interval of resampled items.

    Items that either side left unscored are out of it. Raises UsageError when none is left.
    """
    import numpy as np

    gaps = [
        new - old for key in sorted(after.keys() & before.keys())
        if (new := after[key]) is not None and (old := before[key]) is not None
    ]
    if not gaps:
        raise UsageError("nothing to compare: the two results share no scored item")
    gaps_N, rng = np.array(gaps), np.random.default_rng(seed)
    block = max(1, 2_000_000 // len(gaps))  # rounds resampled at once, so that memory stays small
    means = [
        gaps_N[rng.integers(len(gaps), size=(min(block, rounds - start), len(gaps)))].mean(axis=1)
        for start in range(0, rounds, block)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Difference(float(gaps_N.mean()), float(low), float(high), len(gaps))


def self_check(benchmark: Benchmark[I]) -> None:
    """Score the known replies. Raises UsageError naming the first metric that comes out differently."""
    for known in benchmark.gold():
        found = benchmark.metrics([benchmark.read(known.item, known.replies)])  # type: ignore[arg-type]
        for name, expected in known.expected.items():
            mean = found[name].mean if name in found else None
            if mean is None or not math.isclose(mean, expected, abs_tol=1e-9):
                raise UsageError(
                    f"benchmark {benchmark.use!r} fails its self-check: {name} of item {known.item.id!r} "
                    f"is {mean}, known to be {expected}"
                )


def said(text: str) -> Completion:
    """A reply for a self-check."""
    return Completion(text, "stop", 0, len(text.split()))
