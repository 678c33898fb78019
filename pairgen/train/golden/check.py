"""Numbers side by side: theirs and ours, and how far apart an entry's worst is.

An entry is a name of a section. Its values over all rows count together.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pairgen.train.golden.names import Tolerance, Unknown, tolerance

BESIDE_OVERFLOW = Tolerance(1e-3, 1e-3)
"""For numbers of a row where their code overflowed: what keeps ours finite moves these a little."""

NOTHING: frozenset[str] = frozenset()

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """One value of the file beside ours; `where` names row and field.

    `overflow` marks a row where their code gave something that is no number. There is nothing to
    reproduce then, but ours must be finite.
    """

    where: str
    golden: float
    ours: float
    overflow: bool = False

    def deviation(self, allowed: Tolerance) -> float:
        """Relative deviation, set so that an absolute one of `allowed.tiny` comes to `allowed.rel`."""
        if not math.isfinite(self.ours):
            return math.inf
        if not math.isfinite(self.golden):
            return 0.0
        return abs(self.ours - self.golden) / max(abs(self.golden), allowed.tiny / allowed.rel)

    def ok(self, allowed: Tolerance) -> bool:
        """Whether ours is near enough."""
        allowed = BESIDE_OVERFLOW if self.overflow else allowed
        return self.deviation(allowed) <= allowed.rel


@dataclass(frozen=True, slots=True)
class Entry:
    """What one name of the file comes to: its numbers, or why there are none."""

    name: str
    numbers: tuple[Number, ...]
    unknown: str = ""

    @property
    def allowed(self) -> Tolerance:
        """How far off its numbers may be."""
        return tolerance(self.name)

    @property
    def compared(self) -> list[Number]:
        """The numbers there are to reproduce."""
        return [n for n in self.numbers if not n.overflow]

    @property
    def overflows(self) -> list[Number]:
        """Those of rows where their code overflowed, which ours does not reproduce."""
        allowed = self.allowed
        return [n for n in self.numbers if n.overflow and not (math.isfinite(n.golden) and n.deviation(allowed) == 0)]

    @property
    def worst(self) -> Number | None:
        """The number furthest off; one of an overflowing row only if it fails."""
        failing = [n for n in self.numbers if not n.ok(self.allowed)]
        return max(failing or self.compared, key=lambda n: n.deviation(self.allowed), default=None)

    @property
    def ok(self) -> bool:
        """Whether every number of it is understood and near enough."""
        return not self.unknown and all(n.ok(self.allowed) for n in self.numbers)


def compare(name: str, where: str, golden: Any, ours: Callable[[], Fields], inputs: frozenset[str] = NOTHING) -> Entry:
    """Every field of an entry that is not an input beside ours; a bare number is a loss."""
    fields: Fields = golden if isinstance(golden, dict) else {"loss": golden}
    try:
        numbers = list(_numbers(where, {k: v for k, v in fields.items() if k not in inputs}, ours()))
    except Unknown as error:
        return Entry(name, (), f"{where}: {error}" if where else str(error))
    overflow = not all(math.isfinite(n.golden) for n in numbers)
    return Entry(name, tuple(Number(n.where, n.golden, n.ours, overflow) for n in numbers))


def _numbers(where: str, golden: Fields, ours: Fields) -> Iterator[Number]:
    for key, value in golden.items():
        place = f"{where} {key}".strip()
        if key not in ours:
            raise Unknown(f"no counterpart for the field {key!r}")
        if isinstance(value, dict):
            yield from _numbers(place, value, ours[key])
        elif isinstance(value, list):
            if len(value) != len(ours[key]):
                raise Unknown(f"{len(value)} values of {key!r}, where the inputs give {len(ours[key])}")
            pairs = zip(value, ours[key], strict=True)
            yield from (Number(f"{place}[{i}]", float(theirs), _plain(own)) for i, (theirs, own) in enumerate(pairs))
        else:
            yield Number(place, float(value), _plain(ours[key]))


def _plain(value: Any) -> float:
    return float(value.detach() if hasattr(value, "detach") else value)


def merged(found: Iterable[Entry]) -> list[Entry]:
    """One entry for each name, in order of first appearance."""
    by_name: dict[str, Entry] = {}
    for entry in found:
        before = by_name.get(entry.name, Entry(entry.name, ()))
        by_name[entry.name] = Entry(entry.name, before.numbers + entry.numbers, before.unknown or entry.unknown)
    return list(by_name.values())
