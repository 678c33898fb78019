"""The numbers of an evaluation in a terminal: official ones first, baselines beside them, then by subset."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pairgen.report.charts import Z95
from pairgen.report.evaluation_summary import EvaluationSummary, Metrics
from pairgen.report.headline import metric_name
from pairgen.report.numbers import NONE, Estimated, cost, count, estimated, number, points, share
from pairgen.report.text import one_line

HELPS = {
    "truncated": "--set sampling.max_tokens=N gives more room",
    "elsewhere": "its first word is no letter: take a prompt that asks for the letter alone (--prompt "
                 "judges/letter.md), begin its answer (--set opening='[['), or read its text (--verdict text)",
    "off-scale": "--set low=N and --set high=N say what the scale is",
}
"""What helps against unreadable replies of a status."""
NOWHERE: Estimated = {"mean": None, "stderr": None, "n": 0, "unscored": 0}

if TYPE_CHECKING:
    from rich.table import Table

ALWAYS = ("accuracy", "consistent_accuracy", "pearson", "spearman", "exact")
"""What the table of subsets shows, where a suite has it."""
WIDEST = 26
"""Letters of a subset's name in a terminal."""
ESTIMATE = 13
"""Letters of `0.845 ± 0.016`: a name above such numbers is no wider."""
DISPENSABLE = ("random", "always-first", "longer")
"""Baselines that are left out first where the terminal is narrow; the report has all."""
DETAILS = r"_loose$|^truncated$|^accuracy_(gold|length|when|at)_|^coverage_|^(brier|confidence|vote_ties)$"
"""Numbers that are in the report and the result file only."""


def metric_table(summary: EvaluationSummary, width: int = 200) -> "Table":
    """The numbers by their own names, beside the means of those baselines that there is room for."""
    from rich.table import Table

    numbers, beside = shown(summary), list(summary.baselines)
    taken = max(map(len, numbers), default=0) + ESTIMATE + 12
    for name in DISPENSABLE:
        if name in beside and taken + sum(2 + len(other) for other in beside) > width:
            beside.remove(name)
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in (one_line(summary.who, ESTIMATE), "n", *beside):
        table.add_column(name, justify="right", no_wrap=True)
    for name, value in numbers.items():
        others = [number(_mean(summary.baselines[who], name)) for who in beside]
        table.add_row(name, estimated(value), count(value["n"]), *others)
    return table


def shown(summary: EvaluationSummary) -> Metrics:
    """The numbers to print: official ones but those of a subset, which has its line below; no details, of samples
    the votes only."""
    def is_told(name: str) -> bool:
        if name in summary.official:
            return not any(re.search(rf"(^|_){re.escape(group)}(_|$)", name) for group in summary.groups)
        return not name.startswith("sampled_") and not re.search(DETAILS, name)

    return {name: value for name, value in summary.metrics.items() if value["n"] and is_told(name)}


def group_table(summary: EvaluationSummary) -> "Table":
    """The main numbers by subset."""
    from rich.table import Table

    names = group_metrics(summary)
    table = Table(box=None, pad_edge=False)
    table.add_column("by subset", no_wrap=True)
    for name in ("n", *names):
        table.add_column(name.replace("_", " "), justify="right")
    if summary.longer:
        table.add_column("longer picked", justify="right")
    for group, metrics in summary.groups.items():
        cells = [estimated(metrics.get(name)) for name in names]
        table.add_row(one_line(group, WIDEST), items_of(metrics), *cells, *longer_in(summary, group))
    return table


def longer_in(summary: EvaluationSummary, group: str) -> list[str]:
    """What picking the longer answer gets in a subset, where that is known."""
    return [number((summary.longer.get(group) or {"mean": None})["mean"])] if summary.longer else []


def group_metrics(summary: EvaluationSummary) -> list[str]:
    """The metrics that a table by subset shows."""
    return [name for name in ALWAYS if name in summary.metrics] or [
        name for name in summary.metrics if all(metrics.get(name, NOWHERE)["n"] for metrics in summary.groups.values())
    ][:4]


def items_of(metrics: Metrics) -> str:
    """How many items stand behind the numbers."""
    return count(max((value["n"] or 0 for value in metrics.values()), default=0))


