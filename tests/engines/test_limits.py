"""Limits that were given, told or found out: what the gate lets in, against a clock that tests move."""

import asyncio
import math
from dataclasses import dataclass

import pytest

from pairgen.engines import _limits
from pairgen.engines._faults import Retry
from pairgen.engines._limits import Gate, Told, forget, gate_of, seconds
from pairgen.engines._pace import Bucket, Pace


@pytest.mark.parametrize("limit", [6, 60, 1200, 100_000])
def test_a_bucket_never_gives_more_than_its_limit_in_any_minute(limit):
    bucket, now, taken = Bucket.per_minute(limit, 0.0), 0.0, []
    while now < 180:
        wait = bucket.wait(1.0, now)
        if wait > 0:
            now += wait + 1e-9
            continue
        bucket.take(1.0)
        taken.append(now)
    first = 0
    for last, at in enumerate(taken):
        while at - taken[first] >= 60:
            first += 1
        assert last - first + 1 <= limit
    assert len(taken) >= 0.9 * 3 * limit or limit < 60


@dataclass
class Server:
    """A bucket of `size` that regains `rate` a second."""

    rate: float
    size: float
    level: float = 0.0
    at: float = 0.0

    def takes(self, now: float) -> bool:
        self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


def drive(server: Server, seconds_: float, in_flight: int, after: float | None = None):
    """As many as go in `seconds_`; the times of answers and of refusals. Answers come at once."""
    server.level = server.size
    gate, now = Gate(), 0.0
    gate._pace = Pace(0.0)
    answered, refused = [], []
    original, _limits.time.monotonic = _limits.time.monotonic, lambda: now
    try:
        gate.join(in_flight, None, None)
        gate._pace = Pace(0.0)
        while now < seconds_:
            delay = gate._delay(0.0)
            if delay > 0:
                now += max(delay, 1e-4)
                continue
            ticket = gate._admit(0.0)
            now += 1e-3
            if server.takes(now):
                answered.append(now)
                gate.success(ticket, {})
            else:
                refused.append(now)
                gate.failure(ticket, Retry("429", after, "limit"))
            gate.leave()
    finally:
        _limits.time.monotonic = original
    return answered, refused


@pytest.mark.parametrize(("rate", "size"), [(20, 20), (20, 1), (5, 5), (200, 200), (20, 300)])
@pytest.mark.parametrize("after", [None, 1.0])
def test_an_untold_limit_is_found_and_kept(rate, size, after):
    answered, refused = drive(Server(rate, size), 60.0, 64, after)
    late = [t for t in refused if t > 3 + size / rate]
    assert len(late) < 0.05 * len(answered)
    # a server that saves nothing up tells nothing at the first refusal: its limit takes seconds to find
    assert len(answered) >= (0.65 if size == 1 else 0.85) * 60 * rate


def test_a_limit_that_is_halved_is_followed_within_ten_seconds():
    server = Server(40, 40)
    gate_answers, refused = [], []
    original = Server.takes

    def takes(self, now):
        self.rate, self.size = (40, 40) if now < 30 else (20, 20)
        return original(self, now)

    Server.takes = takes
    try:
        gate_answers, refused = drive(server, 70.0, 64)
    finally:
        Server.takes = original
    after = [t for t in gate_answers if t > 40]
    assert len([t for t in refused if t > 40]) < 0.05 * len(after)
    assert len(after) >= 0.8 * 20 * 30


def test_refusals_that_do_not_follow_the_pace_do_not_stop_it():
    class Moody(Server):
        count = 0

        def takes(self, now):
            Moody.count += 1
            return Moody.count % 5 != 0

    answered, _ = drive(Moody(1, 1), 30.0, 64, 0.02)
    assert len(answered) > 100


def test_headers_lower_and_never_raise():
    told = Told(given=Bucket.per_minute(60, 0.0))
    told.heed({"x-ratelimit-limit-requests": "10000", "x-ratelimit-remaining-requests": "9999",
               "x-ratelimit-reset-requests": "6ms"}, "requests", 0.0)
    assert told.learnt.rate == pytest.approx(10000 / 60)
    told.take(1.0)
    assert told.wait(1.0, 0.1) > 0.8
    told.heed({"x-ratelimit-limit-requests": "10000", "x-ratelimit-remaining-requests": "0",
               "x-ratelimit-reset-requests": "60s"}, "requests", 5.0)
    assert told.wait(1.0, 5.0) > 0


def test_a_limit_a_day_is_told_from_one_a_minute():
    told = Told()
    told.heed({"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "14370",
               "x-ratelimit-reset-requests": "2m59.56s"}, "requests", 0.0)
    assert told.learnt.rate == pytest.approx(14400 / 86400)


@pytest.mark.parametrize(("text", "value"), [
    ("6m0s", 360), ("1.5s", 1.5), ("120ms", 0.12), ("2h3m", 7380), ("7", 7), ("2m59.56s", 179.56),
    ("soon", None), ("", None), (None, None), ("1h1ms", 3600.001),
])
def test_spans_are_read_as_providers_write_them(text, value):
    assert seconds(text) == (pytest.approx(value) if value is not None else None)


def test_overload_halves_what_is_in_flight_once_a_round_and_it_recovers():
    gate = Gate()
    gate.join(64, None, None)
    tickets = [gate._admit(0.0) for _ in range(64)]
    for ticket in tickets:
        gate.failure(ticket, Retry("529", None, "busy"))
    assert gate.width == 32
    for ticket in tickets * 12:
        gate.success(ticket, {})
    assert gate.width > 60
    assert gate.width <= 64


def test_a_gate_is_shared_by_host_and_key_and_forgotten_with_its_last_user():
    one, same, other = gate_of("h", "k"), gate_of("h", "k"), gate_of("h", "k2")
    assert one is same
    assert one is not other
    for gate in (one, same, other):
        gate.join(8, None, None)
    assert one.cap == 16
    forget("h", "k", 8)
    assert gate_of("h", "k") is one
    forget("h", "k", 8)
    forget("h", "k2", 8)
    assert gate_of("h", "k") is not one
    _limits._gates.clear()


def test_waiting_is_in_order_and_a_cancelled_wait_takes_no_place():
    async def go():
        gate = Gate()
        gate.join(1, None, None)
        await gate.enter()
        order = []

        async def one(i):
            await gate.enter()
            order.append(i)
            gate.leave()

        tasks = [asyncio.create_task(one(i)) for i in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 2, 3]
        assert gate.in_flight == 0

    asyncio.run(go())


def test_tokens_set_aside_are_settled():
    gate = Gate()
    gate.join(8, None, 60_000)
    gate.tokens.given.level = 1000.0
    ticket = gate._admit(1000.0)
    gate.settle(ticket, 50, 50, 950)
    assert gate.tokens.given.level == pytest.approx(900.0)
    assert gate.share < 1.0
    assert math.isfinite(gate._delay(100.0))
