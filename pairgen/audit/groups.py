"""Rows by source or category: numbered as they stream by, summed up from the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pairgen.audit.columns import Columns, Measured
from pairgen.audit.stats import stat
from pairgen.audit.summary import Group
from pairgen.audit.table import Table

COLUMN = "group"
SHOWN = 40
"""Groups summed up, the largest."""
NAMES = 10_000
"""Names kept; rows of further ones are in no group."""


@dataclass(slots=True)
class Groups:
    """The names of groups by number, in order of appearance; -1 is no group."""

    names: dict[str, int] = field(default_factory=dict)

    def numbered(self, chunk: Columns) -> Measured:
        """The column of group numbers of a chunk."""
        return {COLUMN: np.array([self._number(name) for name in chunk.groups], np.float64)}

    def _number(self, name: str) -> int:
        if name not in self.names and len(self.names) < NAMES:
            self.names[name] = len(self.names)
        return self.names.get(name, -1)

    def summary(self, table: Table, labels: Mapping[str, str]) -> tuple[Group, ...]:
        """The largest groups, largest first; nothing where rows are not told apart."""
        if len(self.names) < 2:
            return ()
        numbers = table.column(COLUMN).astype(np.int64)
        sizes = np.bincount(numbers[numbers >= 0], minlength=len(self.names))
        names = list(self.names)
        largest = np.argsort(-sizes, kind="stable")[:SHOWN].tolist()
        rows = {group: np.flatnonzero(numbers == group) for group in largest}
        columns = {name: table.column(name) for name in labels}
        return tuple(
            Group(names[g], int(sizes[g]), tuple(stat(n, labels[n], c[rows[g]]) for n, c in columns.items()))
            for g in largest
        )
