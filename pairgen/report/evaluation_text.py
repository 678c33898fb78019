"""The numbers of an evaluation in a terminal: official ones first, baselines beside them, then by subset."""

from typing import TYPE_CHECKING

from pairgen.report.evaluation_summary import EvaluationSummary, Metrics
from pairgen.report.headline import metric_name
from pairgen.report.numbers import NONE, cost, count, estimated

if TYPE_CHECKING:
    from rich.table import Table

ALWAYS = ("accuracy", "consistent_accuracy", "consistency", "parse_rate")
"""What the table of subsets shows, where a suite has it."""


def metric_table(summary: EvaluationSummary) -> "Table":
    """Every number, beside those of the baselines."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in (summary.who, "n", *summary.baselines):
        table.add_column(name, justify="right", overflow="fold")
    for name, value in shown(summary).items():
        mark = "official: " if name in summary.official else ""
        others = [estimated(metrics.get(name)) for metrics in summary.baselines.values()]
        table.add_row(mark + metric_name(name), estimated(value), count(value["n"]), *others)
    return table


def shown(summary: EvaluationSummary) -> Metrics:
    """The numbers to print: the official ones and those of the greedy judgments; of samples, the votes."""
    return {
        name: value for name, value in summary.metrics.items()
        if not name.startswith("sampled_") or name in summary.official
    }


def group_table(summary: EvaluationSummary) -> "Table":
    """The main numbers by subset."""
    from rich.table import Table

    names = group_metrics(summary)
    table = Table(box=None, pad_edge=False)
    table.add_column("by subset", overflow="fold")
    for name in ("n", *names):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for group, metrics in summary.groups.items():
        table.add_row(group, items_of(metrics), *(estimated(metrics.get(name)) for name in names))
    return table


def group_metrics(summary: EvaluationSummary) -> list[str]:
    """The metrics that a table by subset shows."""
    return [name for name in ALWAYS if name in summary.metrics] or list(summary.metrics)[:4]


def items_of(metrics: Metrics) -> str:
    """How many items stand behind the numbers."""
    return count(max((value["n"] or 0 for value in metrics.values()), default=0))


def short(summary: EvaluationSummary) -> str:
    """`llmbar: judge-8b on 419 items; 838 requests, 1.2M tokens, $0.41`, and what is not there."""
    spent = summary.spent
    asked = f"{count(spent.requests)} requests, " if spent.requests else ""
    tokens = f"{count(spent.prompt_tokens + spent.completion_tokens)} tokens" if spent.requests else ""
    money = f", {cost(spent.cost)}" if cost(spent.cost) != NONE else ""
    line = f"{summary.title}: {summary.who} on {count(summary.items)} items"
    line += f"; {asked}{tokens}{money}" if asked else ""
    if summary.missing:
        line += f"\nno overall number: the suite's {', '.join(summary.missing)} are not in it"
    return line
