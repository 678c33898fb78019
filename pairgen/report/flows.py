"""Where the rows went and what they cost."""

from collections.abc import Sequence

from markupsafe import Markup

from pairgen.report.charts import Bars, bar_chart
from pairgen.report.html import EMPTY, figure, figures, table
from pairgen.report.numbers import NONE, cost, count, duration
from pairgen.report.summary import LoopRecord, RunSummary, StepFlow


def flow_tables(flows: Sequence[StepFlow]) -> Markup:
    """Rows in and out of every step that makes rows, and why rows left."""
    flows = [flow for flow in flows if not flow.evaluation]
    if not flows:
        return EMPTY
    rows = [[f.step, count(f.rows_in), count(f.rows_out), count(sum(f.drops.values()))] for f in flows]
    reasons = [
        [flow.step, reason, count(n)]
        for flow in flows for reason, n in sorted(flow.drops.items(), key=lambda item: -item[1])
    ]
    dropped = table(["step", "reason", "rows"], reasons, "Why rows left", texts=2) if reasons else EMPTY
    return table(["step", "rows in", "rows out", "dropped"], rows) + dropped


def price(run: RunSummary) -> Markup:
    """Time and tokens by phase, and what every step bought."""
    loops = [(f"{i.iteration}", i.loop) for i in run.iterations if i.loop is not None]
    phases = list(dict.fromkeys(name for _, loop in loops for name in loop.seconds))
    blocks = []
    if phases:
        layers = [Bars(name, tuple(loop.seconds.get(name, 0.0) for _, loop in loops)) for name in phases]
        chart = bar_chart("seconds", [at for at, _ in loops], layers, "iteration", "seconds")
        blocks.append(figures([figure(chart, "Time by phase")]))
        blocks.append(_phase_table(loops, phases))
    bought = [flow for flow in run.flows if flow.requests or flow.reused]
    return EMPTY.join(blocks) + (_usage(run) if bought else EMPTY)


def _phase_table(loops: Sequence[tuple[str, LoopRecord]], phases: Sequence[str]) -> Markup:
    rows = [
        [at, *(_spent(loop, name) for name in phases), duration(sum(loop.seconds.values()))]
        for at, loop in loops
    ]
    return table(["iteration", *phases, "together"], rows, "Time, and tokens written, by phase")


def _spent(loop: LoopRecord, phase: str) -> str:
    tokens = f" · {count(loop.tokens[phase])} tok" if phase in loop.tokens else ""
    return duration(loop.seconds.get(phase)) + tokens


def _usage(run: RunSummary) -> Markup:
    bought = [flow for flow in run.flows if flow.requests or flow.reused]
    rows = [_bought(flow.step, [flow]) for flow in bought]
    if len(bought) > 1:
        rows.append(_bought("together", bought))
    columns = ["step", "requests sent", "samples reused", "prompt tokens", "tokens written", "time", "cost"]
    return table(columns, rows, "What answering took")


def _bought(name: str, flows: Sequence[StepFlow]) -> list[str]:
    seconds = [flow.seconds for flow in flows if flow.seconds is not None]
    return [
        name, count(sum(f.requests for f in flows)), count(sum(f.reused for f in flows)),
        count(sum(f.prompt_tokens for f in flows)), count(sum(f.completion_tokens for f in flows)),
        duration(sum(seconds) if seconds else None), paid(flows),
    ]


def paid(flows: Sequence[StepFlow]) -> str:
    """`$1.234`; `at most` where some prices are not known, `unknown` where none is."""
    dollars, unpriced = sum(flow.cost for flow in flows), sum(flow.unpriced for flow in flows)
    if not dollars:
        return "unknown" if unpriced else NONE
    return cost(dollars) + (" at most" if unpriced else "")
