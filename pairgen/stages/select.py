"""Keep the instructions worth training on: by category, complexity and length, then a seeded sample.

Self-Taught Evaluators keeps the category "reasoning" as "challenging inputs"; how it then sampled is
not published, so the sampling here is explicit: equal shares per category, seeded by content.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from pairgen.errors import nearest
from pairgen.parsers import CATEGORIES, LENGTHS
from pairgen.records import Drop, Instruction, content_id
from pairgen.stage import RowStage


class Select(RowStage):
    """Filter tagged instructions, then sample `n` of them.

    `stratify: category` gives each category the same share and hands what a small one cannot fill to
    the larger ones; `none` samples from all alike. Which rows are drawn depends on the seed and on
    each row's content, never on its place. A row without a tag fails every filter on that tag.
    """

    reads: ClassVar[type] = Instruction
    writes: ClassVar[type] = Instruction
    whole: ClassVar[bool] = True

    categories: tuple[str, ...] | None = None
    complexity: tuple[int, int] = (1, 10)
    lengths: tuple[str, ...] | None = None
    n: int | None = Field(default=None, ge=1)
    stratify: Literal["category", "none"] = "category"

    @field_validator("categories")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name not in CATEGORIES:
                raise ValueError(f"no category {name!r}: {nearest(name, CATEGORIES)}")
        return value

    @field_validator("lengths")
    @classmethod
    def _buckets(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name not in LENGTHS:
                raise ValueError(f"no length bucket {name!r}: {nearest(name, LENGTHS)}")
        return value

    @field_validator("complexity")
    @classmethod
    def _rising(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 10:
            raise ValueError("a range from 1 to 10, the lower end first")
        return value

    def run(self, rows: Iterator[Instruction]) -> Iterator[Instruction | Drop]:
        fitting = []
        for row in rows:
            reason = self._unfit(row)
            if reason is None:
                fitting.append(row)
            else:
                detail = f"{row.category}, {row.complexity}, {row.length}"
                yield Drop(row.id, self.id, reason, detail, failed=False)
        drawn = self._draw(fitting)
        for row in fitting:
            yield row if row.id in drawn else Drop(row.id, self.id, "not_sampled", failed=False)

    def _unfit(self, row: Instruction) -> str | None:
        if self.categories is not None and row.category not in self.categories:
            return "category"
        low, high = self.complexity
        if (low, high) != (1, 10) and (row.complexity is None or not low <= row.complexity <= high):
            return "complexity"
        if self.lengths is not None and row.length not in self.lengths:
            return "length"
        return None

    def _draw(self, rows: list[Instruction]) -> set[str]:
        if self.n is None or self.n >= len(rows):
            return {row.id for row in rows}
        strata: dict[str, list[Instruction]] = defaultdict(list)
        for row in rows:
            strata[str(row.category) if self.stratify == "category" else ""].append(row)
        shares = equal_shares({name: len(members) for name, members in strata.items()}, self.n)
        return {
            row.id
            for name, members in strata.items()
            for row in sorted(members, key=lambda r: content_id(str(self.seed), r.id))[: shares[name]]
        }


def equal_shares(sizes: dict[str, int], n: int) -> dict[str, int]:
    """Split `n` evenly over strata of the given sizes; smallest first, so what they lack goes round.

    >>> equal_shares({"a": 1, "b": 5, "c": 5}, 7)
    {'a': 1, 'b': 3, 'c': 3}
    """
    shares: dict[str, int] = {}
    left = n
    for rank, name in enumerate(sorted(sizes, key=lambda k: (sizes[k], k))):
        shares[name] = min(sizes[name], left // (len(sizes) - rank))
        left -= shares[name]
    return shares


STAGE = Select
