"""The same numbers as tables for a terminal. Model text is shown, never obeyed: nothing in it can move
the cursor, make a link or be read as markup.
"""

from collections.abc import Sequence
from typing import Literal

from rich.table import Table
from rich.text import Text

from pairgen.report.flows import paid
from pairgen.report.headline import headline
from pairgen.report.numbers import count, estimated, share
from pairgen.report.summary import RunSummary, StepFlow
from pairgen.report.text import Piece, diff_words, one_line, visible


def plain(text: str, style: str = "") -> Text:
    """Model text for the terminal, as it reads."""
    return Text(visible(text), style=style)


SHORT = {"consistent_accuracy": "consistent", "answer_accuracy": "right"}
"""Column heads that fit eighty columns; *consistent* is right in both orders."""


def iteration_table(run: RunSummary) -> Table:
    """The table a run ends with: a row an iteration, the headline of every suite, the rows trained on."""
    heads = [f"{s.id}: {SHORT.get(s.metrics[0], s.metrics[0])}" for s in run.suites]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("it", *heads, "agree", "kept"):
        table.add_column(Text(one_line(head)), justify="left" if head == "it" else "right", overflow="fold")
    for iteration in run.iterations:
        loop = iteration.loop
        agreement = list(loop.agreement.values()) if loop else []
        table.add_row(
            Text(str(iteration.iteration)),
            *(Text(estimated(iteration.estimate(s.id, s.metrics[0])).replace(" ± ", "±")) for s in run.suites),
            Text(share(sum(agreement) / len(agreement) if agreement else None)),
            Text(count(loop.rows_kept if loop else None)),
        )
    return table


def headline_text(run: RunSummary) -> Text:
    """What a run did, in plain words, each line led by + - or ~."""
    found = headline(run)
    marked = [("+", "green", found.better), ("-", "red", found.worse), ("~", "dim", found.unclear)]
    lines = [Text(f"{mark} {visible(said)}", style) for mark, style, texts in marked for said in texts]
    lines += [Text(f"! {visible(alarm)}", "yellow") for alarm in run.alarms]
    return Text("\n").join(lines or [Text("No two iterations were compared.")])


def reference_text(run: RunSummary) -> Text:
    """The recorded study beside this run: a line for each curve of a goal's headline metric."""
    if run.reference is None:
        return Text()
    goals = {(suite.id, suite.metrics[0]) for suite in run.suites if suite.goal}
    lines = [
        f"  {curve.name}, {curve.suite} {SHORT.get(curve.metric, curve.metric)}: "
        + " ".join(f"{point.mean:.3f}" for point in sorted(curve.points, key=lambda point: point.iteration))
        for curve in run.reference.curves if (curve.suite, curve.metric) in goals
    ]
    return Text("\n".join([visible(run.reference.title), *map(visible, lines)]), "dim") if lines else Text()


def flow_table(flows: Sequence[StepFlow]) -> Table:
    """Rows in, rows out and why rows left, a row a step."""
    table = _table(["step", "rows in", "rows out", "cost", "dropped"], left={0, 4})
    for flow in flows:
        reasons = sorted(flow.drops.items(), key=lambda item: -item[1])
        said = ", ".join(f"{one_line(reason, 40)} {count(n)}" for reason, n in reasons)
        table.add_row(
            Text(one_line(flow.step, 40)), Text(count(flow.rows_in)), Text(count(flow.rows_out)),
            Text(paid([flow])), Text(said),
        )
    return table


def word_diff_text(left: str, right: str) -> tuple[Text, Text]:
    """Both texts, with what only the left has in green and what only the right has struck out in red."""
    diff = diff_words(left, right)
    return _pieces(diff.left, "green", diff.cut), _pieces(diff.right, "red strike", diff.cut)


def diff_table(left: str, right: str, left_title: str = "chosen", right_title: str = "rejected") -> Table:
    """Both texts side by side."""
    table = _table([left_title, right_title], left={0, 1})
    table.add_row(*word_diff_text(left, right))
    return table


def _pieces(pieces: Sequence[Piece], style: str, cut: bool) -> Text:
    text = Text()
    for piece in pieces:
        text.append(piece.text, style if piece.kind == "only" else None)
    return text.append(" … (cut)", "dim") if cut else text


def _table(columns: Sequence[str], left: frozenset[int] | set[int] = frozenset({0})) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index in left else "right"
        table.add_column(Text(one_line(column)), justify=justify, overflow="fold")
    return table
