"""The audit of one dataset: chunks stream through the measures into a table, and summaries are drawn from it.

Reading and sampling happen here, measuring in workers, and the numbers of all rows on disk; texts are held only
while their chunk is in flight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from pairgen.audit import contrast, duplicates, hygiene, languages, signal, style, tokens
from pairgen.audit.columns import Columns, Measure
from pairgen.audit.contamination import Overlap
from pairgen.audit.groups import Groups
from pairgen.audit.read import Source, open_source
from pairgen.audit.sample import Sample, content_hash, scatter
from pairgen.audit.stats import histogram, stat
from pairgen.audit.summary import DatasetAudit, Histogram, Stat
from pairgen.audit.table import Table
from pairgen.audit.verdict import findings
from pairgen.audit.workers import Done, measure, measured

HISTOGRAM_BINS = 48


@dataclass(frozen=True, slots=True)
class Options:
    """How an audit is made. `workers` are the cores there are, `spill` where the numbers of rows are kept
    meanwhile; both change no number. `against` is what the rows must not share runs of words with."""

    tokenizer: str = tokens.DEFAULT
    seed: int = 0
    workers: int | None = None
    spill: Path | None = None
    against: Overlap | None = None


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
        *duplicates.MEASURES,
        *([options.against] if options.against else ()),
    )


def audit(source: Source, options: Options | None = None, told: Callable[[int], None] = lambda rows: None) -> Audited:
    """Audit an opened dataset. `told` hears how many rows are read.

    Raises UsageError for a source without pairs or an unknown tokenizer, Stopped for a dead worker.
    """
    options = options or Options()
    streamed = _Streamed(tokens.describe(options.tokenizer), Table(options.spill, duplicates.COLUMNS))
    for done in measured(source.chunks(), measures(options), options.workers):
        streamed.take(done)
        told(source.rows)
    near = joined(streamed.table)
    found = _summary(source, options, streamed)
    found = replace(found, notes=(near, *found.notes))
    return Audited(replace(found, findings=findings(found)), streamed.table)


def joined(table: Table) -> str:
    """Give a full table the columns that need all rows. Says what the search for near duplicates looked at."""
    near = duplicates.near(table)
    table.join(hygiene.repeats(table))
    table.join(near.flags)
    return near.note


def columns(options: Options) -> tuple[str, ...]:
    """The columns that an audit will have, found by measuring one small pair."""
    table = Table(scratch=duplicates.COLUMNS)
    one = Columns(np.ones(1, np.int64), ["?"], ["!"], ["."], [""], np.ones(1), np.ones(1))
    table.add(measure(one, measures(options)) | Groups().numbered(one))
    joined(table)
    return table.names


def flagged(path: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """The row numbers in a file that each of some flags is set for."""
    table = audit(open_source(str(path))).table
    rows = table.column("row")
    return {name: rows[table.column(name) > 0].astype(int).tolist() for name in names}


@dataclass(slots=True)
class _Streamed:
    """What is gathered while a dataset streams by."""

    tokenizer: str
    table: Table
    groups: Groups = field(default_factory=Groups)
    sample: Sample = field(default_factory=lambda: Sample(tuple(hygiene.FLAGS)))
    heard: languages.Sample = field(default_factory=languages.Sample)

    def take(self, done: Done) -> None:
        """Add a chunk."""
        self.table.add(done.found | self.groups.numbered(done.chunk))
        self.sample.take(done)
        self.heard.take(done.chunk, content_hash(done.found))


def _summary(source: Source, options: Options, streamed: _Streamed) -> DatasetAudit:
    table, heard, against = streamed.table, streamed.heard.languages(), options.against
    contrasts, drawn = _summed(table, contrast.LABELS)
    scores, scores_drawn = _summed(table, contrast.SCORES)
    return DatasetAudit(
        name=source.name, path=source.path, format=source.format, rows=source.rows, pairs=len(table),
        tokenizer=streamed.tokenizer, bad=dict(source.bad), bad_rows=tuple(source.bad_rows),
        contrast=contrasts, groups=streamed.groups.summary(table, contrast.LABELS),
        biases=signal.biases(table), predictability=signal.predictability(table, options.seed),
        scores=scores, hygiene=(*hygiene.rates(table), *(against.rates(table) if against else ())),
        languages=heard.counts, model=(), model_rates=(), advice=(), histograms=(*drawn, *scores_drawn),
        scatter=scatter(table.columns, "jaccard", "levenshtein", contrast.LABELS),
        examples=streamed.sample.examples(), findings=(),
        notes=(heard.note, *([against.note] if against else ())),
    )


def _summed(table: Table, labels: dict[str, str]) -> tuple[tuple[Stat, ...], tuple[Histogram, ...]]:
    """Each column with any value summed up and drawn."""
    stats, drawn = [], []
    for name, label in labels.items():
        values = table.column(name)
        if np.isfinite(values).any():
            stats.append(stat(name, label, values))
            drawn.append(histogram(name, label, values, HISTOGRAM_BINS))
    return tuple(stats), tuple(drawn)
