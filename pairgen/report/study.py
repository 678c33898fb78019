"""The report of a comparison of objectives: which is better at what, and what becomes of good and bad judgments."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from pairgen.fingerprint import JSON
from pairgen.report.charts import Line, line_chart
from pairgen.report.flows import flow_tables
from pairgen.report.headline import metric_name
from pairgen.report.html import EMPTY, Section, bullets, figure, figures, page, table, verbatim
from pairgen.report.numbers import NONE, count, duration, number, points
from pairgen.report.study_summary import ArmSummary, Cell, Curve, Gain, StudySummary
from pairgen.report.summary import Suite
from pairgen.report.terminal import SHORT
from pairgen.report.text import one_line, visible

LEAD = "Means over seeds and items; intervals of 95 % resample both. Every arm read the same rows for as many steps."
CALLED = {"consistent_accuracy": "right in both orders"}
"""Names that fit a sentence."""
CURVES = (
    "Log-prob of held-out judgments that nobody trained on, since before the first step: those that agree with the "
    "construction (good) and those that do not (bad). Bars reach from the lowest to the highest seed."
)


def study_report(found: StudySummary) -> str:
    """The comparison as one HTML file."""
    parts = [
        Section("In short", bullets(sentences(found)), "What the intervals allow to say, on the same items and seeds."),
        Section("By objective", _tables(found), LEAD),
        Section("Good and bad judgments", _curves(found), CURVES + f" {count(found.probe_rows)} pairs of judgments."),
        Section("Trainings", _trainings(found)),
        Section("Rows in, rows out", flow_tables(found.flows), "Rows that left are kept with their reason."),
        Section("Configuration", verbatim(found.config) if found.config.strip() else EMPTY),
    ]
    return page(found.title, [part for part in parts if part.body], f"{found.command} · pairgen {found.code_version}")


def sentences(found: StudySummary) -> list[str]:
    """What is clear of every arm: against the untrained model, then against the first arm."""
    said = [_sentence(found, gain) for gain in found.gains if _clear(gain)]
    unclear, of = len(found.gains) - len(said), len(found.gains)
    return said + ([f"{unclear} of {of} comparisons cannot be told from no difference."] if unclear else [])


def _clear(gain: Gain) -> bool:
    return gain.difference.low > 0 or gain.difference.high < 0


def _sentence(found: StudySummary, gain: Gain) -> str:
    d, suite = gain.difference, next(s for s in found.suites if s.id == gain.suite)
    how = "better" if d.diff > 0 else "worse"
    metric = CALLED.get(gain.metric, metric_name(gain.metric))
    return (
        f"{gain.arm} is {how} than {gain.versus} on {suite.title}: {metric} {points(d.diff)} points (95 % interval "
        f"{points(d.low)} to {points(d.high)}, {count(d.n)} items)."
    )


def _tables(found: StudySummary) -> Markup:
    return EMPTY.join(_table(found.arms, suite) for suite in found.suites)


def _table(arms: Sequence[ArmSummary], suite: Suite) -> Markup:
    first, *others = suite.metrics
    heads = ["objective", metric_name(first), "each seed", *map(metric_name, others)]
    rows = [
        [arm.name, _cell(arm.cells.get((suite.id, first))), _each(arm, suite),
         *(_cell(arm.cells.get((suite.id, m))) for m in others)]
        for arm in arms
    ]
    n = max((cell.n for arm in arms for key, cell in arm.cells.items() if key[0] == suite.id), default=0)
    return table(heads, rows, f"{suite.title} ({count(n)} items)")


def _cell(cell: Cell | None) -> str:
    return NONE if cell is None else f"{number(cell.mean)} [{number(cell.low)}, {number(cell.high)}]"


def _each(arm: ArmSummary, suite: Suite) -> str:
    cell = arm.cells.get((suite.id, suite.metrics[0]))
    return " ".join(number(value) for value in cell.seeds) if cell and arm.seeds else NONE


def _curves(found: StudySummary) -> Markup:
    drawn = [
        figure(line_chart(f"probe{i}", lines, "step", "log-prob per judgment, change", each_x=False), _caption(arm))
        for i, arm in enumerate(found.arms)
        if (lines := [_line(name, c) for name, c in (("good judgments", arm.good), ("bad judgments", arm.bad)) if c])
    ]
    return figures(drawn) if drawn else EMPTY


def _line(name: str, curve: Curve) -> Line:
    spread = zip(curve.low, curve.high, strict=True)
    return Line(name, curve.steps, curve.middle, tuple((high - low) / 2 for low, high in spread))


def _caption(arm: ArmSummary) -> str:
    """`rpo (dpo beta 0.1 + nll): good +0.31, bad -4.02`."""
    ends = [(name, c.middle[-1]) for name, c in (("good", arm.good), ("bad", arm.bad)) if c]
    objective = f" ({arm.objective})" if arm.objective != arm.name else ""
    return f"{arm.name}{objective}: " + ", ".join(f"{name} {value:+.2f}" for name, value in ends)


def _trainings(found: StudySummary) -> Markup:
    heads = ["objective", "loss", "learning rate", "rows", "steps", "tokens", "seconds a training", "seeds"]
    rows = [
        [a.name, a.objective, f"{a.learning_rate:g}", count(a.rows), count(a.steps), count(a.tokens),
         duration(a.seconds), " ".join(map(str, a.seeds))]
        for a in found.arms if a.learning_rate is not None
    ]
    return table(heads, rows, texts=2) if rows else EMPTY


def study_table(found: StudySummary) -> Table:
    """The table a comparison ends with: a row an arm, the headline of every suite."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("objective", *(f"{s.id}: {SHORT.get(s.metrics[0], s.metrics[0])}" for s in found.suites)):
        made.add_column(Text(one_line(head)), justify="left" if head == "objective" else "right", overflow="fold")
    for arm in found.arms:
        cells = (arm.cells.get((s.id, s.metrics[0])) for s in found.suites)
        made.add_row(Text(one_line(arm.name)), *(Text(_narrow(cell)) for cell in cells))
    return made


def _narrow(cell: Cell | None) -> str:
    """`.760 .728–.781`: four of them beside a name fit eighty columns."""
    if cell is None:
        return NONE
    mean, low, high = (number(value).removeprefix("0") for value in (cell.mean, cell.low, cell.high))
    return f"{mean} {low}–{high}"


def study_text(found: StudySummary) -> Text:
    """What is clear, a line each, and how good and bad judgments moved."""
    moved = [f"log-probs of held-out judgments, {_caption(arm)}" for arm in found.arms if arm.good and arm.bad]
    return Text("\n").join(Text(visible(line)) for line in [*sentences(found), *moved])


def study_json(found: StudySummary) -> dict[str, JSON]:
    """The numbers for scripts."""
    arms: JSON = [
        {
            "name": arm.name, "objective": arm.objective, "learning_rate": arm.learning_rate, "seeds": list(arm.seeds),
            "metrics": {f"{suite}:{metric}": cast(JSON, asdict(c)) for (suite, metric), c in arm.cells.items()},
            "good": cast(JSON, arm.good and asdict(arm.good)), "bad": cast(JSON, arm.bad and asdict(arm.bad)),
        }
        for arm in found.arms
    ]
    return {"arms": arms, "gains": [cast(JSON, asdict(gain)) for gain in found.gains]}
