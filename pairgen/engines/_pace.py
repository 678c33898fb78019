"""How many requests or tokens a second: a bucket for limits that are known, and a pace that is found out.

A server that refuses without saying its limit is asked at a pace. Between two refusals its own bucket went
from empty to empty, so what it took in between, over the time between, is its limit. The pace stays just
below that and creeps up again, so a limit that is raised is noticed, at the price of a refusal now and then.
"""

import math
from dataclasses import dataclass

SETTLE = 0.5
"""Seconds between two findings: in less time too little is taken to tell a rate."""
STUBBORN = 3
"""Findings in a row that refusals did not follow the pace: then the pace is not why."""


@dataclass
class Bucket:
    """`rate` units a second, of which at most `size` are saved up. `level` may go below zero: a debt."""

    rate: float
    size: float
    level: float
    at: float

    @classmethod
    def per_minute(cls, limit: float, now: float) -> "Bucket":
        """A bucket that never gives more than `limit` in any sixty seconds, in small portions."""
        size = max(1.0, limit / 60)
        return cls(max(limit - size, limit / 2) / 60, size, size, now)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there; for more than the bucket can hold, until it is full."""
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, (min(amount, self.size) - self.level) / self.rate)

    def take(self, amount: float) -> None:
        """Take, after waiting; a negative amount gives back."""
        self.level -= amount


class Pace:
    """Requests a second that a server which does not say its limit turned out to take."""

    def __init__(self, now: float) -> None:
        self._began = self._cut_at = self._from = now
        self._base = math.inf
        self._measured = False
        self._sent = self._known = self._late = self._refused = self._stubborn = 0
        self._before = math.inf
        self._slots = Bucket(math.inf, 1.0, 1.0, now)

    def wait(self, now: float) -> float:
        """Seconds until the next request may go."""
        rate = self.rate(now)
        if rate == math.inf:
            return 0.0
        self._slots.rate = rate
        return self._slots.wait(1.0, now)

    def take(self) -> int:
        """Note a request that goes now; its number."""
        self._sent += 1
        if self._base != math.inf:
            self._slots.take(1.0)
        return self._sent

    def rate(self, now: float) -> float:
        """Requests a second now: faster with time while searching, slowly past the limit once it is known."""
        if self._base == math.inf:
            return math.inf
        passed = max(0.0, now - self._from)
        if not self._measured:
            return self._search() * float(1.25 ** min(passed, 60.0))
        grown = 0.95 + 0.005 * passed if passed < 10 else 1.02 ** min(passed - 10, 300.0)
        return float(self._base * grown)

    def _search(self) -> float:
        """After the first refusals: a good part of what was taken before them, as far as is known by now."""
        taken = max(1, self._known - self._late)
        self._base = min(self._base, 0.7 * taken / max(1.0, self._cut_at - self._began))
        return self._base

    def refused(self, number: int, now: float, pause: float) -> None:
        """A request was refused for its limit, and nothing goes for `pause` seconds."""
        if number <= self._known:  # sent before the last cut: nothing new
            self._late += 1
            return
        self._refused += 1
        if self._base != math.inf and now - self._cut_at < SETTLE:
            return
        if self._base == math.inf:
            self._base, self._late = max(1.0, self._sent / max(1.0, now - self._began)), 1
        else:
            self._measure(now)
        self._cut_at, self._from, self._known, self._refused = now, now + pause, self._sent, 0
        # what the server's bucket regains in the pause may be used after it
        self._slots = Bucket(self._base, max(1.0, self._base * max(pause, 0.05)), 0.0, now)

    def _measure(self, now: float) -> None:
        """The rate since the last cut. When refusals stay as frequent however slow we go, it is not our pace."""
        sent, rate = self._sent - self._known, self.rate(now)
        share = self._refused / max(1, sent)
        self._stubborn = self._stubborn + 1 if share > 0.05 and sent > 1 else 0
        self._before = rate if self._stubborn <= 1 else self._before
        if self._stubborn >= STUBBORN:
            self._base, self._stubborn = self._before, 0
        else:
            taken = max(0.5, sent - self._refused)
            self._base = max(min(rate, taken / (now - self._cut_at)), 0.01)
        self._measured = True
