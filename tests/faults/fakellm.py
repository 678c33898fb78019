"""A chat-completions server that misbehaves on request, and bills.

Answers and latencies are pure functions of the seed and the request, so that two runs can be compared
byte by byte. One line goes to the ledger when an answer was fully written: that is what a provider
would bill. The server and its ledger outlive every client that is killed.

    python fakellm.py LEDGER [--latency 0.01 0.05] [--fault KIND[:AFTER[:EVERY]]] ...

prints its port. A fault of KIND strikes every EVERY-th request once AFTER answers were billed:
429 | 500 | 503 | 401 | quota | hang | reset | junk | empty | short, or one of `misbehave`. `mix:AFTER:SHARE`
strikes SHARE in a hundred calls, by seed, with all that passes when it is asked again; `doomed` refuses some
requests for good, by what they ask. Faults come and go by
`POST /faults {"faults": ["401:100"]}`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web
from fakebatch import FakeBatches
from misbehave import DOOMED, PASSING, date_of, deliver, refusal, spoil, twice

REFUSED = {
    "429": (429, "slow down", "rate_limit_exceeded"),
    "500": (500, "oops", "server_error"),
    "503": (503, "overloaded", "server_error"),
    "401": (401, "Incorrect API key provided", "invalid_api_key"),
    "quota": (429, "You exceeded your current quota", "insufficient_quota"),
}
ECHOES = {"echo500": 500, "echo400": 400, "echo401": 401}
WORDS = ("amber", "basin", "copper", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "kelp")


@dataclass(slots=True)
class Fault:
    """One way to misbehave."""

    kind: str
    after: int = 0
    every: int = 1
    seen: int = 0

    @classmethod
    def parse(cls, text: str) -> "Fault":
        kind, *numbers = text.split(":")
        return cls(kind, *map(int, numbers))

    def strikes(self, billed: int) -> bool:
        if billed < self.after:
            return False
        self.seen += 1
        return self.seen % self.every == 0


def draw(*parts: Any) -> int:
    """A number that depends on the parts and nothing else."""
    return int.from_bytes(sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:6], "big")


def key_of(body: dict[str, Any]) -> str:
    """What the ledger calls a request."""
    return f"{draw(body):012x}"


def words(number: int, count: int) -> str:
    """`count` words that depend on a number."""
    return " ".join(WORDS[draw(number, i) % len(WORDS)] for i in range(count))


def answer(body: dict[str, Any], sample: int) -> dict[str, Any]:
    """A sample of a request, in the form the prompt asks for; now and then it is cut or a refusal."""
    seed = (body.get("seed") or 0) + sample
    asked = {k: v for k, v in body.items() if k not in ("n", "seed")}
    number = draw(asked, seed)
    prompt = body["messages"][-1]["content"]
    if "[[A]]" in prompt:
        text = f"Weighing {words(number, 6)}.\n[[{'AB'[number % 2]}]]"
    elif "[The start of the worse answer]" in prompt:
        text = f"[The start of the worse answer]\n{words(number, 12)}\n[The end of the worse answer]"
    elif number % 17 == 0:
        text = "I'm sorry, but I can't help with that."
    else:
        text = f"It is {words(number, 10)} \u2713."
    cut = number % 23 == 0
    return {
        "index": sample, "finish_reason": "length" if cut else "stop", "logprobs": None,
        "message": {"role": "assistant", "content": text, "refusal": None},
    }


class Server:
    """The fake provider."""

    def __init__(self, ledger: Path, seed: int, latency: tuple[float, float], faults: list[str]) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._seed, self._latency = seed, latency
        self._faults = [Fault.parse(text) for text in faults]
        self._billed = self._arrived = 0
        self._tries: dict[str, int] = {}
        self._batches = FakeBatches(
            0.15, self._note, lambda body, key, number: self._body(body, key, number, None), key_of
        )

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_post("/faults", self.set_faults)
        app.router.add_get("/v1/models", self.models)
        self._batches.add_to(app)
        return app

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    async def set_faults(self, request: web.Request) -> web.Response:
        self._faults = [Fault.parse(text) for text in (await request.json())["faults"]]
        self._batches.lose_next = any(fault.kind == "lost-batch" for fault in self._faults)
        return web.json_response({})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ConnectionError:  # the client was killed while it sent
            return web.Response(status=400)
        self._arrived += 1
        number = self._arrived
        key = key_of(body)
        self._note("arrived", key, number)
        fault = self._fault(key)
        low, high = self._latency
        await asyncio.sleep(low + (high - low) * (draw(self._seed, body) % 1000) / 1000)
        if fault in REFUSED:
            status, message, code = REFUSED[fault]
            self._note("refused", key, number)
            error = {"message": message, "type": code, "code": code}
            return web.json_response({"error": error}, status=status, headers={"retry-after-ms": "20"})
        if fault in ECHOES:  # a server that repeats the key in what it says
            self._note("refused", key, number, fault=fault)
            message = f"trouble with {request.headers.get('authorization')}"
            return web.json_response({"error": {"message": message}}, status=ECHOES[fault])
        if fault is not None and (answered := refusal(fault)) is not None:
            self._note("refused", key, number, fault=fault)
            return answered
        if fault == "hang":
            self._note("hung", key, number)
            await asyncio.sleep(3600)
        return await self._reply(request, self._body(body, key, number, fault), key, number, fault)

    def _fault(self, key: str) -> str | None:
        """What goes wrong with a call; the mixture depends on the seed, the request and the try only."""
        self._tries[key] = attempt = self._tries.get(key, 0) + 1
        for fault in self._faults:
            if fault.kind == "poison":
                if int(key, 16) % 19 == 0:
                    return "500"
            elif fault.kind == "doomed":
                if int(key, 16) % 20 < len(DOOMED):
                    return DOOMED[int(key, 16) % 20]
            elif fault.kind != "mix":
                if fault.strikes(self._billed):
                    return fault.kind
            elif draw(self._seed, key, attempt) % 100 < fault.every:
                return PASSING[draw(self._seed, key, attempt, "kind") % len(PASSING)]
        return None

    def _body(self, body: dict[str, Any], key: str, number: int, fault: str | None) -> dict[str, Any]:
        count = {"short": 1, "empty": 0}.get(fault or "", body.get("n") or 1)
        choices = [answer(body, i) for i in range(count)]
        prompt = sum(len(m["content"].split()) for m in body["messages"])
        completion = sum(len(c["message"]["content"].split()) for c in choices)
        return spoil(fault, {
            "id": f"fake-{key}-{number}", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": choices,
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion},
        })

    async def _reply(
        self, request: web.Request, body: dict[str, Any], key: str, number: int, fault: str | None
    ) -> web.StreamResponse:
        data = b'{"choices": [{"mess' if fault == "junk" else json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(data)), **date_of(fault)}
        reply = web.StreamResponse(headers=headers)
        try:
            await reply.prepare(request)
            if fault == "reset":
                await reply.write(data[: len(data) // 2])
                _reset(request)
                self._note("reset", key, number)
                return reply
            whole = await deliver(fault, reply, data)
            if not whole:
                self._note("reset", key, number)
                assert request.transport is not None
                request.transport.close()
                return reply
            await reply.write_eof()
            if fault == "twice" and request.transport is not None:
                request.transport.write(twice(data))
        except ConnectionError:
            self._note("unread", key, number)
            return reply
        self._billed += 1
        self._note("billed", key, number, **body.get("usage", {}))
        return reply

    def _note(self, event: str, key: str, number: int, **more: Any) -> None:
        line = {"t": time.time(), "event": event, "key": key, "id": f"fake-{key}-{number}", **more}
        os.write(self._ledger, json.dumps(line).encode() + b"\n")


def _reset(request: web.Request) -> None:
    """Cut the connection so that the client sees RST, not an orderly end."""
    transport = request.transport
    assert transport is not None
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


# --- the tests' side ----------------------------------------------------------------------------------


class FakeLLM:
    """A server process with its ledger."""

    def __init__(self, ledger: Path, *faults: str, latency: tuple[float, float] = (0.005, 0.03)) -> None:
        self.ledger = ledger
        run = [sys.executable, __file__, str(ledger), "--latency", *map(str, latency)]
        for fault in faults:
            run += ["--fault", fault]
        self._process = subprocess.Popen(run, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def faults(self, *faults: str) -> None:
        """Misbehave like this from now on; with none, behave."""
        url, body = f"http://127.0.0.1:{self.port}/faults", json.dumps({"faults": faults}).encode()
        urllib.request.urlopen(urllib.request.Request(url, body)).close()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The ledger's lines of one kind: arrived | billed | refused | reset | unread; of all without one."""
        if not self.ledger.exists():
            return []
        lines = self.ledger.read_bytes().splitlines(keepends=True)
        whole = (json.loads(text) for text in lines if text.endswith(b"\n"))
        return [line for line in whole if event is None or line["event"] == event]

    @property
    def billed(self) -> int:
        """How many answers were paid for."""
        return self.ledger.read_bytes().count(b'"event": "billed"') if self.ledger.exists() else 0

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, nargs=2, default=(0.005, 0.03))
    parser.add_argument("--fault", action="append", default=[])
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)  # before anyone is told the port
    print(listener.getsockname()[1], flush=True)
    server = Server(args.ledger, args.seed, tuple(args.latency), args.fault)
    with contextlib.suppress(KeyboardInterrupt):
        web.run_app(server.app(), sock=listener, print=None, access_log=None)


if __name__ == "__main__":
    _main()
