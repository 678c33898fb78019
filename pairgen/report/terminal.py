"""The same numbers as tables for a terminal. Model text is shown, never obeyed: nothing in it can move
the cursor, make a link or be read as markup.
"""

from collections.abc import Sequence
from typing import Literal

from rich.table import Table
from rich.text import Text

from pairgen.report.headline import headline, metric_name
from pairgen.report.numbers import cost, count, estimated, share
from pairgen.report.summary import RunSummary, StepFlow
from pairgen.report.text import Piece, diff_words, one_line, visible


def plain(text: str, style: str = "") -> Text:
    """Model text for the terminal, as it reads."""
    return Text(visible(text), style=style)


def iteration_table(run: RunSummary) -> Table:
    """The table a run ends with: a row an iteration, the headline of every suite, the rows trained on."""
    table = _table(["iteration", *(f"{s.title}: {metric_name(s.metrics[0])}" for s in run.suites),
                    "agreement", "rows kept"])
    for iteration in run.iterations:
        loop = iteration.loop
        agreement = list(loop.agreement.values()) if loop else []
        table.add_row(
            Text(str(iteration.iteration)),
            *(Text(estimated(iteration.estimate(s.id, s.metrics[0]))) for s in run.suites),
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


def flow_table(flows: Sequence[StepFlow]) -> Table:
    """Rows in, rows out and why rows left, a row a step."""
    table = _table(["step", "rows in", "rows out", "cost", "dropped"], left={0, 4})
    for flow in flows:
        reasons = sorted(flow.drops.items(), key=lambda item: -item[1])
        said = ", ".join(f"{one_line(reason, 40)} {count(n)}" for reason, n in reasons)
        table.add_row(
            Text(one_line(flow.step, 40)), Text(count(flow.rows_in)), Text(count(flow.rows_out)),
            Text(cost(flow.cost)), Text(said),
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
