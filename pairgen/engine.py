"""What answers a request. An engine sends and decodes; it knows nothing of rows, stages or files.

`send` returns the reply as received, so that the journal can keep it before anyone decodes it;
`decode` is pure and may be run again years later. Retries live inside the engine that needs them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from pairgen.fingerprint import JSON, Runtime
from pairgen.records import Messages


class Frozen(BaseModel):
    """Base of everything read from YAML: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Sampling(Frozen):
    """How to sample. `temperature: 0` is greedy. `max_tokens` counts completion tokens."""

    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=1024, ge=1)
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for samples `first .. first + n - 1` of a conversation.

    Sample i is drawn with seed `seed + i`, so asking for 4 and later for 4 more gives the same
    eight texts as asking for 8 at once. `logprobs` asks for the log-probabilities of so many of the
    likeliest first tokens. A conversation whose last turn is the assistant's is continued in that turn.
    """

    messages: Messages
    sampling: Sampling
    seed: int
    n: int = 1
    first: int = 0
    logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample. `finish` is stop | length | content_filter; token counts are the engine's own.

    `prompt_tokens` is charged to the first sample of a request, 0 on the others. `first_logprobs` are the
    likeliest first tokens with their natural log-probabilities at temperature 1, where they were asked for.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    first_logprobs: tuple[tuple[str, float], ...] | None = None


class Tariff(Protocol):
    """What an engine's answers cost, in dollars."""

    def cost(self, raw: bytes) -> float | None:
        """What a raw reply cost; None where that is not known."""

    def most(self, request: Request) -> float | None:
        """More than a request can cost; None where there is no price."""

    def expected(self, prompt: int, written: int) -> float | None:
        """What so many tokens cost; None where there is no price."""


class EngineConfig(Frozen):
    """What every engine has. `model` and `revision` are identity; where and how fast is placement.

    `model` is a hub name, a local folder, or `builtin:NAME` for one that ships with pairgen.
    """

    use: str
    model: str
    revision: str | None = None
    concurrency: Runtime[int] = Field(default=64, ge=1)

    def answers_as(self, weights: str | None = None) -> JSON:
        """The `Engine.identity` of what this opens, holding `weights` or its own; nothing is opened."""
        raise TypeError(f"engine {self.use!r} does not say what answers")

    def tariff(self) -> Tariff | None:
        """What its answers cost; None where nobody is paid."""
        return None

    def check(self) -> None:
        """Raise UsageError or CredentialsError where this cannot be opened here; nothing is opened."""

    def open(self) -> "Engine":
        """Build the engine: this loads weights or opens connections."""
        raise TypeError(f"engine {self.use!r} does not say how to open")

    def open_in(self, folder: Path) -> "Engine":
        """`open` for a run in that folder, for engines that must keep something there."""
        return self.open()

    @property
    def rows_at_once(self) -> int:
        """How many rows a driver should have at work."""
        return self.concurrency


class Engine(Protocol):
    """The one thing a stage's requests are answered by."""

    @property
    def identity(self) -> JSON:
        """What answers: engine kind, model and weights. Part of every journal key; no place, no secret."""

    async def send(self, request: Request) -> bytes:
        """The raw reply, holding `request.n` samples.

        Raises RowError when this request can never be answered, CredentialsError or Stopped when no
        request can be answered now.
        """

    def decode(self, raw: bytes) -> list[Completion]:
        """The samples in a raw reply, in order. Pure."""

    async def load_weights(self, folder: Path, weights: str) -> None:
        """Swap in the weights of `folder` (same architecture), known from now on by the digest `weights`."""

    async def sleep(self) -> None:
        """Give accelerator memory back for training, if there is any to give."""

    async def wake(self) -> None:
        """Be ready to answer again."""

    async def close(self) -> None:
        """Free what was opened."""
