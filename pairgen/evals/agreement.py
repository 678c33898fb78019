"""How far verdicts agree with labels beyond chance, and standard errors of numbers that are no means."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.verdicts import gold_pick, picks, replies_of

T = TypeVar("T")
Cell = tuple[str, str]


def kappa(rows: Sequence[EvalItem], mode: str = "greedy") -> Estimate:
    """Cohen's kappa of verdicts and labels, in slots (A, B, tie) as the judge saw them.

    A verdict that cannot be read agrees with nothing. The standard error leaves out one prompt at a time.
    """
    tables: dict[object, Counter[Cell]] = {}
    for place, row in enumerate(rows):
        key = place if row.cluster is None else row.cluster
        tables.setdefault(key, Counter()).update(_cells(row, mode))
    whole = sum(tables.values(), Counter[Cell]())
    left_out = [cohen(whole - table) for table in tables.values() if table]
    unscored = sum(not _cells(row, mode) for row in rows)
    return Estimate(cohen(whole), jackknife_error(left_out), len(left_out), unscored)


def _cells(row: EvalItem, mode: str) -> list[Cell]:
    """(label, verdict) of each judgment of a row."""
    if row.scores:
        return [(gold_pick(row), pick) for pick in picks(row, mode) if pick is not None]
    return [(reply.gold, reply.answer or "none") for reply in replies_of(row, mode)]


def cohen(table: Counter[Cell]) -> float | None:
    """Kappa of a table of (label, verdict) counts (Cohen 1960); None where chance alone agrees fully."""
    total = table.total()
    if not total:
        return None
    labels: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    for (label, verdict), count in table.items():
        labels[label] += count
        verdicts[verdict] += count
    agreed = sum(count for (label, verdict), count in table.items() if label == verdict) / total
    chance = sum(labels[name] * verdicts[name] for name in labels) / total**2
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def jackknife(parts: Sequence[T], number: Callable[[Sequence[T]], float | None]) -> float | None:
    """The standard error of a number of all parts, from the number without each part in turn."""
    return jackknife_error(number([*parts[:place], *parts[place + 1 :]]) for place in range(len(parts)))


def jackknife_error(left_out: Iterable[float | None]) -> float | None:
    """The delete-one jackknife's standard error (Efron and Stein 1981) from the numbers without each part."""
    found = list(left_out)
    known = [value for value in found if value is not None]
    if len(known) < 2 or len(known) < len(found):
        return None
    mean = math.fsum(known) / len(known)
    return math.sqrt((len(known) - 1) / len(known) * math.fsum((value - mean) ** 2 for value in known))
