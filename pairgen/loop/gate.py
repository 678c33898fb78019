"""The gate: whether the loop has stopped gaining."""

from collections.abc import Sequence
from itertools import pairwise

from pairgen.errors import UsageError, nearest
from pairgen.loop.config import Experiment
from pairgen.loop.history import Record


def why_stop(experiment: Experiment, records: Sequence[Record]) -> str | None:
    """Why the loop should stop after these iterations, or None. Raises UsageError on an unknown metric."""
    gate = experiment.loop.gate if experiment.loop else None
    if gate is None:
        return None
    values = [_metric(record, gate.eval, gate.metric) for record in records]
    gains = [after - before for before, after in pairwise(values)]
    late = gains[-gate.patience :]
    if len(late) < gate.patience or any(gain >= gate.min_gain for gain in late):
        return None
    gained = ", ".join(f"{gain:+.3f}" for gain in late)
    return f"{gate.eval} {gate.metric} gained {gained}, less than {gate.min_gain:g}"


def _metric(record: Record, suite: str, name: str) -> float:
    metrics = record.evals.get(suite, {})
    mean = metrics.get(name, {}).get("mean")
    if mean is None:
        raise UsageError(f"loop.gate.metric: evaluation {suite!r} gave no {name!r}: {nearest(name, metrics)}")
    return float(mean)
