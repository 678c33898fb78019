"""What an unsuccessful HTTP answer means: wrong for this row, for the whole run, or only for now."""

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pairgen.errors import CredentialsError, PairgenError, Refused, RowError, UsageError

NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
BAD_KEY = frozenset({"invalid_api_key", "invalid_authentication"})
NOT_OFFERED = frozenset({
    "model_not_found", "unsupported_parameter", "unsupported_value", "unknown_parameter",
})
FILTERED = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|max(?:imum)?[ _](?:model[ _]len|context|input)|too many tokens|too long"
    r"|longer than the maximum", re.IGNORECASE,
)
LEAVE_OUT = "what it does not know can be left out: engines.NAME.omit=[seed] (temperature, top_p, seed, stop)"
RETRY = frozenset({408, 409, 425, 429})


Kind = Literal["limit", "busy", "broken", "silent", "unreachable", "cut"]
BUSY = frozenset({502, 503, 504, 529})
DROPS = {"broken": "server_error", "silent": "timeout", "cut": "cut_off", "busy": "server_busy"}
"""The reasons of drops, where a server answers others but not this one."""


@dataclass
class Retry(Exception):
    """The server cannot answer now. `after` is how many seconds it asks to be left alone, if it says.

    `kind`: refused for a limit, too busy, an error of its own, silent for too long, not to be reached,
    or the connection was cut.
    """

    reason: str
    after: float | None = None
    kind: Kind = "broken"


@dataclass(frozen=True, slots=True)
class Fault:
    """An unsuccessful answer: status, the server's error code and message, and its headers."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str]

    @property
    def said(self) -> str:
        """Status and code, for a message."""
        return f"HTTP {self.status} {self.code}".strip()


def read_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """A fault from an answer whose body may be anything."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        code, message = error.get("code") or error.get("type") or "", error.get("message") or ""
    else:
        code, message = "", error if isinstance(error, str) else body.decode("utf-8", "replace")
    return Fault(status, str(code), " ".join(str(message).split())[:300], headers)


def meaning(fault: Fault, host: str, model: str, key_env: str | None) -> Exception:
    """The error to raise. Only a `Retry` is worth another try; a message never repeats a key."""
    key = key_env or "no key"
    if fault.code in NO_MONEY or fault.status == 402:
        return CredentialsError(f"{host} says the account of {key} has no quota left ({fault.said})")
    if fault.status in (401, 403) or fault.code in BAD_KEY:
        return CredentialsError(f"{host} refuses the key ({key}; {fault.said})")
    if fault.status in RETRY or fault.status >= 500:
        kind: Kind = "limit" if fault.status == 429 else "busy" if fault.status in BUSY else "broken"
        return Retry(f"{fault.said} {fault.message}".strip(), retry_after(fault.headers), kind)
    if fault.status == 404 or fault.code in NOT_OFFERED:
        return _not_offered(fault, host, model)
    if fault.status < 400 or fault.status == 405:
        return UsageError(f"{host} answers with {fault.said}: check base_url ({fault.message})")
    return _bad_row(fault, host)


def _not_offered(fault: Fault, host: str, model: str) -> PairgenError:
    advice = f"; {LEAVE_OUT}"
    if fault.status == 404:
        advice = "" if fault.code == "model_not_found" else "; check base_url (most end in /v1) and the model's name"
    return UsageError(f"{host} does not offer this ({fault.said}): model {model!r}; {fault.message}{advice}")


def _bad_row(fault: Fault, host: str) -> RowError:
    if fault.code in FILTERED:
        return RowError("content_filter", fault.message)
    if fault.code == "context_length_exceeded" or fault.status == 413 or TOO_LONG.search(fault.message):
        return RowError("too_long", fault.message)
    said = f"{fault.said} {fault.message}"
    return Refused("bad_request", said, f"{host} refuses every request: {said}; {LEAVE_OUT}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The pause a server asks for, in seconds: milliseconds, seconds or an HTTP date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(name, "")) * unit)
        except ValueError:
            continue
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - time.time())
