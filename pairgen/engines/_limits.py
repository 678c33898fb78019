"""One gate per host and key: everything that is sent there in this process goes through it.

It holds back for limits that were given or that the server tells in its headers, keeps a pace where the
server only refuses, pauses for as long as it asks, and lets fewer in at once while it is overloaded.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from pairgen.engines._faults import Retry
from pairgen.engines._pace import Bucket, Pace

SPANS = (1.0, 60.0, 3600.0, 86400.0)
"""Seconds that providers' limits are for."""


@dataclass(slots=True)
class Ticket:
    """A call that was let in: its number, the tokens set aside for it, and what had happened before."""

    number: int
    tokens: float
    answered: int
    failed: int


@dataclass(slots=True)
class _Waiter:
    tokens: float
    future: "asyncio.Future[Ticket]"


@dataclass
class Told:
    """What responses said of a limit, beside the one that was given."""

    given: Bucket | None = None
    learnt: Bucket | None = None

    def wait(self, amount: float, now: float) -> float:
        """Seconds until neither forbids it."""
        return max((b.wait(amount, now) for b in (self.given, self.learnt) if b is not None), default=0.0)

    def take(self, amount: float) -> None:
        """Count it in both."""
        for bucket in (self.given, self.learnt):
            if bucket is not None:
                bucket.take(amount)

    def heed(self, headers: Mapping[str, str], what: str, now: float) -> None:
        """Learn from `x-ratelimit-*-requests` or `-tokens`. What the server says only ever lowers ours."""
        limit = _number(headers.get(f"x-ratelimit-limit-{what}"))
        left = _number(headers.get(f"x-ratelimit-remaining-{what}"))
        if limit is None or limit <= 0:
            return
        used = limit - left if left is not None else 0.0
        reset = seconds(headers.get(f"x-ratelimit-reset-{what}"))
        span = min(SPANS, key=lambda s: abs(s - reset * limit / used)) if reset and used >= 1 else 60.0
        if self.learnt is None:
            self.learnt = Bucket(limit / span, limit, limit, now)
        bucket = self.learnt
        bucket.wait(0.0, now)
        bucket.size = limit
        bucket.rate = limit / span if used >= 1 and reset else min(bucket.rate, limit / span)
        bucket.level = min(bucket.level, limit if left is None else left)


