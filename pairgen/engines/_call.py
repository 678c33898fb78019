"""One completion that is asked for, until it is answered or there is no point: the only retries there are.

Bounded in count and in time, with jitter. Waiting for a limit is no retry: the gate holds everyone back.
When it fails for good, the question is whose fault that is: the row's, or the server's.
"""

import random
import time
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from pairgen.engines._body import count_tokens
from pairgen.engines._faults import DROPS, Retry
from pairgen.engines._limits import Gate
from pairgen.errors import RowError

if TYPE_CHECKING:
    from pairgen.engines.openai import OpenAIEngine

BACKOFF = wait_random_exponential(multiplier=0.5, max=30)
HOPELESS = 3
"""Tries of a server that has never been reached."""
DOUBT = 5
"""Rows that may be lost to errors of the server with nothing answered in between."""


class Call:
    """One completion that is asked for, and how often and how long it has failed."""

    def __init__(self, engine: "OpenAIEngine", gate: Gate, body: bytes, prompt: int, most: int) -> None:
        self._engine, self._config, self._gate = engine, engine.config, gate
        self._body, self._prompt, self._most = body, prompt, most
        self._since = self._failed_at = (0, 0)
        self._failures = 0
        self._seconds = 0.0

    async def once(self) -> bytes:
        """Ask. Raises Retry when that may be tried again, else what is wrong."""
        engine, gate = self._engine, self._gate
        async with engine.place:
            ticket = await gate.enter(self._prompt, self._most)
            began = time.monotonic()
            try:
                engine.stop_if_dead()
                answer = await engine.post(self._body)
                engine.refuse(answer)
            except Retry as error:
                gate.failure(ticket, error)
                if error.kind != "limit":
                    self._failures += 1
                    self._seconds += time.monotonic() - began
                    before = (ticket.answered, ticket.failed) if self._failures == 1 else self._failed_at
                    self._since, self._failed_at = before, (gate.answered, gate.failed)
                raise
            finally:
                gate.leave()
            gate.success(ticket, answer.headers)
            if gate.counts_tokens:
                gate.settle(ticket, self._prompt, count_tokens(answer.body), self._most)
            return answer.body

    async def again(self, error: Retry) -> bytes:
        """Ask until it is answered or has failed too often. `error` is what the first try came to."""
        failed: Retry | None = error

        async def attempt() -> bytes:
            nonlocal failed
            if failed is not None:
                before, failed = failed, None
                raise before
            return await self.once()

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Retry), wait=self._pause, stop=self._hopeless, reraise=True
        )
        try:
            body: bytes = await attempts(attempt)
        except Retry as last:
            raise self._verdict(last) from None
        return body

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next try. For a limit it is the gate that waits, for everyone."""
        error = _error(state)
        if error.kind == "limit":
            return 0.0
        return max(BACKOFF(state), (error.after or 0.0) * random.uniform(1.0, 1.1))

    def _hopeless(self, state: RetryCallState) -> bool:
        error, config, gate = _error(state), self._config, self._gate
        if (error.after or 0.0) > config.retry_seconds:
            return True
        if error.kind == "limit":  # nobody's fault as long as others are answered
            return gate.unanswered() > config.retry_seconds and state.attempt_number > config.retries
        if error.kind == "unreachable" and not gate.heard and self._failures >= HOPELESS:
            return True
        self._seconds += state.upcoming_sleep
        return self._failures > config.retries or self._seconds > config.retry_seconds

    def _verdict(self, last: Retry) -> Exception:
        """Whose fault it is: this row's where others were answered since it failed before, else the server's.

        A server that fails where nobody else asks is given the benefit of the doubt for a few rows in a row.
        """
        others = self._failed_at[0] - self._since[0]
        failed = self._failed_at[1] - self._since[1] - 1
        own = others > failed
        if not own and last.kind == "broken" and self._gate.blamed < DOUBT:
            self._gate.blamed += 1
            own = True
        if last.kind in DROPS and own:
            return RowError(DROPS[last.kind], self._engine.without_key(last.reason))
        return self._engine.given_up(last)


def _error(state: RetryCallState) -> Retry:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Retry)
    return error
