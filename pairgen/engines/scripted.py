"""Replies from a script: every pipeline can be planned, tested and dry-run without a model.

In YAML, the first rule whose `match` is found in the last user turn answers; in code, a function or a
list does. A token is a word. What varies, varies with the sample's seed, so the same request always
gets the same reply.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pairgen.engine import Completion, Engine, EngineConfig, Frozen, Request, Sampling
from pairgen.engines._reply import cut, pack, unpack
from pairgen.errors import UsageError
from pairgen.fingerprint import JSON, Runtime, digest, folder_digest, identity
from pairgen.prompts import HOLE, fill
from pairgen.records import Messages
from pairgen.resources import resolve

Script = Callable[[Messages, int], str]
"""The reply to a conversation, given the seed of the sample."""

Replies = str | tuple[str, ...]
WORD = re.compile(r"\s*\S+")


class Rule(Frozen):
    """When `match` is found in the last user turn, `reply` answers; one of a list is picked by the seed.

    `{{name}}` is filled with the named group of the match, `{{seed}}` with the sample's seed.
    """

    match: str
    reply: Replies

    @model_validator(mode="after")
    def _check(self) -> "Rule":
        try:
            groups = set(re.compile(self.match).groupindex)
        except re.error as error:
            raise ValueError(f"match {self.match!r} is not a regular expression ({error})") from error
        unknown = {hole for text in options(self.reply) for hole in HOLE.findall(text)} - groups - {"seed"}
        if unknown:
            raise ValueError(f"reply has holes {sorted(unknown)}, match has groups {sorted(groups)}")
        return self


class ScriptedConfig(EngineConfig):
    """Rules in order, and the `default` reply when none matches.

    `latency` seconds pass before each reply, and up to `jitter` more, by seed.
    """

    use: Literal["scripted"] = "scripted"
    model: str = "scripted"
    replies: tuple[Rule, ...] = ()
    default: Replies = "A scripted reply ({{seed}})."
    latency: Runtime[float] = Field(default=0.0, ge=0)
    jitter: Runtime[float] = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "ScriptedConfig":
        Rule(match="", reply=self.default)
        return self

    def open(self) -> Engine:
        """The engine that follows these rules."""
        name, own = self._model()
        return ScriptedEngine(
            self.reply, name=name, known_by=self._known_by(), weights=own,
            latency=self.latency, jitter=self.jitter,
        )

    def answers_as(self, weights: str | None = None) -> JSON:
        """Kind, name and script, and the weights: a model folder goes by its files, not its name."""
        name, own = self._model()
        return _known(name, self._known_by(), weights or own)

    def _model(self) -> tuple[str | None, str | None]:
        """The name of what it plays, or the digest of the folder it plays."""
        folder = resolve(self.model)
        return (None, folder_digest(folder)) if folder.is_dir() else (self.model, None)

    def _known_by(self) -> str:
        return digest(identity([list(self.replies), self.default]))

    def reply(self, messages: Messages, seed: int) -> str:
        """What the rules say to a conversation."""
        said = next((m.content for m in reversed(messages) if m.role == "user"), "")
        for rule in self.replies:
            match = re.search(rule.match, said)
            if match is not None:
                groups = {name: text or "" for name, text in match.groupdict().items()}
                return fill(pick(rule.reply, seed), {**groups, "seed": str(seed)})
        return fill(pick(self.default, seed), {"seed": str(seed)})


class ScriptedEngine:
    """Answers from a function, or from a list that is used up in order of arrival.

    `known_by` tells one script from another in the identity. `asked` keeps the last requests, for tests to
    look at. An exception of the function's is the engine's.
    """

    def __init__(
        self, script: Script | Sequence[str], *, name: str | None = "scripted", known_by: str = "code",
        weights: str | None = None, latency: float = 0.0, jitter: float = 0.0,
    ) -> None:
        self._script = script if callable(script) else in_order(script)
        self._name, self._known_by = name, known_by
        self._weights = weights
        self._latency, self._jitter = latency, jitter
        self.asked: deque[Request] = deque(maxlen=1000)

    @property
    def identity(self) -> JSON:
        """Kind, name and script; after a swap also the digest that was given."""
        return _known(self._name, self._known_by, self._weights)

    async def send(self, request: Request) -> bytes:
        """The scripted samples of a request."""
        self.asked.append(request)
        seeds = [request.seed + request.first + i for i in range(request.n)]
        pause = self._latency + self._jitter * (seeds[0] * 0x9E3779B1 % 2**32) / 2**32
        if pause > 0:
            await asyncio.sleep(pause)
        prompt = sum(len(m.content.split()) for m in request.messages)
        samples = [
            completion(self._script(request.messages, seed), request.sampling, 0 if i else prompt)
            for i, seed in enumerate(seeds)
        ]
        return pack([certain(sample) for sample in samples] if request.logprobs else samples)

    def decode(self, raw: bytes) -> list[Completion]:
        """The samples in a raw reply. Pure."""
        return unpack(raw)

    async def load_weights(self, folder: Path, weights: str) -> None:
        """Take the digest: the script stays what it is."""
        self._weights = weights

    async def sleep(self) -> None:
        """Nothing to give back."""

    async def wake(self) -> None:
        """Always ready."""

    async def close(self) -> None:
        """Nothing to free."""


def _known(name: str | None, script: str, weights: str | None) -> JSON:
    return {"engine": "scripted", "model": name, "script": script, "weights": weights}


def completion(text: str, sampling: Sampling, prompt_tokens: int) -> Completion:
    """A reply cut by stop strings and by `max_tokens`, as a model's would be."""
    text, _ = cut(text, sampling.stop)
    words = WORD.findall(text)
    if len(words) > sampling.max_tokens:
        return Completion("".join(words[: sampling.max_tokens]), "length", prompt_tokens, sampling.max_tokens)
    return Completion(text, "stop", prompt_tokens, len(words))


def certain(sample: Completion) -> Completion:
    """A reply with its first word as the only first token there could have been."""
    first = WORD.match(sample.text)
    return replace(sample, first_logprobs=((first.group(), 0.0),) if first else ())


def options(replies: Replies) -> tuple[str, ...]:
    """The replies there are to pick from."""
    return (replies,) if isinstance(replies, str) else replies


def pick(replies: Replies, seed: int) -> str:
    """The reply of a seed: consecutive samples walk through the list."""
    texts = options(replies)
    return texts[seed % len(texts)]


def in_order(replies: Sequence[str]) -> Script:
    """A script that gives each reply once. Raises UsageError when more is asked than it holds."""
    left: Iterator[str] = iter(replies)

    def next_reply(messages: Messages, seed: int) -> str:
        for reply in left:
            return reply
        raise UsageError(f"the script holds {len(replies)} replies and one more was asked for")

    return next_reply


ENGINE = ScriptedConfig
