"""The report of an audit as one HTML file: the verdict first, then what it rests on, then pairs to look at."""

import shlex

from markupsafe import Markup

from pairgen.audit.summary import TABLE_1, Audit, DatasetAudit
from pairgen.report.audit_figures import distributions, length, scatter, style
from pairgen.report.audit_rows import Block, Datasets, blocks, groups
from pairgen.report.browse import browser
from pairgen.report.html import EMPTY, Section, bullets, folded, page, paragraphs, render, table, verbatim
from pairgen.report.measures import named, percent, plain_number, unlike
from pairgen.report.numbers import NONE, count, duration
from pairgen.report.text import one_line, visible

WORDS = {"bad": "bad", "warn": "mind", "note": "note", "good": "good"}
BAD_ROWS = 40
"""Unreadable rows of a dataset that are shown."""

SCALE = (
    "Table 1 of the CLAIR and APO paper beside these datasets, means over pairs. The paper's tokenizer was never "
    "published and a tokenizer alone moves Jaccard by a fifth, so it is for scale only. More overlap and fewer edits "
    "mean that less differs besides what was meant to."
)
OVERLAID = "Datasets over each other, each as shares of its own pairs."
POINTS = "Each point is a pair, of a sample of each dataset."
LENGTH = "Where one side is longer most of the time, models can learn length in place of what it stands for."
STYLE = (
    "An AUC of 0.50 says nothing about the label; away from it, the feature tells the sides apart without reading. "
    "Bars are 95 % intervals."
)
STYLES = ("Label without reading", "Style", "Weights")
BROWSE = "Words only the chosen answer has are green, words only the rejected one has are struck out."


def audit_report(audit: Audit) -> str:
    """The report as one HTML file. Sections with nothing to show are left out."""
    datasets = audit.datasets
    tables = {block.title: block for block in blocks(datasets)}
    look = browser(datasets)
    parts = [
        Section("Verdict", EMPTY.join(map(_verdict, datasets))),
        _tables("Contrast", tables, datasets, "Contrast"),
        Section("For scale", _scale(datasets), SCALE),
        Section("Distributions", distributions(datasets), OVERLAID),
        Section("Jaccard against Levenshtein", scatter(datasets), POINTS),
        Section("Length", length(datasets), LENGTH),
        Section("Style", style(datasets) + _grids(tables, datasets, *STYLES), STYLE),
        _tables("Hygiene", tables, datasets, "Hygiene"),
        _tables("Scores and model", tables, datasets, "Scores", "Under the model"),
        Section("Groups", EMPTY.join(map(_groups, datasets)), "Means [95 % intervals] by source or category."),
        _tables("Languages", tables, datasets, "Languages"),
        Section("Pairs to look at", look.body, BROWSE),
        Section("Rows that are no pairs", _grids(tables, datasets, "Rows that are no pairs")
                + EMPTY.join(map(_bad_rows, datasets))),
        Section("How this was measured", _how(audit)),
    ]
    title = "Audit: " + ", ".join(unlike(datasets)) if datasets else "Audit"
    subtitle = f"{audit.command} · pairgen {audit.code_version}"
    return page(title, [part for part in parts if part.body], subtitle, look.style)


def _verdict(dataset: DatasetAudit) -> Markup:
    """Findings, worst first, and one command that does all that they advise."""
    lead = f"{count(dataset.pairs)} pairs of {count(dataset.rows)} rows, read as {dataset.format}."
    found = render("verdict.html", findings=dataset.findings, words=WORDS)
    expressions = list(dict.fromkeys(f.filter for f in dataset.findings if f.filter))
    every = EMPTY
    if len(expressions) > 1:
        both = shlex.quote(" and ".join(expressions))
        command = f"pairgen audit {shlex.quote(dataset.path)} --filter {both} --out cleaned/"
        every = folded("All of these filters at once", verbatim(command))
    return Markup("<h3>{}</h3>{}{}{}").format(visible(dataset.name), paragraphs([lead]), found, every)


def _tables(title: str, tables: dict[str, Block], datasets: Datasets, *wanted: str) -> Section:
    return Section(title, _grids(tables, datasets, *wanted))


def _grids(tables: dict[str, Block], datasets: Datasets, *wanted: str) -> Markup:
    heads = [f"{one_line(name)}\n{count(d.pairs)} pairs" for name, d in zip(unlike(datasets), datasets, strict=True)]
    return EMPTY.join(render("grid.html", block=tables[title], heads=heads) for title in wanted if title in tables)


def _scale(datasets: Datasets) -> Markup:
    rows = []
    for name, dataset in zip(unlike(datasets), datasets, strict=True):
        jaccard, edits = (named(dataset.contrast, measure) for measure in ("jaccard", "levenshtein"))
        if jaccard and edits:
            rows.append([name, plain_number(100 * jaccard.mean, 2), plain_number(edits.mean, 0), count(jaccard.n)])
    paper = [
        [f"paper: {one.name}", plain_number(100 * one.jaccard, 2), plain_number(one.levenshtein, 0), NONE]
        for one in TABLE_1
    ]
    return table(["dataset", "Jaccard ×100", "Levenshtein", "pairs"], rows + paper) if rows else EMPTY


def _groups(dataset: DatasetAudit) -> Markup:
    found = groups(dataset)
    if found is None:
        return EMPTY
    left = f"; {count(found.left)} smaller ones are left out" if found.left else ""
    return table(found.heads, found.rows, f"{dataset.name}, largest groups first{left}")


def _bad_rows(dataset: DatasetAudit) -> Markup:
    if not dataset.bad_rows:
        return EMPTY
    rows = [[count(bad.row), bad.reason, bad.detail] for bad in dataset.bad_rows[:BAD_ROWS]]
    return table(["row", "reason", "found"], rows, f"{dataset.name}: the first of each reason", texts=3)


def _how(audit: Audit) -> Markup:
    said = [
        f"{d.name}: {d.path}, read as {d.format}; tokens by {d.tokenizer}; "
        f"{percent(d.pairs, d.rows)} of {count(d.rows)} rows are pairs." for d in audit.datasets
    ]
    said += [f"{d.name}: {note}" for d in audit.datasets for note in d.notes]
    said.append("Intervals of means are bootstrap intervals over pairs, those of shares are Wilson's; all are at 95 %.")
    said.append(f"The audit took {duration(audit.seconds)}.")
    return bullets(said)
