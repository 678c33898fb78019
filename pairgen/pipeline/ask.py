"""One row of an LLM stage: its requests are asked, replies without their form repaired, and what is left is read."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pairgen.engine import Completion, Request
from pairgen.errors import RowError
from pairgen.journal import Journaled
from pairgen.records import Drop
from pairgen.stage import FormStage, LLMStage

AGAIN = "\n\n[asked for the form once more]\n\n"


async def ask_row(stage: LLMStage, row: Any, answers: Journaled) -> list[Any]:
    """Ask a row's requests and read the replies; a request that can never be answered drops the row."""
    try:
        requests = stage.ask(row)
        replies = await _all(answers, requests)
    except RowError as error:
        return [Drop(row.id, stage.id, error.reason, error.detail)]
    if not isinstance(stage, FormStage) or not stage.repair:
        return stage.read(row, replies)
    repairs = await asyncio.gather(*_repairs(stage, requests, replies, answers))
    for repair in repairs:
        if repair.why is None:
            replies[repair.request][repair.sample] = repair.reply
    return _told(stage.read(row, replies), repairs)


async def _all(answers: Journaled, requests: Sequence[Request]) -> list[list[Completion]]:
    """All replies. Of several requests that are refused the first counts, whichever is told first."""
    if len(requests) == 1:
        return [await answers.complete(requests[0])]
    replies = await asyncio.gather(*(_settled(answers, request) for request in requests))
    if refused := next((reply for reply in replies if isinstance(reply, RowError)), None):
        raise refused
    return [reply for reply in replies if not isinstance(reply, RowError)]


async def _settled(answers: Journaled, request: Request) -> list[Completion] | RowError:
    try:
        return await answers.complete(request)
    except RowError as error:
        return error


@dataclass(frozen=True, slots=True)
class _Repair:
    """What came of sending a reply back: `reply` in place of `first`, unless `why` says that it is no better."""

    request: int
    sample: int
    first: Completion
    reply: Completion
    why: str | None


def _repairs(
    stage: FormStage, requests: Sequence[Request], replies: Sequence[Sequence[Completion]], answers: Journaled
) -> Iterable[Any]:
    """A call for each reply that lacks its form."""
    for index, (request, samples) in enumerate(zip(requests, replies, strict=True)):
        for sample, reply in enumerate(samples):
            again = stage.repair_of(request, sample, reply)
            if again is not None:
                yield _sent_back(stage, again, _Repair(index, sample, reply, reply, None), answers)


async def _sent_back(stage: FormStage, again: Request, repair: _Repair, answers: Journaled) -> _Repair:
    try:
        (reply,) = await answers.complete(again)
    except RowError as error:
        return replace(repair, why=f"the repair came to {error.reason}")
    whole = reply.finish == "stop" and stage.has_form(reply)
    return replace(repair, reply=reply, why=None if whole else "nor in the repair")


def _told(outs: list[Any], repairs: Sequence[_Repair]) -> list[Any]:
    """Drops whose reply was sent back in vain say so, and keep both replies."""
    vain = {repair.first.text: repair for repair in repairs if repair.why is not None}
    return [_both(out, vain[out.raw]) if isinstance(out, Drop) and out.raw in vain else out for out in outs]


def _both(drop: Drop, repair: _Repair) -> Drop:
    detail = f"{drop.detail}, {repair.why}" if drop.detail else str(repair.why)
    second = "" if repair.reply is repair.first else AGAIN + repair.reply.text
    return replace(drop, detail=detail, raw=repair.first.text + second)
