"""The report of one evaluation: its numbers beside judges that do not read, what order and length did,
how sure it was, and judgments to look at.
"""

from collections.abc import Sequence

from markupsafe import Markup

from pairgen.report.charts import Z95, Line, line_chart
from pairgen.report.evaluation_charts import order_chart
from pairgen.report.evaluation_samples import sample_blocks
from pairgen.report.evaluation_summary import Bin, EvaluationSummary, Metrics
from pairgen.report.evaluation_text import (
    group_metrics,
    in_words,
    items_of,
    longer_in,
    part_words,
    rows,
    what_to_do,
    why_unread,
)
from pairgen.report.headline import metric_name
from pairgen.report.html import EMPTY, Section, bullets, figure, figures, page, paragraphs, table, verbatim
from pairgen.report.numbers import NONE, cost, count, duration, estimated, share

NUMBERS = (
    "Means with one standard error; n counts items. What could not be read counts as wrong. The columns to the "
    "right are judges that do not read: what they get, the data gives away."
)
ORDER = (
    "Accuracy of the same pairs when the better answer is shown first and when it is shown second. A judge that "
    "reads has both points in one place; the gap is what the order decides."
)
LENGTH = (
    "Accuracy by how much longer the better answer is. A judge that reads is flat; one that prefers long answers "
    "rises to the right. Error bars are 95 % intervals."
)
SHORT = {"accuracy": "accuracy", "consistent_accuracy": "right in both orders", "parse_rate": "can be read"}
CALIBRATION = "How often it is right, by how sure it is. On the dashed line, sureness is what it says."


def evaluation_report(summary: EvaluationSummary) -> str:
    """The report as one HTML file. Sections with nothing to show are left out."""
    drawn = (_order(summary), _lengths(summary.lengths), _calibration(summary.calibration))
    charts = [chart for chart in drawn if chart]
    parts = [
        Section("In short", _short(summary)),
        Section("Numbers", _numbers(summary), NUMBERS),
        Section("By subset", _groups(summary)),
        Section("Order, length, sureness", figures(charts) if charts else EMPTY),
        Section("Judgments to look at", sample_blocks(summary.samples)),
        Section("Time and tokens", _spent(summary)),
        Section("Configuration", verbatim(summary.config) if summary.config.strip() else EMPTY),
    ]
    subtitle = f"{summary.command} · pairgen {summary.code_version}"
    return page(f"{summary.title}: {summary.who}", [part for part in parts if part.body], subtitle)


def _short(summary: EvaluationSummary) -> Markup:
    return _warnings(summary) + bullets(in_words(summary))


def _warnings(summary: EvaluationSummary) -> Markup:
    texts = []
    if summary.unread_share > 0.05:
        texts.append(f"{share(summary.unread_share)} of the replies hold no verdict that can be read: all wrong "
                     f"({why_unread(summary)}). What helps: {what_to_do(summary)}.")
    if summary.unscored_share > 0:
        texts.append(f"{share(summary.unscored_share)} of the items could not be scored and are in no number; "
                     f"the first: {summary.first_error}")
    if summary.missing:
        texts.append(f"Not the whole suite: {len(summary.missing)} of its subsets are not here "
                     f"({', '.join(summary.missing)}), so numbers over all of it are left out.")
    for reason, n in summary.skipped.items():
        texts.append(f"{rows(n)} of the data left out: {reason}")
    texts += part_words(summary)
    if not texts:
        return EMPTY
    return Markup('<div class="alarm" role="note"><strong>Look at this first</strong>{}</div>').format(bullets(texts))


def _numbers(summary: EvaluationSummary) -> Markup:
    official = [name for name in summary.metrics if name in summary.official]
    own = [name for name in summary.metrics if name not in summary.official and not name.startswith("sampled_")]
    sampled = [name for name in summary.metrics if name not in summary.official and name.startswith("sampled_")]
    pool = "Verdicts of all members, as one pool" if summary.members else "Sampled judgments"
    titled = {"The benchmark's own numbers": official, "How it judges": own, pool: sampled}
    return EMPTY.join(_table(summary, title, names) for title, names in titled.items() if names)


def _table(summary: EvaluationSummary, title: str, names: Sequence[str]) -> Markup:
    """Some of the numbers, beside those of the baselines that have any of them."""
    beside = [who for who, metrics in summary.baselines.items() if any(name in metrics for name in names)]
    rows = [_number(summary, name, beside) for name in names]
    return table(["", summary.who, "n", *beside], rows, title)


def _number(summary: EvaluationSummary, name: str, beside: Sequence[str]) -> list[str]:
    value = summary.metrics[name]
    others = [estimated(summary.baselines[who].get(name)) for who in beside]
    return [metric_name(name), estimated(value), count(value["n"]), *others]


def _groups(summary: EvaluationSummary) -> Markup:
    if len(summary.groups) < 2:
        return EMPTY
    names, longer = group_metrics(summary), ["longer picked"] if summary.longer else []
    rows = [
        [group, items_of(metrics), *(estimated(metrics.get(name)) for name in names), *longer_in(summary, group)]
        for group, metrics in summary.groups.items()
    ]
    return table(["subset", "n", *(SHORT.get(name, metric_name(name)) for name in names), *longer], rows)


def _order(summary: EvaluationSummary) -> Markup:
    parts: dict[str, Metrics] = {"all": summary.metrics, **(summary.groups if len(summary.groups) > 1 else {})}
    chart = order_chart("order", parts)
    return figure(chart, ORDER) if chart else EMPTY


def _lengths(bins: Sequence[Bin]) -> Markup:
    if len(bins) < 2:
        return EMPTY
    chart = line_chart(
        "length", [_line("accuracy", bins)], "length of the better answer, log2 ratio", "accuracy",
        each_x=False, shares=True,
    )
    return figure(chart, LENGTH)


def _calibration(bins: Sequence[Bin]) -> Markup:
    if len(bins) < 2:
        return EMPTY
    ends = (bins[0].at, bins[-1].at)
    lines = [_line("share that is right", bins), Line("as sure as it says", ends, ends, reference=True)]
    chart = line_chart("calibration", lines, "how sure", "share that is right", each_x=False, shares=True)
    return figure(chart, CALIBRATION)


def _line(label: str, bins: Sequence[Bin]) -> Line:
    errors = tuple(Z95 * (found.stderr or 0.0) for found in bins)
    return Line(label, tuple(found.at for found in bins), tuple(found.mean for found in bins), errors)


def _spent(summary: EvaluationSummary) -> Markup:
    spent = summary.spent
    if not spent.requests and not spent.reused:
        return paragraphs([f"No model was asked; it took {duration(spent.seconds)}."])
    dollars = NONE if not spent.cost else cost(spent.cost) + (" at the most" if spent.unpriced else "")
    cells = [
        ["requests sent", count(spent.requests)], ["replies from the journal", count(spent.reused)],
        ["prompt tokens", count(spent.prompt_tokens)], ["completion tokens", count(spent.completion_tokens)],
        ["cost", dollars], ["time", duration(spent.seconds)],
    ]
    return table(["", "so far"], cells)
