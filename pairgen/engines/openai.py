"""Any OpenAI-compatible server: hosted, `vllm serve`, Ollama.

Retries live in `_call` and nowhere else; all engines of a host and key share a gate (`_limits`). An error
that will not go away stops the run at once and is remembered, so that no further call is made. The body
is kept as received; reading it is pure and may be repeated.
"""

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pairgen.engine import Completion, Engine, EngineConfig, Request
from pairgen.engines._body import count_choices, joined, samples
from pairgen.engines._call import Call
from pairgen.engines._faults import Retry, meaning, read_fault
from pairgen.engines._host import OPENAI, host_of, key_for, read_key, refuse_keys
from pairgen.engines._limits import Gate, forget, gate_of
from pairgen.engines._prices import Price, Tokens, price_of
from pairgen.engines._wire import chat_body, encode, prompt_tokens, token_field
from pairgen.errors import CredentialsError, Stopped, UsageError
from pairgen.fingerprint import JSON, Runtime

if TYPE_CHECKING:
    from pairgen.engines._batch import Batches
    from pairgen.engines._http import Answer, Line

CHAT = "/chat/completions"
PAGES = 3
"""Web pages, with nothing answered before, after which it is no proxy's passing trouble."""


class OpenAIConfig(EngineConfig):
    """A model behind an HTTP API.

    `native_n: false` asks for the samples of a request one by one, each with its own seed. A failed
    call is tried again up to `retries` times and `retry_seconds` in all; `timeout` bounds one call and
    `silence` the seconds in it without a byte. `requests_per_minute` and `tokens_per_minute` are the
    account's limits, shared by all engines of a host and key; without them they are learnt.
    `token_limit` is the name of the field that bounds completions: hosted OpenAI models want
    `max_completion_tokens`, other servers `max_tokens`. `extra` adds fields to every request (`logprobs`,
    `reasoning_effort`) and `response_format` asks for JSON; `omit` leaves out what a server refuses.
    `batch: true` uses the Batch API at its price: `batch_size` requests a batch, looked after every
    `batch_poll` seconds; it is placement, so a run may change between both and pay nothing twice.
    `price` or the table in the file `prices` says what tokens cost, where the shipped table does not.
    """

    use: Literal["openai"] = "openai"
    native_n: bool = True
    response_format: dict[str, Any] | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    omit: tuple[Literal["temperature", "top_p", "seed", "stop"], ...] = ()
    base_url: Runtime[str] = f"https://{OPENAI}/v1"
    api_key_env: Runtime[str | None] = None
    timeout: Runtime[float] = Field(default=300.0, gt=0)
    silence: Runtime[float] = Field(default=240.0, gt=0)
    retries: Runtime[int] = Field(default=6, ge=0)
    retry_seconds: Runtime[float] = Field(default=180.0, ge=0)
    requests_per_minute: Runtime[float | None] = Field(default=None, gt=0)
    tokens_per_minute: Runtime[float | None] = Field(default=None, gt=0)
    batch: Runtime[bool] = False
    batch_size: Runtime[int] = Field(default=10_000, ge=1, le=50_000)
    batch_poll: Runtime[float] = Field(default=30.0, gt=0)
    price: Runtime[Price | None] = None
    prices: Runtime[str | None] = None
    token_limit: Runtime[Literal["max_completion_tokens", "max_tokens"] | None] = None

    @model_validator(mode="after")
    def _check(self) -> "OpenAIConfig":
        if self.revision is not None:
            raise ValueError("revision: an API has none; a dated model name is one")
        refuse_keys(self.api_key_env, self.extra)
        if taken := sorted({"model", "messages", "n", "stream", "max_tokens"} & self.extra.keys()):
            raise ValueError(f"extra: {taken[0]!r} is not an extra field, pairgen sets it itself")
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """What is added to every request."""
        form = {"response_format": self.response_format} if self.response_format is not None else {}
        return {**self.extra, **form}

    def answers_as(self, weights: str | None = None) -> JSON:
        """Kind and model, and what is asked beyond a stage's sampling: where it is served is no part of it."""
        known: dict[str, JSON] = {"engine": "openai", "model": self.model}
        if self.fields:
            known["fields"] = self.fields
        if self.omit:
            known["omit"] = list(self.omit)
        return known

    def tariff(self) -> Tokens | None:
        """What tokens cost. A server on this machine that wants no key is paid by nobody."""
        if self.price is None and self.prices is None and key_for(self.base_url, self.api_key_env) is None:
            return None
        price = self.price or price_of(self.model, self.prices)
        return Tokens(price, price.batch if self.batch and price is not None else 1.0)

    @property
    def rows_at_once(self) -> int:
        """A batch full, where batches are used."""
        return self.batch_size if self.batch else self.concurrency

    def check(self) -> None:
        """The key must be set, where one is needed, and in no option. What speaks HTTP loads beside other work."""
        key_env = key_for(self.base_url, self.api_key_env)
        if key_env is not None and read_key(key_env) in self.model_dump_json():
            raise UsageError(f"an option of the engine holds the key of {key_env}: options are kept with the run")
        if "aiohttp" not in sys.modules:  # half of its 0.13 s is reading certificates, which needs no interpreter
            Thread(target=import_module, args=("pairgen.engines._http",), name="warm-up").start()

    def open(self) -> Engine:
        """Read the key. Raises CredentialsError or UsageError before any connection is made."""
        key_env = key_for(self.base_url, self.api_key_env)
        return OpenAIEngine(self, key_env, None if key_env is None else read_key(key_env))

    def open_in(self, folder: Path) -> Engine:
        """As `open`; the ids of batches are kept in the run's folder."""
        engine = self.open()
        assert isinstance(engine, OpenAIEngine)
        engine.folder = folder / "batches"
        return engine


