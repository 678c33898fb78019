"""An audit for the terminal: findings first, then measures as rows and datasets as columns.

As many datasets stand side by side as the terminal is wide for; the others follow below.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from pairgen.audit.summary import TABLE_1, Audit, DatasetAudit
from pairgen.report.audit_rows import Block, Datasets, blocks, groups
from pairgen.report.measures import named, plain_number
from pairgen.report.numbers import NONE, count, duration
from pairgen.report.text import one_line, visible

MARKS = {"bad": ("✗", "bold red"), "warn": ("!", "yellow"), "note": ("·", "default"), "good": ("+", "green")}
GROUPS = 12
"""Groups of a dataset that the terminal shows."""

PAPER = "Paper: table 1 of CLAIR and APO. Its tokenizer was never published: for scale only."
LABEL, CELL = 24, 24
"""Columns of the terminal that a label and a cell are given before datasets go below each other."""


@dataclass(frozen=True, slots=True)
class AuditView:
    """`console.print(AuditView(audit))` prints the whole audit, as wide as the console."""

    audit: Audit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for dataset in self.audit.datasets:
            yield from _verdict(dataset)
        fit = max(1, (options.max_width - LABEL) // CELL)
        for start in range(0, len(self.audit.datasets), fit):
            together = self.audit.datasets[start : start + fit]
            for block in blocks(together):
                yield from _block(block, together)
        for dataset in self.audit.datasets:
            yield from _groups(dataset)
        yield from _scale(self.audit.datasets)
        yield from _notes(self.audit)


def _verdict(dataset: DatasetAudit) -> Iterator[RenderableType]:
    yield Text.assemble(
        (one_line(dataset.name), "bold"),
        f"  {count(dataset.pairs)} pairs of {count(dataset.rows)} rows, read as {one_line(dataset.format, 300)}",
    )
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for found in dataset.findings:
        mark, style = MARKS[found.level]
        text = Text.assemble((visible(found.title) + ". ", style), visible(found.text))
        if found.filter:
            text.append(f"\n--filter '{visible(found.filter)}'", "dim")
        grid.add_row(Text(mark, style), text)
    if not dataset.findings:
        grid.add_row(Text("·"), Text("Nothing to say."))
    yield grid
    yield Text()


def _block(block: Block, datasets: Datasets) -> Iterator[RenderableType]:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(one_line(block.title)), overflow="fold", ratio=None, max_width=LABEL + 8)
    for dataset in datasets:
        table.add_column(Text(one_line(dataset.name, 40)), justify="right", overflow="fold")
    for row in block.rows[: block.few]:
        table.add_row(Text(one_line(row.label, 60)), *(_cell(cell.main, cell.detail) for cell in row.cells))
    yield table
    left = len(block.rows) - block.few
    yield Text(visible(block.lead) + (f" The HTML report has {left} more." if left > 0 else ""), "dim")
    yield Text()


def _cell(main: str, detail: str) -> Text:
    text = Text(visible(main))
    return text.append(f"\n{visible(detail)}", "dim") if detail else text


def _groups(dataset: DatasetAudit) -> Iterator[RenderableType]:
    found = groups(dataset, GROUPS)
    if found is None:
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for at, head in enumerate(found.heads):
        label = f"{dataset.name}: {head}" if at == 0 else head
        table.add_column(Text(one_line(label, 40)), justify="right" if at else "left", overflow="fold")
    for row in found.rows:
        table.add_row(*(Text(one_line(cell, 40)) for cell in row))
    yield table
    yield Text(f"and {count(found.left)} smaller groups\n" if found.left else "", "dim")


def _scale(datasets: Datasets) -> Iterator[RenderableType]:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("For scale", "Jaccard ×100", "Levenshtein"):
        table.add_column(head, justify="left" if head == "For scale" else "right")
    for dataset in datasets:
        jaccard, edits = (named(dataset.contrast, name) for name in ("jaccard", "levenshtein"))
        table.add_row(
            Text(one_line(dataset.name, 40)), plain_number(100 * jaccard.mean, 2) if jaccard else NONE,
            plain_number(edits.mean, 0) if edits else NONE,
        )
    for paper in TABLE_1:
        table.add_row(
            Text(f"paper: {paper.name}", "dim"), plain_number(100 * paper.jaccard, 2),
            plain_number(paper.levenshtein, 0),
        )
    yield table
    yield Text(f"{PAPER}\n", "dim")


def _notes(audit: Audit) -> Iterator[RenderableType]:
    tokenizers = {one_line(dataset.tokenizer) for dataset in audit.datasets}
    yield Text(f"Tokens here: {', '.join(sorted(tokenizers))}. Took {duration(audit.seconds)}.", "dim")
    for dataset in audit.datasets:
        for note in dataset.notes:
            yield Text(visible(f"{dataset.name}: {note}"), "dim")
