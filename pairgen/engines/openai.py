"""Any OpenAI-compatible server: hosted, `vllm serve`, Ollama.

Retries live here and nowhere else: bounded in count and in time, with jitter, and a server that asks
for a pause gets it. An error that will not go away stops the run at once and is remembered, so that no
further call is made. The body is kept as received; reading it is pure and may be repeated.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from pairgen.engine import Completion, Engine, EngineConfig, Request
from pairgen.engines._body import count_choices, joined, samples
from pairgen.engines._faults import Retry, meaning, read_fault
from pairgen.engines._host import OPENAI, host_of, key_for, read_key
from pairgen.engines._reply import printable
from pairgen.errors import CredentialsError, Stopped, UsageError
from pairgen.fingerprint import JSON, Runtime

if TYPE_CHECKING:
    from openai import AsyncOpenAI

BACKOFF = wait_random_exponential(multiplier=0.5, max=30)


class OpenAIConfig(EngineConfig):
    """A model behind an HTTP API.

    `native_n: false` asks for the samples of a request one by one, each with its own seed. A failed
    call is tried again up to `retries` times and `retry_seconds` in all; `timeout` bounds one call.
    `token_limit` is the name of the field that bounds completions: hosted OpenAI models want
    `max_completion_tokens`, other servers `max_tokens`.
    """

    use: Literal["openai"] = "openai"
    native_n: bool = True
    base_url: Runtime[str] = f"https://{OPENAI}/v1"
    api_key_env: Runtime[str | None] = None
    timeout: Runtime[float] = Field(default=300.0, gt=0)
    retries: Runtime[int] = Field(default=6, ge=0)
    retry_seconds: Runtime[float] = Field(default=180.0, ge=0)
    token_limit: Runtime[Literal["max_completion_tokens", "max_tokens"] | None] = None

    @model_validator(mode="after")
    def _check(self) -> "OpenAIConfig":
        if self.revision is not None:
            raise ValueError("revision: an API has none; a dated model name is one")
        return self

    def answers_as(self, weights: str | None = None) -> JSON:
        """Kind and model: where it is served is no part of it."""
        return {"engine": "openai", "model": self.model}

    def check(self) -> None:
        """The key must be set, where one is needed."""
        key_env = key_for(self.base_url, self.api_key_env)
        if key_env is not None:
            read_key(key_env)

    def open(self) -> Engine:
        """Read the key. Raises CredentialsError or UsageError before any connection is made."""
        key_env = key_for(self.base_url, self.api_key_env)
        return OpenAIEngine(self, key_env, None if key_env is None else read_key(key_env))


class OpenAIEngine:
    """Sends requests as chat completions. `concurrency` bounds the calls in flight."""

    def __init__(self, config: OpenAIConfig, key_env: str | None, key: str | None) -> None:
        self._config, self._key_env, self._key = config, key_env, key
        self._host = host_of(config.base_url)
        self._fatal: CredentialsError | UsageError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def identity(self) -> JSON:
        """What the config says."""
        return self._config.answers_as()

    async def send(self, request: Request) -> bytes:
        """The body of the answer, or of several as one JSON list when the samples came one by one."""
        if request.n == 1:
            return await self._ask(request, 0, 1)
        if not self._config.native_n:
            return joined(await self._each(request, 0))
        body = await self._ask(request, 0, request.n)
        got = count_choices(body)
        if not 0 < got < request.n:
            return body
        # the server does not know n: the samples it left out are asked one by one
        return joined([body, *await self._each(request, got)])

    async def _each(self, request: Request, first: int) -> list[bytes]:
        """Single samples from `first` on, up to the first that failed: what is paid for is handed over."""
        asked = (self._ask(request, i, 1) for i in range(first, request.n))
        bodies: list[bytes] = []
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, BaseException):
                if first or bodies:
                    break
                raise answer
            bodies.append(answer)
        return bodies

    async def _ask(self, request: Request, offset: int, n: int) -> bytes:
        """One call, tried again while that may help. Raises Stopped with one line when it did not."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Retry), wait=_pause, reraise=True,
            stop=stop_after_attempt(self._config.retries + 1) | stop_before_delay(self._config.retry_seconds),
        )
        try:
            body: bytes = await attempts(self._call, request, offset, n)
        except Retry as error:
            raise Stopped(
                f"{self._host} does not answer ({self._without_key(error.reason)}); "
                "what was answered is kept, run again to go on"
            ) from None
        except (CredentialsError, UsageError) as error:
            self._fatal = error
            raise
        return body

    async def _call(self, request: Request, offset: int, n: int) -> bytes:
        import openai

        client, fields = self._client(), self._body(request, offset, n)
        async with self._gate:
            if self._fatal is not None:
                raise type(self._fatal)(str(self._fatal))
            try:
                async with asyncio.timeout(self._config.timeout):
                    answer = await client.chat.completions.with_raw_response.create(**fields)
                    body: bytes = answer.content
            except openai.APIStatusError as error:
                answered = error.response
                raise self._meaning(answered.status_code, answered.headers, answered.content) from None
            except (openai.APIConnectionError, TimeoutError) as error:
                detail = str(error.__cause__ or error) or f"no answer in {self._config.timeout:g} s"
                raise Retry(f"{type(error).__name__}: {detail}") from None
        self._refuse_error(body)
        return body

    def _refuse_error(self, body: bytes) -> None:
        """Some gateways report an error with status 200."""
        if b'"choices"' in body or b'"error"' not in body:
            return
        fault = read_fault(200, {}, body)
        if fault.code or fault.message:
            raise self._meaning(int(fault.code) if fault.code.isdecimal() else 500, {}, body)

    def _meaning(self, status: int, headers: Any, body: bytes) -> Exception:
        fault = read_fault(status, headers, self._without_key(body.decode("utf-8", "replace")).encode())
        return meaning(fault, self._host, self._config.model, self._key_env)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    def _body(self, request: Request, offset: int, n: int) -> dict[str, Any]:
        from openai import Omit

        options, config = request.sampling, self._config
        limit = config.token_limit or ("max_completion_tokens" if self._host == OPENAI else "max_tokens")
        body: dict[str, Any] = {
            "model": config.model, "temperature": options.temperature, "top_p": options.top_p,
            "messages": [{"role": m.role, "content": printable(m.content)} for m in request.messages],
            "seed": request.seed + request.first + offset, limit: options.max_tokens,
        }
        if n > 1:
            body["n"] = n
        if options.stop:
            body["stop"] = list(options.stop)
        if self._key is None:
            body["extra_headers"] = {"Authorization": Omit()}
        return body

    def _client(self) -> "AsyncOpenAI":
        """The client of the running loop: a connection cannot outlive its loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._gate = loop, asyncio.Semaphore(self._config.concurrency)
            self._open_client = new_client(self._config, self._key)
        return self._open_client

    def decode(self, raw: bytes) -> list[Completion]:
        """The samples of a body, or of a list of bodies. Pure. Raises RowError when there are none."""
        return samples(raw)

    async def load_weights(self, folder: Path, weights: str) -> None:
        """Raises UsageError: the weights behind an API are not ours."""
        raise UsageError(
            f"engine openai: cannot load {folder} into {self._host}; serve it there, or use the vllm engine"
        )

    async def sleep(self) -> None:
        """Nothing to give back."""

    async def wake(self) -> None:
        """Always ready."""

    async def close(self) -> None:
        """Close the connections of this loop."""
        if self._loop is asyncio.get_running_loop():
            self._loop = None
            await self._open_client.close()


def new_client(config: OpenAIConfig, key: str | None) -> "AsyncOpenAI":
    """A client that never retries by itself and follows no redirect: those would carry the key along."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Omit

    headers: dict[str, Any] = {}
    if host_of(config.base_url) != OPENAI:
        headers |= {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
    return AsyncOpenAI(
        api_key=key or "none", base_url=config.base_url, max_retries=0, timeout=config.timeout,
        default_headers=headers,
        http_client=DefaultAsyncHttpxClient(follow_redirects=False, timeout=config.timeout),
    )


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, Retry) else None
    return max(BACKOFF(state), asked or 0.0)


ENGINE = OpenAIConfig