def in_words(summary: EvaluationSummary) -> list[str]:
    """The evaluation in a few sentences: the number to quote, how it compares with not reading, what order did."""
    found = []
    for name in [*[n for n in summary.official if "overall" in n], "accuracy", "pearson"]:
        if value := summary.metrics.get(name):
            words = metric_name(name)
            found.append(f"{words[0].upper()}{words[1:]}: {_interval(value)}, {count(value['n'])} items.")
    found += [*vote_words(summary), *panel_words(summary)]
    best = _best_baseline(summary)
    if best is not None:
        found.append(best)
    first, second = (_mean(summary.metrics, f"accuracy_{order}") for order in ("chosen_first", "rejected_first"))
    if first is not None and second is not None:
        found.append(f"With the better answer first it is right in {share(first)}, with it second in {share(second)}: "
                     f"the order decides {100 * abs(first - second):.1f} points.")
    return found


def part_words(summary: EvaluationSummary) -> list[str]:
    """That only some of the items were asked; nothing where all were."""
    if not summary.drawn_from:
        return []
    return [f"A draw of {count(summary.items)} of {count(summary.drawn_from)} items (limit), so no official result."]


def vote_words(summary: EvaluationSummary) -> list[str]:
    """What a vote is made of; nothing where there is none."""
    if summary.votes < 2 or summary.members:
        return []
    n = summary.votes
    return [f"vote_accuracy is maj@{n}: the majority of {n} samples an item, all orders together."]


def rows(n: int) -> str:
    """`1 row`, `6 rows`."""
    return f"{count(n)} row{'' if n == 1 else 's'}"


def panel_words(summary: EvaluationSummary) -> list[str]:
    """What the judges of a panel have by themselves; nothing where there is no panel."""
    alone = ", ".join(f"{name} {estimated(value)}" for name, value in summary.members.items())
    return [f"Accuracy of each member by itself: {alone}."] if alone else []


def _interval(value: Estimated) -> str:
    """`0.845 (95 % interval 0.810 to 0.880)`."""
    mean, error = value["mean"], value.get("stderr")
    if mean is None or error is None:
        return number(mean)
    return f"{number(mean)} (95 % interval {number(mean - Z95 * error)} to {number(mean + Z95 * error)})"


def _best_baseline(summary: EvaluationSummary) -> str | None:
    own = _mean(summary.metrics, "accuracy")
    there = {who: _mean(metrics, "accuracy") or 0.0 for who, metrics in summary.baselines.items()}
    if own is None or not there:
        return None
    who = max(there, key=lambda name: there[name])
    return (f"Accuracy without reading is {number(there[who])} at best ({who}); "
            f"this is {points(own - there[who])} points from there.")


def _mean(metrics: Metrics, name: str) -> float | None:
    value = metrics.get(name)
    return value["mean"] if value else None


def short(summary: EvaluationSummary) -> str:
    """`llmbar: judge-8b on 419 items; 838 requests, 1.2M tokens, $0.41`, and what is not there."""
    spent = summary.spent
    asked = f"{count(spent.requests)} requests, " if spent.requests else ""
    tokens = f"{count(spent.prompt_tokens + spent.completion_tokens)} tokens" if spent.requests else ""
    money = f", {cost(spent.cost)}" if cost(spent.cost) != NONE else ""
    line = f"{summary.title}: {summary.who} on {count(summary.items)} items"
    line += f"; {asked}{tokens}{money}" if asked else ""
    line += "".join(f"\n{words}" for words in (*part_words(summary), *vote_words(summary), *panel_words(summary)))
    if summary.unscored_share:
        line += f"\nnot scored: {share(summary.unscored_share)} of the items; the first: {summary.first_error}"
    if summary.missing:
        line += f"\nnot the whole suite: without {_some(summary.missing)}"
    if summary.skipped:
        line += "".join(f"\nleft out: {rows(n)} of the data; {reason}" for reason, n in summary.skipped.items())
    return line


def what_to_do(summary: EvaluationSummary) -> str:
    """What most of the unreadable replies look like, and what helps; "" where nothing is known."""
    most = max(summary.unread, key=lambda status: summary.unread[status], default="")
    replies = [reply for sample in summary.samples for reply in sample.replies if reply.status == most]
    said = f"one says {one_line(replies[0].text, 60)!r}; " if replies and replies[0].text else ""
    return said + HELPS.get(most, "--prompt takes the prompt that the judge was trained with") if most else ""


def why_unread(summary: EvaluationSummary) -> str:
    """`none 30, truncated 2`: the replies that could not be read by their status, most of them first."""
    return ", ".join(f"{status} {count(n)}" for status, n in sorted(summary.unread.items(), key=lambda item: -item[1]))


def _some(names: Sequence[str], most: int = 4) -> str:
    """`a, b and 12 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
