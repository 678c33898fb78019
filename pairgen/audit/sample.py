"""What a report shows of the rows themselves: a few pairs to look at and points to draw, picked as rows stream by.

Which rows are picked depends on what they say alone, so a dataset in another order shows the same ones; rows
that say the same stand for one another. Memory holds a few dozen pairs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Measured, Numbers
from pairgen.audit.scan import mixed
from pairgen.audit.summary import Example, Scatter
from pairgen.audit.workers import Done

MOST, LEAST, DRAWN = "most contrastive", "least contrastive", "drawn at random"
KEPT = {MOST: 12, LEAST: 12, DRAWN: 12}
FLAGGED = 2
"""Rows kept of each hygiene flag."""
POINTS = 2000
TEXT_CHARS, PROMPT_CHARS = 4000, 2000

Hashes = NDArray[np.uint64]
Rank = tuple[float, int]


@dataclass(slots=True)
class Sample:
    """Pairs to look at. Most contrastive are those that differ while sharing most of their tokens, as CLAIR's."""

    flags: tuple[str, ...] = ()
    _kept: dict[str, dict[Rank, Example]] = field(default_factory=lambda: {why: {} for why in KEPT})
    _flagged: dict[str, list[Example]] = field(default_factory=dict)

    def take(self, done: Done) -> None:
        """Consider a chunk."""
        content = content_hash(done.found)
        for why, values in _values(done.found, content).items():
            self._consider(why, values, content, done)
        for flag in self.flags:
            shown = self._flagged.setdefault(flag, [])
            if len(shown) < FLAGGED and flag in done.found:
                rows = np.flatnonzero(done.found[flag].astype(np.float64) > 0)[: FLAGGED - len(shown)]
                shown += [_example(done, row, flag) for row in rows.tolist()]

    def examples(self) -> tuple[Example, ...]:
        """What was picked, best first for each reason."""
        picked = [kept[rank] for kept in self._kept.values() for rank in sorted(kept)]
        return (*picked, *(example for flagged in self._flagged.values() for example in flagged))

    def _consider(self, why: str, values: Numbers, content: Hashes, done: Done) -> None:
        """Keep the rows with the smallest values; equal texts have the same rank and are kept once."""
        kept, bound = self._kept[why], math.inf
        for row in np.lexsort((content, values)).tolist():
            rank = (float(values[row]), int(content[row]))
            if len(kept) == KEPT[why]:
                bound = max(kept)[0]
            if math.isnan(rank[0]) or rank[0] > bound:
                break
            kept.setdefault(rank, _example(done, row, why))
            if len(kept) > KEPT[why]:
                del kept[max(kept)]


def _values(found: Measured, content: Hashes) -> dict[str, Numbers]:
    """What each row is ranked by, `[N]`, smallest first; nan for rows that do not come into question."""
    jaccard = found["jaccard"].astype(np.float64)
    texts = found["chosen_chars"].astype(bool) & found["rejected_chars"].astype(bool)
    return {
        MOST: np.where(texts & found["levenshtein"].astype(bool), -jaccard, np.nan),
        LEAST: np.where(texts, jaccard, np.nan),
        DRAWN: content.astype(np.float64),
    }


def _example(done: Done, row: int, why: str) -> Example:
    chunk, found = done.chunk, done.found
    return Example(
        why, int(chunk.rows[row]), chunk.groups[row], _cut(chunk.prompts[row], PROMPT_CHARS),
        _cut(chunk.chosen[row], TEXT_CHARS), _cut(chunk.rejected[row], TEXT_CHARS),
        float(found["jaccard"][row]), int(found["levenshtein"][row]), float(found["len_ratio"][row]),
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def content_hash(columns: Mapping[str, NDArray[np.generic]]) -> Hashes:
    """One hash of prompt, chosen and rejected together, `[N]`."""
    prompt, chosen, rejected = (columns[f"{side}_hash"].astype(np.uint64) for side in ("prompt", "chosen", "rejected"))
    return mixed(mixed(mixed(prompt) + chosen) + rejected)


def scatter(columns: Mapping[str, NDArray[np.generic]], x: str, y: str, labels: Mapping[str, str]) -> Scatter:
    """Two columns of at most `POINTS` rows, those whose content hashes lowest."""
    content = content_hash(columns)
    rows = np.sort(np.argpartition(content, POINTS)[:POINTS]) if len(content) > POINTS else slice(None)
    points = [tuple(columns[name][rows].astype(np.float64).tolist()) for name in (x, y)]
    return Scatter(labels[x], labels[y], *points)