@dataclass
class Gate:
    """Lets calls in, in the order they came. `cap` is the most at once; `width` what the server bears now."""

    cap: int = 0
    width: float = 0.0
    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    heard: bool = False
    blamed: int = 0
    pages: int = 0
    requests: Told = field(default_factory=Told)
    tokens: Told = field(default_factory=Told)
    paused_until: float = 0.0
    share: float = 1.0
    """Part of the tokens a call may write that calls do write, of late."""

    def __post_init__(self) -> None:
        self.users = 0
        self._pace = Pace(time.monotonic())
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._narrowed = 0
        self._silent_refusals = 0
        self._last_answer = time.monotonic()

    def join(self, concurrency: int, requests: float | None, tokens: float | None) -> None:
        """Another engine uses the gate; of several limits given the lowest holds."""
        now = time.monotonic()
        self.users += 1
        self.cap += concurrency
        self.width = float(self.cap)
        for told, limit in ((self.requests, requests), (self.tokens, tokens)):
            if limit is not None:
                bucket = Bucket.per_minute(limit, now)
                told.given = bucket if told.given is None or bucket.rate < told.given.rate else told.given

    @property
    def counts_tokens(self) -> bool:
        """Whether a limit of tokens is known."""
        return self.tokens.given is not None or self.tokens.learnt is not None

    async def enter(self, prompt: int = 0, most: int = 0) -> Ticket:
        """Wait for a place. `prompt` and `most` are the tokens it sends and may get back."""
        tokens = prompt + self.share * most
        if not self._waiting and self._delay(tokens) == 0.0:
            return self._admit(tokens)
        waiter = _Waiter(tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._pump()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """A call is over, however it ended."""
        self.in_flight -= 1
        if self._waiting:
            self._pump()

    def success(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """It was answered."""
        self.answered += 1
        self.heard = True
        self.blamed = self._silent_refusals = 0
        self._last_answer = now = time.monotonic()
        self.width = min(float(self.cap), self.width + 0.05 + 1 / self.width)
        self.requests.heed(headers, "requests", now)
        self.tokens.heed(headers, "tokens", now)

    def settle(self, ticket: Ticket, prompt: int, written: int, most: int) -> None:
        """Count the tokens it really took, and what part of the allowed ones calls write."""
        self.tokens.take(prompt + written - ticket.tokens)
        if most > 0:
            self.share += 0.1 * (min(1.0, 1.1 * written / most) - self.share)

    def failure(self, ticket: Ticket, error: Retry) -> None:
        """It failed in a way that may pass: go slower where that may help."""
        now = time.monotonic()
        if error.kind == "limit":
            self.heard = True
            self._refused(ticket, now, error.after)
            return
        self.failed += 1
        if error.kind in ("busy", "silent"):
            if error.after:
                self.paused_until = max(self.paused_until, now + error.after)
            if ticket.number > self._narrowed:
                self._narrowed = self._pace.sent
                self.width = max(1.0, 0.5 * min(self.width, float(self.in_flight)))

    def _refused(self, ticket: Ticket, now: float, after: float | None) -> None:
        """Refused for a limit. A pause asked for is kept; without one, longer the longer nothing is answered."""
        fresh = ticket.number > self._pace.known
        self._silent_refusals += fresh
        first = self._pace.free
        own = 0.0 if not fresh or (self._silent_refusals <= 1 and not first) else min(
            30.0, 1.0 * 2 ** max(0, self._silent_refusals - 2)
        )
        pause = own if after is None else after
        self._pace.refused(ticket.number, now, pause)
        self.paused_until = max(self.paused_until, now + pause)

    def unanswered(self) -> float:
        """Seconds since anything was answered here."""
        return time.monotonic() - self._last_answer

    def _delay(self, tokens: float) -> float:
        """Seconds until a call may go; infinite while too many are in flight."""
        if self.in_flight >= max(1, int(self.width)):
            return float("inf")
        now = time.monotonic()
        return max(
            self.paused_until - now, self._pace.wait(now), self.requests.wait(1.0, now),
            self.tokens.wait(tokens, now) if self.counts_tokens else 0.0, 0.0,
        )

    def _admit(self, tokens: float) -> Ticket:
        self.in_flight += 1
        self.requests.take(1.0)
        self.tokens.take(tokens)
        return Ticket(self._pace.take(), tokens, self.answered, self.failed)

    def _pump(self) -> None:
        """Let in whoever may go now, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            first = self._waiting[0]
            if first.future.done() or first.future.get_loop().is_closed():
                self._waiting.popleft()
                continue
            delay = self._delay(first.tokens)
            if delay > 0.0:
                if delay != float("inf"):
                    self._timer = first.future.get_loop().call_later(delay, self._pump)
                return
            self._waiting.popleft()
            first.future.set_result(self._admit(first.tokens))


_gates: dict[tuple[str, str], Gate] = {}


def gate_of(host: str, key: str | None) -> Gate:
    """The gate of a host and key in this process."""
    return _gates.setdefault(_name(host, key), Gate())


def forget(host: str, key: str | None, concurrency: int) -> None:
    """An engine is done with its gate; the last one out takes what was learnt with it."""
    gate = _gates.get(_name(host, key))
    if gate is None:
        return
    gate.users -= 1
    gate.cap -= concurrency
    gate.width = min(gate.width, max(1.0, float(gate.cap)))
    if gate.users <= 0:
        del _gates[_name(host, key)]


def _name(host: str, key: str | None) -> tuple[str, str]:
    return host, sha256((key or "").encode()).hexdigest()


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def seconds(text: str | None) -> float | None:
    """A span as providers write it: `6m0s`, `1.5s`, `120ms`, `2h3m`, or plain seconds."""
    if not text:
        return None
    plain = _number(text)
    if plain is not None:
        return plain
    total, number = 0.0, ""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    rest = text.strip()
    while rest:
        size = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:size], rest[size:]
        unit = rest[: len(rest) - len(rest.lstrip("hms"))]
        unit = unit if unit in units else unit[:1]
        value = _number(number)
        if value is None or unit not in units:
            return None
        total, rest = total + value * units[unit], rest[len(unit) :]
    return total
