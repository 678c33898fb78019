"""Named places where a test may strike, so that a crash or a full disk can be had at each of them.

`PAIRGEN_FAILPOINT=name:k[:kill|eio|enospc|sleep]` strikes at the k-th hit of `name`; `*` is any name and
`k+` that hit and every later one. Read once, at import; nothing at all happens when it is unset.
"""

import errno
import os
import signal
import time
from dataclasses import dataclass

from pairgen.errors import UsageError

ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC}
ACTIONS = {"kill", "sleep", *ERRORS}


@dataclass(slots=True)
class _Armed:
    name: str
    hit: int
    onwards: bool
    action: str
    seen: int = 0


def failpoint(name: str) -> None:
    """A place where the system may refuse a write, or the process may die."""
    if _armed is not None:
        _strike(_armed, name)


def crashpoint(name: str) -> None:
    """A place between writes: the process may die here, but nothing can be refused."""
    if _armed is not None and _armed.action not in ERRORS:
        _strike(_armed, name)


def arm(spec: str | None) -> None:
    """Set the failpoint from its text form, or clear it."""
    global _armed
    _armed = _parse(spec) if spec else None


def _parse(spec: str) -> _Armed:
    name, _, rest = spec.partition(":")
    hit, _, action = rest.partition(":")
    if not hit.removesuffix("+").isdigit() or (action or "kill") not in ACTIONS:
        raise UsageError(f"PAIRGEN_FAILPOINT={spec!r}: want name:k[:{'|'.join(sorted(ACTIONS))}]")
    return _Armed(name, int(hit.removesuffix("+")), hit.endswith("+"), action or "kill")


def _strike(armed: _Armed, name: str) -> None:
    if armed.name not in (name, "*"):
        return
    armed.seen += 1
    if armed.seen < armed.hit or (armed.seen > armed.hit and not armed.onwards):
        return
    if armed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif armed.action == "sleep":
        time.sleep(1)
    else:
        code = ERRORS[armed.action]
        raise OSError(code, os.strerror(code))


_armed: _Armed | None = None
arm(os.environ.get("PAIRGEN_FAILPOINT"))
