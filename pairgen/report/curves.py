"""The charts of a run: metrics by iteration beside a recorded study, agreement in the loop, training."""

from markupsafe import Markup

from pairgen.report.charts import Z95, Line, line_chart
from pairgen.report.headline import metric_name
from pairgen.report.html import EMPTY, figure, figures
from pairgen.report.summary import ReferenceCurve, RunSummary, Suite


def curves_lead(run: RunSummary) -> str:
    """What the error bars and the dashed lines are."""
    lead = "Error bars are 95 % intervals of each iteration alone."
    if run.reference is None or not {curve.suite for curve in run.reference.curves} & {s.id for s in run.suites}:
        return lead
    return f"{lead} Dashed lines are from a recorded study: {run.reference.title}"


def metric_curves(run: RunSummary, goal: bool) -> Markup:
    """A chart for each goal suite, or for each of the others: its headline metric by iteration."""
    charts = [_curve(run, suite, index) for index, suite in enumerate(run.suites) if suite.goal is goal]
    drawn = [chart for chart in charts if chart]
    return figures(drawn) if drawn and len(run.iterations) > 1 else EMPTY


def _curve(run: RunSummary, suite: Suite, index: int) -> Markup:
    metric = suite.metrics[0]
    lines = [line for line in [_run_line(run, suite.id, metric)] if line.x]
    if not lines:
        return EMPTY
    curves = run.reference.curves if run.reference else ()
    lines += [_reference_line(c) for c in curves if (c.suite, c.metric) == (suite.id, metric)]
    shares = all(0 <= y <= 1 for line in lines for y in line.y)
    chart = line_chart(f"curve{index}", lines, "iteration", metric_name(metric), shares=shares)
    return figure(chart, suite.title)


def _run_line(run: RunSummary, suite: str, metric: str) -> Line:
    found = [(i.iteration, value) for i in run.iterations if (value := i.estimate(suite, metric))]
    scored = [(x, value["mean"], value["stderr"]) for x, value in found if value["mean"] is not None]
    return Line(
        "this run", tuple(float(x) for x, _, _ in scored), tuple(float(y or 0) for _, y, _ in scored),
        tuple(Z95 * (error or 0) for _, _, error in scored),
    )


def _reference_line(curve: ReferenceCurve) -> Line:
    return Line(
        curve.name, tuple(float(p.iteration) for p in curve.points), tuple(p.mean for p in curve.points),
        tuple(Z95 * (p.stderr or 0) for p in curve.points), reference=True,
    )


def training_charts(run: RunSummary) -> Markup:
    """Loss and learning rate by step, a line an iteration."""
    charts = [
        figure(line_chart(f"train{index}", lines, "step", name, each_x=False), caption)
        for index, (name, caption) in enumerate([("loss", "Training loss"), ("lr", "Learning rate")])
        if (lines := _logged(run, name))
    ]
    return figures(charts) if charts else EMPTY


def agreement_chart(run: RunSummary) -> Markup:
    """How often judgments in the loop agree with the construction, by order shown."""
    loops = [(float(i.iteration), i.loop.agreement) for i in run.iterations if i.loop is not None]
    orders = sorted({order for _, agreement in loops for order in agreement})
    lines = []
    for order in orders:
        seen = [(x, agreement[order]) for x, agreement in loops if order in agreement]
        lines.append(Line(order.replace("_", " "), tuple(x for x, _ in seen), tuple(y for _, y in seen)))
    if not lines:
        return EMPTY
    chart = line_chart("agreement", lines, "iteration", "share of judgments that agree", shares=True)
    return figures([figure(chart, "Agreement with the construction, by order shown")])


def _logged(run: RunSummary, name: str) -> list[Line]:
    lines = []
    for iteration in run.iterations:
        seen = [(e["step"], e[name]) for e in iteration.training if "step" in e and name in e]
        if seen:
            steps, values = zip(*seen, strict=True)
            lines.append(Line(f"iteration {iteration.iteration}", steps, values))
    return lines


