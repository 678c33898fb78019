"""What a run did, in plain words: what was gained, what got worse, what cannot be told."""

from dataclasses import dataclass

from pairgen.report.numbers import count, number, points
from pairgen.report.summary import Change, IterationSummary, RunSummary

METRICS = {
    "accuracy": "accuracy (mean of both orders)",
    "accuracy_chosen_first": "accuracy with the better answer first",
    "accuracy_rejected_first": "accuracy with the better answer second",
    "consistent_accuracy": "accuracy counted only when right in both orders",
    "consistency": "consistency over both orders",
    "first_slot": "share of verdicts for the first answer",
    "parse_rate": "share of judgments that can be read",
    "tokens": "judgment length in tokens",
    "derivation": "share of judgments with right reasoning",
    "answer_accuracy": "answer accuracy",
    "vote_accuracy": "accuracy of the majority vote",
    "vote_ties": "share of votes that end level",
    "consistency_loose": "consistency, two unreadable replies counted as agreeing",
    "accuracy_length_matched": "accuracy where both answers are of one length (10 %)",
    "accuracy_gold_longer": "accuracy where the better answer is longer",
    "accuracy_gold_shorter": "accuracy where the better answer is shorter",
    "length_gap": "how much accuracy hangs on the better answer being longer",
    "prefer_longer": "share of picks of the longer answer (by 30 characters)",
    "logit_accuracy": "accuracy by the verdict's odds, both orders averaged",
    "truncated": "share of judgments cut off",
    "ties": "share of ties",
    "kappa": "Cohen's kappa with the labels",
    "accuracy_decided": "accuracy where one answer is better",
    "accuracy_when_consistent": "accuracy where both orders agree",
    "coverage_when_consistent": "share of items whose orders agree",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "confidence": "mean confidence",
    "auroc": "AUROC of confidence for being right",
    "accuracy_at_50": "accuracy of the surer half",
    "accuracy_at_80": "accuracy of the surer four fifths",
    "unanimous": "share of judgments on which all members agree",
    "split": "share of judgments on which no answer leads",
    "official_parser_disagreement": "share of replies that the official parser reads otherwise",
}
"""Metric names in words; a name not in here is shown as it is."""


@dataclass(frozen=True, slots=True)
class Headline:
    """Sentences by what they say. `worse` includes what the loop was not meant to touch."""

    better: tuple[str, ...]
    worse: tuple[str, ...]
    unclear: tuple[str, ...]


def metric_name(metric: str) -> str:
    """`sampled_accuracy` -> `sampled accuracy (mean of both orders)`."""
    if metric in METRICS:
        return METRICS[metric]
    start, _, rest = metric.partition("_")
    return f"sampled {metric_name(rest)}" if start == "sampled" and rest else metric.replace("_", " ")


def headline(run: RunSummary) -> Headline:
    """Every change by whether its 95 % interval leaves out zero, and on which side."""
    return Headline(
        better=tuple(_sentence(run, c, "rose") for c in run.changes if c.difference.low > 0),
        worse=tuple(_sentence(run, c, "fell") for c in run.changes if c.difference.high < 0),
        unclear=tuple(
            _sentence(run, c, "went") for c in run.changes if c.difference.low <= 0 <= c.difference.high
        ),
    )


def _sentence(run: RunSummary, change: Change, verb: str) -> str:
    title = next((suite.title for suite in run.suites if suite.id == change.suite), change.suite)
    gap, metric = change.difference, change.metric
    before, after = (_mean(run.iterations[at], change) if run.iterations else None for at in (0, -1))
    return (
        f"{title}: {metric_name(metric)} {verb} from {number(before)} to {number(after)}, {points(gap.diff)} "
        f"points (95 % interval {points(gap.low)} to {points(gap.high)}, {count(gap.n)} items)."
    )


def _mean(iteration: IterationSummary, change: Change) -> float | None:
    found = iteration.estimate(change.suite, change.metric)
    return found["mean"] if found else None
