"""A run's money: what was spent by all its processes, what is set aside for answers on their way, and the cap."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pairgen.errors import Stopped, UsageError


class Purse:
    """Nothing is sent that could take `spent` over `budget` (dollars; None: no cap), whatever it may cost."""

    def __init__(self, budget: float | None = None, spent: float = 0.0) -> None:
        self.budget, self.spent = budget, spent
        self._aside = 0.0
        self._buying = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def aside(self, most: float | None) -> AsyncIterator[None]:
        """Set the most an answer can cost aside while it is bought; `pay` says what it did cost.

        Raises Stopped when there is not enough, even once everything on its way is paid for.
        """
        if self.budget is None:
            yield
            return
        if most is None:
            raise UsageError("--budget needs the price of every model: give --prices FILE, or price: of the engine")
        while self.spent + self._aside + most > self.budget:
            if self._buying == 0:
                raise self._empty(most)
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._aside += most
        self._buying += 1
        try:
            yield
        finally:
            self._buying -= 1
            self._aside = self._aside - most if self._buying else 0.0
            waiting, self._waiting = self._waiting, deque()
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)

    def pay(self, cost: float) -> None:
        """An answer was bought."""
        self.spent += cost

    def _empty(self, most: float) -> Stopped:
        return Stopped(
            f"the budget of ${self.budget:,.2f} is used up: ${self.spent:,.4f} is spent and the next answer may "
            f"cost ${most:,.4f}. Everything answered is kept; the same command with a larger --budget goes on"
        )
