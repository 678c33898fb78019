"""What can go wrong, named by what the user must do. Each error is one line and one exit code.

Exit codes: 0 complete, 2 usage or config, 3 complete but too many rows failed, 74 I/O,
75 stopped and resumable, 77 credentials, 130 Ctrl-C.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PairgenError(Exception):
    """Base of every error a user can cause or mend; the message is the whole report."""

    exit_code = 2


class UsageError(PairgenError):
    """The command, the config or an input file is wrong: edit it, then run again."""


class FailedRows(PairgenError):
    """The run is complete, but more rows failed than the threshold allows."""

    exit_code = 3


class StorageError(PairgenError):
    """The disk refused: free space or permissions, then the same command goes on."""

    exit_code = 74


class Damaged(StorageError):
    """A shard, manifest or checkpoint is not what was sealed: the message names the file."""


class Stopped(PairgenError):
    """Stopped on purpose with everything kept: the same command goes on."""

    exit_code = 75


class CredentialsError(PairgenError):
    """A key is missing, wrong or out of quota."""

    exit_code = 77


class RowError(Exception):
    """An engine refuses this one request for good (too long, filtered): the row becomes a Drop."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Refused(RowError):
    """A request is refused for what it is. `everyone` is the one line for when all are: then it is no row's fault."""

    def __init__(self, reason: str, detail: str, everyone: str) -> None:
        super().__init__(reason, detail)
        self.everyone = everyone


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: `did you mean 'x'?`, or the list of what exists."""
    options = sorted(known)
    close = get_close_matches(name, options, n=1)
    return f"did you mean {close[0]!r}?" if close else f"have: {', '.join(options) or 'none'}"
