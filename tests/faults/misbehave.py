"""More ways for a server to misbehave, and a seeded mixture of those that pass when asked again."""

import asyncio
from typing import Any

from aiohttp import web

ERRORS: dict[str, tuple[int, str, str]] = {
    "502": (502, "bad gateway", ""), "529": (529, "overloaded", "overloaded_error"),
    "bare429": (429, "slow down", "rate_limit_exceeded"), "date429": (429, "slow down", "rate_limit_exceeded"),
    "filtered": (400, "The response was filtered", "content_filter"),
    "toolong": (400, "This model's maximum context length is 512 tokens", "context_length_exceeded"),
    "400": (400, "unknown field", ""), "nomodel": (404, "The model `fake` does not exist", "model_not_found"),
}
PASSING = (
    "429", "bare429", "date429", "500", "502", "503", "529", "reset", "hang", "drip", "html", "cut", "twice",
    "redated",
)
"""What the mixture is made of: none of them delivers an answer that is then asked again."""
DOOMED = ("filtered", "toolong", "400")
"""Refusals that are about the request itself: whoever asks it again is told the same."""
HEADERS = {"date429": {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}}
PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


def refusal(kind: str) -> web.Response | None:
    """The error answer of a kind, None where it is another kind of trouble."""
    if kind == "html":
        return web.Response(status=200, body=PAGE, content_type="text/html")
    if kind == "redirect":
        return web.Response(status=307, headers={"location": "http://127.0.0.1:9/v1/chat/completions"})
    if kind not in ERRORS:
        return None
    status, message, code = ERRORS[kind]
    error = {"error": {"message": message, "type": code, "code": code}}
    return web.json_response(error, status=status, headers=HEADERS.get(kind, {}))


def spoil(kind: str | None, body: dict[str, Any]) -> dict[str, Any]:
    """A body as a strange server would give it."""
    if kind == "filter200":
        for choice in body["choices"]:
            choice["message"]["content"], choice["finish_reason"] = None, "content_filter"
    elif kind == "length":
        for choice in body["choices"]:
            choice["finish_reason"] = "length"
    elif kind == "nousage":
        body.pop("usage")
    elif kind == "big":
        body["padding"] = "x" * 10_000_000
    elif kind == "renamed":
        body["model"] = "another-model"
    elif kind == "many":
        body["choices"] = body["choices"] * 2
    return body


async def deliver(kind: str | None, reply: web.StreamResponse, data: bytes) -> bool:
    """Write a body in a strange way; whether it was delivered whole."""
    if kind == "drip":
        step = max(1, len(data) // 8)
        for start in range(0, len(data), step):
            await reply.write(data[start : start + step])
            await asyncio.sleep(0.02)
        return True
    if kind == "cut":  # an orderly end in the middle of the body
        await reply.write(data[: len(data) // 2])
        return False
    await reply.write(data)
    return True


def twice(data: bytes) -> bytes:
    """The same answer once more on the same connection, as a confused proxy would send it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
    return head + data


def date_of(kind: str | None) -> dict[str, str]:
    """A Date header of a server whose clock is an hour off."""
    return {"date": "Wed, 21 Oct 2015 07:28:00 GMT"} if kind == "redated" else {}

