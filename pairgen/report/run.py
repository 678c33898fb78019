"""The report of a run of the loop: what it gained and at what price, with the rows to look at."""

from markupsafe import Markup

from pairgen.report.curves import agreement_chart, curves_lead, metric_curves, training_charts
from pairgen.report.flows import flow_tables, price
from pairgen.report.headline import headline, metric_name
from pairgen.report.html import EMPTY, Section, bullets, page, paragraphs, table, verbatim
from pairgen.report.inside import inside_table
from pairgen.report.numbers import count, estimated
from pairgen.report.samples import sample_blocks
from pairgen.report.summary import RunSummary, Suite

INSIDE = (
    "Pairs whose judgments are all right or all wrong teach little. Classes are the kept rows by verdict, "
    "before and after balancing. The length gap is chosen minus rejected, in tokens."
)


def run_report(run: RunSummary) -> str:
    """The report as one HTML file. Sections with nothing to show are left out."""
    config = verbatim(run.config) if run.config.strip() else EMPTY
    parts = [
        Section("In short", _short(run)),
        Section("By iteration", _by_iteration(run), "Means with one standard error."),
        Section("Learning curves", metric_curves(run, goal=True), curves_lead(run)),
        Section("What else changed", metric_curves(run, goal=False), "Skills the loop should not touch."),
        Section("Inside the loop", inside_table(run) + agreement_chart(run), INSIDE),
        Section("Training", training_charts(run)),
        Section("Rows in, rows out", flow_tables(run.flows), "Rows that left are kept with their reason."),
        Section("Time and tokens", price(run)),
        Section("Samples", sample_blocks(run), "Pairs, and what the judge said of them."),
        Section("Configuration", config),
    ]
    subtitle = f"{run.command} · pairgen {run.code_version}"
    return page(run.title, [part for part in parts if part.body], subtitle)


def _short(run: RunSummary) -> Markup:
    found = headline(run)
    groups = [
        ("Gained", found.better, "Nothing rose clearly."),
        ("Got worse", found.worse, "Nothing fell clearly."),
        ("Cannot be told from no change", found.unclear, ""),
    ]
    blocks = [
        Markup("<h3>{}</h3>{}").format(title, bullets(texts) or paragraphs([otherwise]))
        for title, texts, otherwise in groups if texts or otherwise
    ]
    if not run.changes:
        blocks = [paragraphs(["No two iterations were compared."])]
    return _alarms(run) + EMPTY.join(blocks)


def _alarms(run: RunSummary) -> Markup:
    if not run.alarms:
        return EMPTY
    return Markup('<div class="alarm" role="note"><strong>Look at this first</strong>{}</div>').format(
        bullets(run.alarms)
    )


def _by_iteration(run: RunSummary) -> Markup:
    blocks = [
        table(
            ["iteration", *(metric_name(metric) for metric in suite.metrics)],
            [
                [iteration.iteration, *(estimated(iteration.estimate(suite.id, m)) for m in suite.metrics)]
                for iteration in run.iterations if suite.id in iteration.metrics
            ],
            suite.title + _items(run, suite),
        )
        for suite in run.suites
    ]
    return EMPTY.join(blocks)


def _items(run: RunSummary, suite: Suite) -> str:
    """How many items stand behind the numbers, where that is the same in every iteration."""
    found = [iteration.estimate(suite.id, suite.metrics[0]) for iteration in run.iterations]
    sizes = {(value["n"], value["unscored"]) for value in found if value}
    if len(sizes) != 1:
        return ""
    n, unscored = sizes.pop()
    return f" ({count(n)} items" + (f", {count(unscored)} more unscored)" if unscored else ")")
