"""How many requests or tokens a second: a bucket for limits that are known, and a pace that is found out.

A server that refuses without saying its limit is asked at a pace. Between two refusals its own bucket went
from empty to empty, so what it took in between, over the time between, is its limit. The pace stays just
below that and creeps up again, so a limit that is raised is noticed, at the price of a refusal now and then.
"""

import math
from dataclasses import dataclass

SETTLE = 0.5
"""Seconds between two findings: in less time too little is taken to tell a rate."""
STUBBORN = 2
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
    """Requests a second that a server which does not say its limit turned out to take.

    First a good part of what was taken before the first refusal, then faster until it refuses again, then
    just below what was found. Slower never by more than a third at once, so one odd finding does little.
    """

    def __init__(self, now: float) -> None:
        self._began = self._cut_at = self._from = now
        self._base = math.inf
        self._searching = True
        self.sent = self.known = 0
        self._late = self._refused = self._stubborn = 0
        self._taken = self._first = 0.0
        self._slots = Bucket(math.inf, 1.0, 1.0, now)

    @property
    def free(self) -> bool:
        """Whether nothing was refused yet."""
        return self._base == math.inf

    def wait(self, now: float) -> float:
        """Seconds until the next request may go."""
        if self.free:
            return 0.0
        self._slots.rate = self.rate(now)
        return self._slots.wait(1.0, now)

    def take(self) -> int:
        """Note a request that goes now; its number."""
        self.sent += 1
        if not self.free:
            self._slots.take(1.0)
        return self.sent

    def rate(self, now: float) -> float:
        """Requests a second now: faster with time while searching, slowly past the limit once it is known."""
        passed = max(0.0, now - self._from)
        if self._searching:
            return self._base * float(1.5 ** min(passed, 30.0))
        grown = 0.95 + 0.005 * passed if passed < 10 else 1.02 ** min(passed - 10, 300.0)
        return self._base * float(grown)

    def refused(self, number: int, now: float, pause: float) -> None:
        """A request was refused for its limit, and nothing goes for `pause` seconds."""
        if number <= self.known:  # sent before the last cut: nothing new, but for the first cut
            self._late += 1
            if self._cut_at == self._first:
                self._base = min(self._base, self._before())
            return
        self._refused += 1
        if self.free:
            self._cut_at = self._first = now
            self._late, self.known = 1, self.sent
            self._base = self._before()
        elif now - self._from < SETTLE:
            return
        else:
            self._measure(now)
        self._cut_at, self._from, self.known, self._refused = now, now + pause, self.sent, 0
        self._slots = Bucket(self._base, max(1.0, 0.05 * self._base), 0.0, now + pause)

    def _before(self) -> float:
        """A good part of what was taken before the first cut, as far as is known by now."""
        return 0.7 * max(1, self.known - self._late) / max(1.0, self._first - self._began)

    def _measure(self, now: float) -> None:
        """The rate since the last cut.

        Under a limit as much is taken however fast we ask. When less is taken the slower we ask, time
        after time, refusals have another cause, and we may go faster.
        """
        taken = max(0.5, self.sent - self.known - self._refused)
        a_second = taken / max(SETTLE, now - self._from)
        self._stubborn = self._stubborn + 1 if a_second < 0.85 * self._taken else 0
        self._taken, rate = a_second, self.rate(now)
        self._searching = self._stubborn >= STUBBORN
        if self._searching:
            self._base, self._stubborn, self._taken = 2 * rate, 0, 0.0
        else:
            self._base = min(rate, max(taken / (now - self._cut_at), 0.7 * rate))
