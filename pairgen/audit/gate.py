"""`--fail-on bad,duplicate_pair>0.01`: what makes a check of data fail, as levels of findings and as conditions.

A condition is an expression over what the summary states: means by name (`jaccard < 0.2`), shares of flags by
name (`duplicate_pair > 0.01`), AUCs as `X_auc`, and `unreadable`, the share of damaged rows (a tie is none).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairgen.audit.filter import Condition, parse
from pairgen.audit.summary import NO_PREFERENCE, DatasetAudit, Level
from pairgen.errors import UsageError

LEVELS: tuple[Level, ...] = ("bad", "warn", "note")
"""Worst first; a level stands for itself and what is worse."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What must not be. `level` is the mildest finding that fails, None for none."""

    level: Level | None
    conditions: tuple[Condition, ...]

    def failures(self, audit: DatasetAudit) -> list[str]:
        """What of it is so, each in a few words. Raises UsageError for a name that is no number of the audit."""
        stated = numbers(audit)
        failed = []
        if self.level is not None:
            worse = LEVELS[: LEVELS.index(self.level) + 1]
            failed += [f"{found.level}: {found.title}" for found in audit.findings if found.level in worse]
        for condition in self.conditions:
            condition.check(stated, "--fail-on")
            missing = [name for name in condition.names if np.isnan(stated[name])]
            if missing:  # a judge without a verdict has passed no check
                failed.append(f"{condition.text} ({', '.join(missing)} has no value)")
            elif condition.holds({name: np.array([value]) for name, value in stated.items()}, 1)[0]:
                values = ", ".join(f"{name} is {stated[name]:.4g}" for name in condition.names)
                failed.append(f"{condition.text} ({values})")
        return failed


def parse_gate(given: Sequence[str]) -> Gate:
    """Levels and conditions, each item separated by commas. Raises UsageError."""
    items = [item.strip() for text in given for item in text.split(",") if item.strip()]
    levels = [level for level in LEVELS if level in items]
    words = [item for item in items if item not in LEVELS]
    for word in words:
        if word.isalpha():
            have = ", ".join(LEVELS)
            raise UsageError(f"--fail-on {word}: a level ({have}) or a condition such as duplicate_pair>0.01")
    return Gate(levels[-1] if levels else None, tuple(parse(word, "--fail-on") for word in words))


def numbers(audit: DatasetAudit) -> dict[str, float]:
    """Everything an audit states as one number: means, shares of rows, AUCs."""
    found = {stat.name: stat.mean for stat in (*audit.contrast, *audit.scores, *audit.model)}
    found |= {rate.name: rate.count / rate.n if rate.n else np.nan for rate in (*audit.hygiene, *audit.model_rates)}
    found |= {f"{bias.name}_auc": bias.auc for bias in audit.biases}
    if audit.predictability is not None:
        found |= {"style_accuracy": audit.predictability.accuracy, "style_auc": audit.predictability.auc}
    unread = sum(n for reason, n in audit.bad.items() if reason not in NO_PREFERENCE)
    return found | {"unreadable": unread / audit.rows if audit.rows else np.nan, "pairs": audit.pairs}
