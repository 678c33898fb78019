"""Alarms for a loop that goes wrong quietly: between two iterations something moved too far."""

from dataclasses import dataclass

from pydantic import Field

from pairgen.engine import Frozen


class DriftLimits(Frozen):
    """How far is too far. Falls are absolute (0.05 is five points), growth of length is a ratio."""

    consistency_fall: float = Field(default=0.05, gt=0)
    parse_rate_fall: float = Field(default=0.05, gt=0)
    kept_share_floor: float = Field(default=0.25, ge=0, le=1)
    length_growth: float = Field(default=1.5, gt=1)


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is watched in one iteration; None where it was not measured.

    `kept_share` is the share of pairs with a judgment kept for training, `tokens` the mean length of
    a judgment.
    """

    iteration: int
    consistency: float | None = None
    parse_rate: float | None = None
    kept_share: float | None = None
    tokens: float | None = None


def drift_alarms(before: Vitals, after: Vitals, limits: DriftLimits, suite: str = "") -> list[str]:
    """One plain sentence for each limit that `after` breaks; `suite` is where the falls were measured."""
    where = f" in {suite}" if suite else ""
    found = [
        _fall(f"consistency over both orders{where}", before, after, "consistency", limits.consistency_fall),
        _fall(f"the share of judgments that can be read{where}", before, after, "parse_rate", limits.parse_rate_fall),
        _floor(after, limits.kept_share_floor),
        _growth(before, after, limits.length_growth),
    ]
    return [sentence for sentence in found if sentence]


def _fall(name: str, before: Vitals, after: Vitals, field: str, limit: float) -> str | None:
    old, new = getattr(before, field), getattr(after, field)
    if old is None or new is None or old - new <= limit:
        return None
    return (
        f"Iteration {after.iteration}: {name} fell from {old:.3f} (iteration {before.iteration}) "
        f"to {new:.3f}; the limit is a fall of {limit:g}."
    )


def _floor(after: Vitals, limit: float) -> str | None:
    if after.kept_share is None or after.kept_share >= limit:
        return None
    return (
        f"Iteration {after.iteration}: only {after.kept_share:.1%} of the pairs kept a judgment "
        f"for training; the limit is {limit:.0%}."
    )


def _growth(before: Vitals, after: Vitals, limit: float) -> str | None:
    if not before.tokens or after.tokens is None or after.tokens <= limit * before.tokens:
        return None
    return (
        f"Iteration {after.iteration}: judgments grew from {before.tokens:.1f} tokens (iteration "
        f"{before.iteration}) to {after.tokens:.1f}; the limit is {limit:g} times."
    )
