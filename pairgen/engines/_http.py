"""The connection to one server: a body goes out, an answer comes back, and what goes wrong is a Retry.

aiohttp, because a call costs it a tenth of the CPU that the `openai` client takes. No redirect is
followed: it would carry the key along. A reply has a largest size, so that no server can fill the memory.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp

from pairgen import __version__
from pairgen.engines._doubles import Doubles
from pairgen.engines._faults import Retry
from pairgen.engines._host import OPENAI, host_of
from pairgen.errors import RowError

MAX_BODY = 64 << 20
"""Bytes of a reply, unpacked. A longer one costs its row."""
CONNECT = 10.0
"""Seconds to reach a server."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Response(aiohttp.ClientResponse):
    """A response that knows its connection, also when that has been given back."""

    came_on: Any

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        self.came_on = connection.protocol
        return await super().start(connection)


class Line:
    """Keeps connections to `base_url` open. `timeout` bounds a call, `silence` the wait for its next byte."""

    def __init__(self, base_url: str, key: str | None, timeout: float, silence: float) -> None:
        self._url = base_url.rstrip("/")
        self._timeout, self._silence = timeout, silence
        self._proxy = _proxy(base_url)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            headers=_headers(host_of(base_url), key),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT, timeout), sock_read=silence),
            cookie_jar=aiohttp.DummyCookieJar(), response_class=_Response,
        )
        self._doubles = Doubles()

    async def post(self, path: str, body: bytes) -> Answer:
        """POST JSON. Raises Retry when no whole answer came, RowError when it is too long."""
        return await self._call("POST", path, body)

    async def get(self, path: str) -> Answer:
        """GET. Raises as `post` does."""
        return await self._call("GET", path, None)

    async def _call(self, method: str, path: str, body: bytes | None) -> Answer:
        try:
            async with self._session.request(
                method, self._url + path, data=body, allow_redirects=False, proxy=self._proxy
            ) as answer:
                found = Answer(answer.status, answer.headers, await _read(answer))
                assert isinstance(answer, _Response)
                if found.status == 200 and self._doubles.is_one(answer.came_on, found.body):
                    raise Retry("an answer came twice, so this one is another's", kind="cut")
                return found
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Retry(f"cannot be reached: {_detail(error)}", kind="unreachable") from None
        except TimeoutError as error:
            silent = isinstance(error, aiohttp.SocketTimeoutError)
            limit = self._silence if silent else self._timeout
            what = "not a byte" if silent else "no answer"
            raise Retry(f"{what} in {limit:g} s", kind="silent") from None
        except aiohttp.ClientError as error:
            raise Retry(f"connection cut: {_detail(error)}", kind="cut") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
        await asyncio.sleep(0)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body, at most MAX_BODY of it."""
    length = answer.content_length
    if length is not None and length <= MAX_BODY and "Content-Encoding" not in answer.headers:
        return await answer.read()
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            answer.close()
            raise RowError("reply_too_big", f"the reply is longer than {MAX_BODY >> 20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def _headers(host: str, key: str | None) -> dict[str, str]:
    """What every call carries. An account's organisation and project go to OpenAI only."""
    headers = {
        "Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity",
        "User-Agent": f"pairgen/{__version__}",
    }
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if host == OPENAI:
        for name, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
            if os.environ.get(variable):
                headers[name] = os.environ[variable]
    return headers


def allow_connections(count: int) -> None:
    """Let this process open so many connections, as far as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _proxy(base_url: str) -> str | None:
    """The proxy the environment names for this host, looked up once."""
    scheme, host = base_url.split(":", 1)[0], host_of(base_url)
    return None if proxy_bypass(host) else getproxies().get(scheme)


def _detail(error: Any) -> str:
    text = " ".join(str(getattr(error, "os_error", None) or error).split())
    return f"{text[:160]}" if text else type(error).__name__
