"""What an iteration's data looked like, computed from its shards: the numbers that explain a loop."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pairgen.fingerprint import JSON
from pairgen.records import ORDERS, Judged


@dataclass(frozen=True)
class DataRecord:
    """An iteration's judging and filtering.

    `agreement` is the share of judgments that agree with the construction, per order; `none_correct`
    and `all_correct` are shares of pairs. `labels_before` counts the pairs with an agreeing judgment by
    its label, before balancing; `labels_after` the judgments trained on. `judgment_tokens` is a mean,
    `length_gap` the mean tokens of agreeing judgments minus those of the others (None: one kind only).
    """

    pairs: int
    judgments: int
    parse_rate: float
    agreement: dict[str, float]
    none_correct: float
    all_correct: float
    kept_pairs: int
    kept_share: float
    kept_judgments: int
    labels_before: dict[str, int]
    labels_after: dict[str, int]
    dropped_for_balance: int
    judgment_tokens: float
    length_gap: float | None

    def to_json(self) -> dict[str, JSON]:
        """As plain JSON."""
        return asdict(self)


def data_record(judged: Iterable[Judged], kept: Iterable[Judged], drops: dict[str, int]) -> DataRecord | None:
    """The record of one iteration; None when nothing was judged."""
    rows = Tally()
    for row in judged:
        rows.add(row)
    if not rows.pairs:
        return None
    labels: Counter[str] = Counter()
    kept_pairs = 0
    for row in kept:
        kept_pairs += 1
        labels.update(j.verdict for j in row.judgments if j.kept and j.verdict)
    return DataRecord(
        pairs=rows.pairs, judgments=rows.judgments, parse_rate=rows.parsed / max(1, rows.judgments),
        agreement={order: rows.agreed[order] / max(1, rows.asked[order]) for order in ORDERS},
        none_correct=rows.none_correct / rows.pairs, all_correct=rows.all_correct / rows.pairs,
        kept_pairs=kept_pairs, kept_share=kept_pairs / rows.pairs, kept_judgments=labels.total(),
        labels_before={label: rows.labels[label] for label in "AB"},
        labels_after={label: labels[label] for label in "AB"}, dropped_for_balance=drops.get("balance", 0),
        judgment_tokens=rows.tokens / max(1, rows.judgments), length_gap=rows.length_gap(),
    )


class Tally:
    """Running counts over judged pairs."""

    def __init__(self) -> None:
        self.pairs = self.judgments = self.parsed = self.tokens = 0
        self.none_correct = self.all_correct = 0
        self.asked: Counter[str] = Counter()
        self.agreed: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.agreeing_tokens = 0

    def add(self, row: Judged) -> None:
        """Count one pair."""
        self.pairs += 1
        right = sum(j.agrees for j in row.judgments)
        self.none_correct += right == 0
        self.all_correct += right == len(row.judgments)
        self.labels.update({j.gold for j in row.judgments if j.agrees})
        for judgment in row.judgments:
            self.judgments += 1
            self.parsed += judgment.status == "ok"
            self.tokens += judgment.tokens
            self.asked[judgment.order] += 1
            self.agreed[judgment.order] += judgment.agrees
            self.agreeing_tokens += judgment.tokens * judgment.agrees

    def length_gap(self) -> float | None:
        """Mean tokens of agreeing judgments minus mean tokens of the others."""
        right = self.agreed.total()
        wrong = self.judgments - right
        if not right or not wrong:
            return None
        return self.agreeing_tokens / right - (self.tokens - self.agreeing_tokens) / wrong
