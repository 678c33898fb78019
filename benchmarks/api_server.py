"""A scripted chat-completions server for benchmarks, in a process of its own: a bare protocol, no framework.

    python benchmarks/api_server.py [--latency S] [--slow-share P --slow S] [--rpm N [--tell headers|retry]]

prints its port. Replies are 1,500 characters. Which calls are slow, and for how long, depends on the number
of the call only. `--rpm` is a bucket of a second's worth; calls beyond it get a 429, with nothing else,
with Retry-After, or with x-ratelimit headers. GET /stats tells counts and times; GET /reset starts anew.
"""

import argparse
import asyncio
import json
import random
import time

TEXT = ("The quick brown fox jumps over the lazy dog, twice. " * 30)[:1500]


class Book:
    """What the server did: times of answers and refusals, and of the first call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.reset()

    def reset(self) -> None:
        self.calls = self.flying = self.peak = 0
        self.first = 0.0
        self.last = 0.0
        self.answered: list[float] = []
        self.refused: list[float] = []
        self.draw = random.Random(0)
        self.level = self.size = max(1.0, (self.options.rpm or 0) / 60)
        self.at = time.time()

    def admit(self) -> bool:
        """Whether the limit lets a call in now."""
        if not self.options.rpm:
            return True
        now = time.time()
        self.level = min(self.size, self.level + (now - self.at) * self.options.rpm / 60)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def stats(self) -> bytes:
        late = sum(t > self.first + 1 for t in self.refused)
        return json.dumps({
            "calls": self.calls, "answered": len(self.answered), "refused": len(self.refused),
            "refused_late": late, "answered_late": sum(t > self.first + 1 for t in self.answered),
            "first": self.first, "last": self.last, "peak": self.peak,
        }).encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, book: Book) -> None:
        self.book, self.buffer = book, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : head.find(b"\r\n", at) % (1 << 60)] if at >= 0 else 0)
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer, line = self.buffer[end + 4 + length :], self.buffer[:60]
            self.call(line)

    def call(self, line: bytes) -> None:
        book = self.book
        if line.startswith(b"GET /stats"):
            self.write(200, book.stats())
        elif line.startswith(b"GET /reset"):
            book.reset()
            self.write(200, b"{}")
        else:
            self.complete(book)

    def complete(self, book: Book) -> None:
        now = time.time()
        book.first = book.first or now
        book.calls += 1
        options = book.options
        if not book.admit():
            book.refused.append(now)
            headers = b"retry-after: 1\r\n" if options.tell == "retry" else b""
            self.write(429, b'{"error":{"code":"rate_limit_exceeded","message":"slow down"}}', headers)
            return
        book.flying += 1
        book.peak = max(book.peak, book.flying)
        slow = options.slow_share and book.draw.random() < options.slow_share
        delay = options.slow if slow else options.latency
        if delay:
            asyncio.get_running_loop().call_later(delay, self.answer, book, book.calls)
        else:
            self.answer(book, book.calls)

    def answer(self, book: Book, number: int) -> None:
        book.flying -= 1
        book.last = time.time()
        book.answered.append(book.last)
        body = (
            f'{{"id":"b-{number}","object":"chat.completion","model":"bench","choices":[{{"index":0,"message":'
            f'{{"role":"assistant","content":"{TEXT} {number}"}},"finish_reason":"stop"}}],'
            '"usage":{"prompt_tokens":20,"completion_tokens":300,"total_tokens":320}}'
        ).encode()
        headers = b""
        if book.options.tell == "headers" and book.options.rpm:
            used = book.size - book.level
            headers = (
                b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\n"
                b"x-ratelimit-reset-requests: %dms\r\n"
                % (book.options.rpm, book.options.rpm - used, 60_000 * used / book.options.rpm)
            )
        self.write(200, body, headers)

    def write(self, status: int, body: bytes, headers: bytes = b"") -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
                % (status, headers, len(body)) + body
            )


async def _serve(options: argparse.Namespace) -> None:
    book = Book(options)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(book), "127.0.0.1", options.port, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--slow-share", type=float, default=0.0)
    parser.add_argument("--slow", type=float, default=5.0)
    parser.add_argument("--rpm", type=float, default=0.0)
    parser.add_argument("--tell", choices=("nothing", "headers", "retry"), default="nothing")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