class OpenAIEngine:
    """Sends requests as chat completions. `concurrency` bounds the calls in flight."""

    def __init__(self, config: OpenAIConfig, key_env: str | None, key: str | None) -> None:
        self.config, self._key_env, self.key = config, key_env, key
        self.host = host_of(config.base_url)
        self._token_field = token_field(config.token_limit, self.host)
        self._omit = frozenset(config.omit)
        self._fatal: CredentialsError | UsageError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate: Gate
        self._line: Line
        self._batches: Batches | None = None
        self.folder: Path | None = None

    @property
    def identity(self) -> JSON:
        """What the config says."""
        return self.config.answers_as()

    async def send(self, request: Request) -> bytes:
        """The body of the answer, or of several as one JSON list when the samples came one by one."""
        if request.n == 1:
            return await self._ask(request, 0, 1)
        if not self.config.native_n:
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
        """One call, and more while that may help."""
        self._connect()
        body = encode(chat_body(
            request, offset, n, model=self.config.model, token_limit=self._token_field,
            extra=self.config.fields, omit=self._omit,
        ))
        call = Call(self, self._gate, body, prompt_tokens(request), request.sampling.max_tokens * n)
        try:
            try:
                return await call.once()
            except Retry as error:
                return await call.again(error)
        except (CredentialsError, UsageError) as error:
            self._fatal = error
            raise

    def refuse(self, answer: "Answer") -> None:
        """Raise what an answer means that holds no completion."""
        body = answer.body
        if not 200 <= answer.status < 300:
            raise self._meaning(answer.status, answer.headers, body)
        if b'"choices"' in body:
            return
        if body.lstrip()[:1] == b"<":
            self._gate.pages += 1
            if self._gate.answered or self._gate.pages < PAGES:  # what stands before the server, not the server
                raise Retry(f"a web page in place of an answer: {body[:60]!r}", kind="busy")
            raise UsageError(f"{self.host} answers with a web page, not with JSON: check base_url")
        if b'"error"' in body:  # some gateways report an error with status 200
            fault = read_fault(200, {}, body)
            if fault.code or fault.message:
                raise self._meaning(int(fault.code) if fault.code.isdecimal() else 500, {}, body)

    def _meaning(self, status: int, headers: Any, body: bytes) -> Exception:
        fault = read_fault(status, headers, self.without_key(body.decode("utf-8", "replace")).encode())
        return meaning(fault, self.host, self.config.model, self._key_env)

    def without_key(self, text: str) -> str:
        """A text that may be shown."""
        return text.replace(self.key, "[key]") if self.key else text

    def given_up(self, error: Retry) -> Stopped:
        """The one line for a server that does not answer."""
        return Stopped(
            f"{self.host} does not answer ({self.without_key(error.reason)}); "
            "what was answered is kept, run again to go on"
        )

    def stop_if_dead(self) -> None:
        """Raise again what made every further call pointless."""
        if self._fatal is not None:
            raise type(self._fatal)(str(self._fatal))

    def _connect(self) -> None:
        """Connections of the running loop: they cannot outlive it."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        from pairgen.engines._http import Line, allow_connections

        config = self.config
        allow_connections(0 if config.batch else config.concurrency)
        if self._loop is not None:
            forget(config.base_url, self.key, config.rows_at_once)
        self._loop, self.place = loop, asyncio.Semaphore(config.rows_at_once)
        self._line = Line(config.base_url, self.key, config.timeout, config.silence)
        self._gate = gate_of(config.base_url, self.key)
        self._gate.join(config.rows_at_once, config.requests_per_minute, config.tokens_per_minute)
        if config.batch:
            self._batches = self._open_batches()

    def _open_batches(self) -> "Batches":
        from pairgen.engines._batch import Batches
        from pairgen.engines._client import new_client

        if self.folder is None:
            raise UsageError("engine openai: batch: true needs a run folder to keep the ids of batches in")
        config = self.config
        client = new_client(config.base_url, self.key, config.timeout)
        return Batches(client, self.folder, config.batch_size, config.batch_poll)

    async def post(self, body: bytes) -> "Answer":
        """Ask one body. In a batch an answer can take a day."""
        if self._batches is None:
            return await self._line.post(CHAT, body)
        from pairgen.engines._client import translated
        from pairgen.engines._http import Answer

        with translated(self._meaning):
            line = await self._batches.ask(body)
        return Answer(line["status_code"], {}, encode(line["body"]))

    def decode(self, raw: bytes) -> list[Completion]:
        """The samples of a body, or of a list of bodies. Pure. Raises RowError when there are none."""
        return samples(raw)

    async def load_weights(self, folder: Path, weights: str) -> None:
        """Raises UsageError: the weights behind an API are not ours."""
        raise UsageError(
            f"engine openai: cannot load {folder} into {self.host}; serve it there, or use the vllm engine"
        )

    async def sleep(self) -> None:
        """Nothing to give back."""

    async def wake(self) -> None:
        """Always ready."""

    async def close(self) -> None:
        """Close the connections of this loop."""
        if self._loop is asyncio.get_running_loop():
            self._loop = None
            forget(self.config.base_url, self.key, self.config.rows_at_once)
            await self._line.close()
            if self._batches is not None:
                await self._batches.close()


ENGINE = OpenAIConfig
