"""What is measured of preference data beside a model's own answers, before any objective is chosen."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pairgen.checks import contrast, normalised
from pairgen.errors import UsageError
from pairgen.records import Messages, Preference, messages_id
from pairgen.train.example import TrainRow
from pairgen.train.likelihood import Likelihood

ROWS = 512
"""Rows measured at most."""
FLOOR = 0.05
"""The least standard deviation of own answers, in nats per token: those of a sure model hardly differ."""
TIE = 1e-4
"""Scores that differ by less, relatively, are the same: batches round them differently."""

Basis = Literal["scores", "likelihood"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over rows with its standard error."""

    mean: float
    se: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Of numbers, one a row."""
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)
        return cls(mean, math.sqrt(variance / len(values)))


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was measured.

    `winner_better` is the share of winners better than the model's own answers (a tie is half), by scores
    or by likelihood, `tied` that of ties. `logp_*` are log-probs per token in nats; `spread` is the standard
    deviation of own answers to one prompt, and `chosen_off` and `rejected_off` say how many of those a side
    is less likely than own answers. `jaccard` compares the words of the two sides, `jaccard_own` those of
    own answers with each other, `jaccard_chosen` and `jaccard_rejected` those of a side with own answers.
    `length_ratio` is tokens chosen / rejected; `accuracy` the share of pairs whose chosen side the
    reference finds likelier as a whole, `accuracy_per_token` per token.
    """

    winner_better: Estimate
    tied: float
    logp_chosen: Estimate
    logp_rejected: Estimate
    logp_own: Estimate
    spread: float
    chosen_off: float
    rejected_off: float
    length_ratio: float
    tokens_chosen: float
    tokens_rejected: float
    tokens_own: float
    jaccard: Estimate
    jaccard_own: float
    jaccard_chosen: float
    jaccard_rejected: float
    accuracy: Estimate
    accuracy_per_token: Estimate


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows that were there already, whose sides read the same, and whose loser wins in another row."""

    repeated: int
    same: int
    reversed: int


def reservoir(rows: Iterable[TrainRow]) -> tuple[list[Preference], int]:
    """Up to ROWS pairs, each as likely as any other, in the order they came; and how many there were."""
    rng, kept, of = random.Random(0), [], 0  # type: tuple[random.Random, list[tuple[int, Preference]], int]
    for row in rows:
        if not isinstance(row, Preference):
            continue
        of += 1
        if len(kept) < ROWS:
            kept.append((of, row))
        elif (place := rng.randrange(of)) < ROWS:
            kept[place] = (of, row)
    if not kept:
        raise UsageError("--advise: there are no preference pairs in this data")
    return [row for _, row in sorted(kept, key=lambda item: item[0])], of


def has_scores(row: Preference) -> bool:
    """Whether a row says what its winner and the model's own answer are worth."""
    return row.chosen_score is not None and row.policy_score is not None


def numbers(there: Sequence[tuple[Preference, Likelihood]], basis: Basis) -> Numbers:
    """Of rows with their likelihoods."""
    found = [f for _, f in there]
    spread, better = _spread(found), [_better(row, f, basis) for row, f in there]
    own, chosen, rejected = (Estimate.of(column) for column in (
        [f.own_mean for f in found], [f.chosen.mean for f in found], [f.rejected.mean for f in found]))
    tokens_chosen, tokens_rejected = (_mean([a.tokens for a in side]) for side in (
        [f.chosen for f in found], [f.rejected for f in found]))
    return Numbers(
        winner_better=Estimate.of(better),
        tied=better.count(0.5) / len(better),
        logp_chosen=chosen, logp_rejected=rejected, logp_own=own, spread=spread,
        chosen_off=(own.mean - chosen.mean) / max(spread, FLOOR),
        rejected_off=(own.mean - rejected.mean) / max(spread, FLOOR),
        length_ratio=tokens_chosen / tokens_rejected, tokens_chosen=tokens_chosen, tokens_rejected=tokens_rejected,
        tokens_own=_mean([a.tokens for f in found for a in f.own]),
        jaccard=Estimate.of([_jaccard(_text(row.chosen), _text(row.rejected)) for row, _ in there]),
        jaccard_own=_mean([_jaccard(a, b) for f in found for a, b in combinations(f.texts, 2)] or [1.0]),
        jaccard_chosen=_mean([_jaccard(_text(row.chosen), text) for row, f in there for text in f.texts]),
        jaccard_rejected=_mean([_jaccard(_text(row.rejected), text) for row, f in there for text in f.texts]),
        accuracy=Estimate.of([float(f.chosen.logp > f.rejected.logp) for f in found]),
        accuracy_per_token=Estimate.of([float(f.chosen.mean > f.rejected.mean) for f in found]),
    )


def _jaccard(left: str, right: str) -> float:
    return contrast(left, right).jaccard


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _better(row: Preference, found: Likelihood, basis: Basis) -> float:
    """1 where the winner beats the model's own answers, half for a tie."""
    won, own = found.chosen.mean, found.own_mean
    if basis == "scores":
        assert row.chosen_score is not None
        assert row.policy_score is not None
        won, own = row.chosen_score, row.policy_score
    return 0.5 if math.isclose(won, own, rel_tol=TIE) else float(won > own)


def _spread(found: Sequence[Likelihood]) -> float:
    """The standard deviation of own answers around their prompt's mean, pooled over prompts."""
    squares = sum((a.mean - f.own_mean) ** 2 for f in found for a in f.own)
    free = sum(len(f.own) - 1 for f in found)
    return math.sqrt(squares / free) if free else 0.0


def duplicates(rows: Sequence[Preference]) -> Duplicates:
    """Counted by texts, with case, spacing and outer punctuation taken out."""
    sides = [(messages_id(row.prompt), normalised(_text(row.chosen)), normalised(_text(row.rejected))) for row in rows]
    distinct = set(sides)
    return Duplicates(
        repeated=len(sides) - len(distinct), same=sum(chosen == rejected for _, chosen, rejected in sides),
        reversed=sum((p, rejected, chosen) in distinct for p, chosen, rejected in sides if chosen != rejected),
    )


def _text(messages: Messages) -> str:
    return "\n\n".join(message.content for message in messages)
