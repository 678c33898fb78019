"""An audit as plain JSON: the summary's own fields, nine digits a number, null for what is not known."""

import json
import math
from dataclasses import asdict
from typing import Any

from pairgen.audit.summary import Audit


def audit_json(audit: Audit) -> str:
    """The whole audit. Non-ASCII text is escaped, so that any terminal, and half a surrogate pair, passes."""
    return json.dumps(_plain(asdict(audit)), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        # what is left of a sum that should be zero is zero
        return round(float(f"{value:.9g}"), 12) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
