"""The engine the drivers use: it answers from the journal, buys what is missing, and keeps what it bought."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from pairgen.engine import Completion, Engine, Request, Tariff
from pairgen.errors import Refused, RowError, Stopped, UsageError
from pairgen.fingerprint import canonical
from pairgen.journal.file import Journal
from pairgen.journal.keys import conversation_key, key_in
from pairgen.journal.purse import Purse
from pairgen.journal.tables import Bill
from pairgen.store.manifest import Usage

STRANGERS = 8
"""Requests refused, with none of the step ever answered, after which the request is wrong and not the row."""


class Journaled:
    """An engine whose answers are kept. `usage` counts what this process sent and what it was spared.

    `paid` has what earlier processes sent for `step` in it: the journal keeps the bills. `tariff` says
    what answers cost, and `purse` may refuse to buy more. Without a journal it asks every time. Requests for
    the same conversation take turns, so that the second finds what the first bought. Errors are never
    kept: whoever asks again, asks anew.
    """

    def __init__(
        self, engine: Engine, journal: Journal | None, *, step: str = "", tariff: Tariff | None = None,
        purse: Purse | None = None,
    ) -> None:
        self.engine = engine
        self.usage = Usage()
        self._before = journal.spent(step) if journal is not None and step else Usage()
        self._journal, self._step, self._tariff, self._purse = journal, step, tariff, purse or Purse()
        self._turns: dict[bytes, asyncio.Future[None]] = {}
        self._buying: set[asyncio.Task[list[Completion]]] = set()
        self._draining = False
        self._refused = 0

    @property
    def paid(self) -> Usage:
        """What the step has taken so far, over all processes."""
        return self._before + self.usage

    async def complete(self, request: Request) -> list[Completion]:
        """Samples `first .. first + n - 1`, from the journal where it has them.

        Raises what the engine raises, StorageError when an answer cannot be kept, and RowError when a
        reply cannot be read or brings nothing. A caller that is cancelled does not cancel the purchase:
        it is paid for, so it is kept (see `drain`).
        """
        conversation = conversation_key(self.engine.identity, request)
        known = self._look_up(request, conversation)
        if len(known) < request.n:
            turn = self._claim(conversation)
            return await self._sheltered(self._in_turn(request, conversation, known, turn))
        self.usage += Usage(reused=request.n)
        return [known[sample] for sample in _samples(request)]

    async def drain(self, seconds: float = 10.0) -> None:
        """Send nothing more; wait so long for what is in flight, and leave the rest.

        Where the journal cannot keep answers there is nothing to wait for.
        """
        self._draining = True
        if not self._buying:
            return
        hopeless = self._journal is None or self._journal.failed is not None
        _, late = await asyncio.wait(self._buying, timeout=0 if hopeless else seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _sheltered(self, purchase: Coroutine[Any, Any, list[Completion]]) -> list[Completion]:
        task = asyncio.create_task(purchase)
        self._buying.add(task)
        task.add_done_callback(self._bought_or_not)
        return await asyncio.shield(task)

    def _bought_or_not(self, task: "asyncio.Task[list[Completion]]") -> None:
        """A purchase is over. Whoever waits for it is told how; where nobody does any more, nobody need be."""
        self._buying.discard(task)
        if not task.cancelled():
            task.exception()

    async def _in_turn(
        self, request: Request, conversation: bytes, known: dict[int, Completion],
        turn: "asyncio.Future[None] | None",
    ) -> list[Completion]:
        """Wait until nobody else asks this conversation, then buy what is still missing."""
        waited = turn is None
        while turn is None:
            await asyncio.wait([self._turns[conversation]])
            turn = self._claim(conversation)
        try:
            if waited:  # somebody else may have bought what was missing
                known = self._look_up(request, conversation)
            if known:
                self.usage += Usage(reused=len(known))
            while missing := _first_gap(request, known):
                wanted = replace(request, first=missing.start, n=len(missing))
                known |= zip(missing, await self._buy(wanted, conversation), strict=False)
            return [known[sample] for sample in _samples(request)]
        finally:
            del self._turns[conversation]
            turn.set_result(None)

    def _claim(self, conversation: bytes) -> "asyncio.Future[None] | None":
        """The turn to ask a conversation, None while somebody has it."""
        if conversation in self._turns:
            return None
        turn = self._turns[conversation] = asyncio.get_running_loop().create_future()
        return turn

    def _look_up(self, request: Request, conversation: bytes) -> dict[int, Completion]:
        if self._journal is None:
            return {}
        keys = {key_in(conversation, sample): sample for sample in _samples(request)}
        decoded: dict[bytes, list[Completion]] = {}
        known = {}
        for key, (raw, choice) in self._journal.get(list(keys)).items():
            if raw not in decoded:
                decoded[raw] = self._decode(raw)
            known[keys[key]] = decoded[raw][choice]
        return known

    async def _buy(self, request: Request, conversation: bytes) -> list[Completion]:
        """Send, keep, and only then show. A short reply is kept as what it is."""
        if self._draining:
            raise Stopped("stopping: nothing more is sent; every answer received is kept")
        if self._journal is not None and self._journal.failed is not None:
            raise self._journal.failed
        if self._tariff is None:
            return await self._bought(request, conversation, 0.0)
        most = self._tariff.most(request)
        async with self._purse.aside(most):
            return await self._bought(request, conversation, most or 0.0)

    async def _bought(self, request: Request, conversation: bytes, most: float) -> list[Completion]:
        note = canonical(self.engine.identity).decode()
        try:
            raw = await self.engine.send(request)
        except Refused as error:
            self._refused += 1
            if self._refused >= STRANGERS and not self.paid.requests and not self.usage.reused:
                raise UsageError(error.everyone) from None
            raise
        try:
            completions = self._decode(raw)[: request.n]
        except RowError:
            await self._keep([], raw, note, self._bill(raw, [], most))
            raise
        keys = [key_in(conversation, request.first + i) for i in range(len(completions))]
        await self._keep(keys, raw, note, self._bill(raw, completions, most))
        if not completions:
            raise RowError("empty_reply", f"asked for {request.n} samples, got none")
        return completions

    def _bill(self, raw: bytes, completions: list[Completion], most: float) -> Usage:
        """What a reply took. Where its cost is not known it is taken to be the most it can be."""
        cost = 0.0 if self._tariff is None else self._tariff.cost(raw)
        usage = Usage(
            requests=1, prompt_tokens=sum(c.prompt_tokens for c in completions),
            completion_tokens=sum(c.completion_tokens for c in completions),
            cost=most if cost is None else cost, unpriced=int(cost is None),
        )
        self.usage += usage
        self._purse.pay(usage.cost)
        return usage

    async def _keep(self, keys: list[bytes], raw: bytes, note: str, usage: Usage) -> None:
        if self._journal is not None:
            await self._journal.put(keys, raw, note, Bill(self._step, usage) if self._step else None)

    def _decode(self, raw: bytes) -> list[Completion]:
        """The samples of a reply. Whatever a malformed one makes a decoder raise, it costs one row."""
        try:
            return self.engine.decode(raw)
        except RowError:
            raise
        except Exception as error:
            raise RowError("unreadable_reply", f"{type(error).__name__}: {error}") from error


def _samples(request: Request) -> range:
    return range(request.first, request.first + request.n)


def _first_gap(request: Request, known: dict[int, Completion]) -> range:
    """The first unbroken run of samples that are not known; empty when all are."""
    missing = [sample for sample in _samples(request) if sample not in known]
    if not missing:
        return range(0)
    end = next((s for s in range(missing[0], request.first + request.n) if s in known), missing[-1] + 1)
    return range(missing[0], end)
