"""Numbers as people read them; what was not measured is a dash."""

from collections.abc import Mapping

Estimated = Mapping[str, float | int | None]
"""An estimate as evals writes it: mean, stderr, n, unscored."""

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """0.9783 -> 0.978."""
    return NONE if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """0.9783 -> 97.8 %."""
    return NONE if value is None else f"{value:.1%}".replace("%", " %")


def count(value: float | None) -> str:
    """1234567 -> 1,234,567."""
    return NONE if value is None else f"{value:,.0f}"


def points(value: float) -> str:
    """A difference of two shares: 0.371 -> +37.1."""
    return f"{100 * value:+.1f}"


def duration(seconds: float | None) -> str:
    """125 -> 2 min 5 s; 7500 -> 2 h 5 min."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def cost(dollars: float | None) -> str:
    """0.0123 -> $0.012; nothing spent is a dash."""
    return f"${dollars:,.3f}" if dollars else NONE


def estimated(value: Estimated | None) -> str:
    """A mean with its standard error, as a share where it is one: 0.607 ± 0.022."""
    if value is None or value["mean"] is None:
        return NONE
    digits = 3 if abs(value["mean"]) <= 1 else 1
    error = value.get("stderr")
    return number(value["mean"], digits) + ("" if error is None else f" ± {error:.{digits}f}")
