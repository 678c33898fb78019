"""The audit of one dataset: chunks stream through the measures into a table, and summaries are drawn from it.

Reading and sampling happen here, measuring in workers, and the numbers of all rows on disk; texts are held only
while their chunk is in flight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pairgen.audit import contrast, hygiene, signal, style, tokens
from pairgen.audit.columns import Measure
from pairgen.audit.groups import Groups
from pairgen.audit.read import Source, open_source
from pairgen.audit.sample import Sample, scatter
from pairgen.audit.stats import histogram, stat
from pairgen.audit.summary import DatasetAudit, Histogram, Stat
from pairgen.audit.table import Table
from pairgen.audit.verdict import findings
from pairgen.audit.workers import measured

HISTOGRAM_BINS = 48


@dataclass(frozen=True, slots=True)
class Options:
    """How an audit is made. `workers` are the cores there are, `spill` where the numbers of rows are kept
    meanwhile; both change no number. `also` are further measures for the workers."""

    tokenizer: str = tokens.DEFAULT
    seed: int = 0
    workers: int | None = None
    spill: Path | None = None
    also: tuple[Measure, ...] = ()


@dataclass(frozen=True, slots=True)
class Audited:
    """A dataset's audit and the numbers of its rows, in the order of the source."""

    summary: DatasetAudit
    table: Table


def measures(options: Options) -> tuple[Measure, ...]:
    """Everything that is measured of a chunk, in the order of the columns."""
    return (
        partial(contrast.contrast, tokenizer=options.tokenizer),
        contrast.scores,
        *style.MEASURES,
        *hygiene.MEASURES,
        *options.also,
    )


def audit(source: Source, options: Options | None = None, told: Callable[[int], None] = lambda rows: None,
          beside: Sequence[Measure] = ()) -> Audited:
    """Audit an opened dataset. `told` hears how many rows are read; `beside` are measures that stay in this
    process (a model). Raises UsageError for a source without pairs or an unknown tokenizer, Stopped for a dead
    worker."""
    options = options or Options()
    tokenizer = tokens.describe(options.tokenizer)
    table, sample, groups = Table(options.spill), Sample(tuple(hygiene.FLAGS)), Groups()
    for done in measured(source.chunks(), measures(options), options.workers):
        found = done.found
        for measure in beside:
            found |= measure(done.chunk)
        table.add(found | groups.numbered(done.chunk))
        sample.take(done)
        told(source.rows)
    table.join(hygiene.repeats(table))
    return Audited(_summary(source, tokenizer, options, table, sample, groups), table)


def flagged(path: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """The row numbers in a file that each of some flags is set for."""
    table = audit(open_source(str(path))).table
    rows = table.column("row")
    return {name: rows[table.column(name) > 0].astype(int).tolist() for name in names}


def _summary(source: Source, tokenizer: str, options: Options, table: Table, sample: Sample,
             groups: Groups) -> DatasetAudit:
    contrasts, drawn = _summed(table, contrast.LABELS)
    scores, scores_drawn = _summed(table, contrast.SCORES)
    found = DatasetAudit(
        name=source.name, path=source.path, format=source.format, rows=source.rows, pairs=len(table),
        tokenizer=tokenizer, bad=dict(source.bad), bad_rows=tuple(source.bad_rows),
        contrast=contrasts, groups=groups.summary(table, contrast.LABELS),
        biases=signal.biases(table), predictability=signal.predictability(table, options.seed),
        scores=scores, hygiene=hygiene.rates(table), languages={}, model=(), model_rates=(), advice=(),
        histograms=(*drawn, *scores_drawn),
        scatter=scatter(table.columns, "jaccard", "levenshtein", contrast.LABELS),
        examples=sample.examples(), findings=(),
    )
    return replace(found, findings=findings(found))


def _summed(table: Table, labels: dict[str, str]) -> tuple[tuple[Stat, ...], tuple[Histogram, ...]]:
    """Each column with any value summed up and drawn."""
    stats, drawn = [], []
    for name, label in labels.items():
        values = table.column(name)
        if np.isfinite(values).any():
            stats.append(stat(name, label, values))
            drawn.append(histogram(name, label, values, HISTOGRAM_BINS))
    return tuple(stats), tuple(drawn)
