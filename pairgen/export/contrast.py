"""How far apart the two sides of a dataset are, beside the four datasets of CLAIR's paper."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairgen.checks import contrast
from pairgen.records import Contrast, Pair, Preference

PAPER = (
    ("CLAIR", 43.11, 1108), ("on-policy judge", 39.06, 1258), ("off-policy judge", 18.05, 1203),
    ("stronger preferred", 24.35, 1607),
)
"""Mean Jaccard x 100 and mean Levenshtein distance, arXiv 2408.06266, Table 1."""


@dataclass
class ContrastTable:
    """Collects the contrast of pairs, 32 bytes each."""

    jaccard: "array[float]" = field(default_factory=lambda: array("d"))
    levenshtein: "array[float]" = field(default_factory=lambda: array("d"))
    normalised: "array[float]" = field(default_factory=lambda: array("d"))
    ratio: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, row: Any) -> None:
        """Count a pair or a preference; other rows have no contrast."""
        if isinstance(row, Pair):
            self._add(row.contrast, len(row.chosen), len(row.rejected))
        elif isinstance(row, Preference):
            chosen, rejected = row.chosen[-1].content, row.rejected[-1].content
            self._add(contrast(chosen, rejected), len(chosen), len(rejected))

    def _add(self, found: Contrast, chosen: int, rejected: int) -> None:
        self.jaccard.append(100 * found.jaccard)
        self.levenshtein.append(found.levenshtein)
        self.normalised.append(found.levenshtein / max(1, chosen, rejected))
        self.ratio.append(chosen / max(1, rejected))

    def rows(self) -> list[tuple[str, "Spread"]]:
        """Each metric's name and spread; nothing where no pair was counted."""
        named = (
            ("Jaccard x 100", self.jaccard), ("Levenshtein", self.levenshtein),
            ("Levenshtein / longer side", self.normalised), ("length, chosen / rejected", self.ratio),
        )
        return [(name, Spread.of(values)) for name, values in named if values]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median, and the values below which a tenth and nine tenths lie."""

    mean: float
    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        p10, median, p90 = (float(q) for q in np.quantile(values, (0.1, 0.5, 0.9)))
        return cls(float(np.mean(values)), median, p10, p90)
