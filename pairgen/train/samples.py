"""What a model itself answers to prompts: drawn once by an engine, kept in a file, never drawn twice.

A line holds a prompt and its answers so far, under a key of weights, sampling and seed; lines of other
keys stay where they are. Sample i of a prompt has its own seed, so asking for more later adds to those
that are there. The engine lives only as long as it draws.

Names: a prompt's id is that of its messages.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from pairgen.engine import Completion, Engine, EngineConfig, Request, Sampling
from pairgen.errors import RowError
from pairgen.fingerprint import digest, folder_digest, identity
from pairgen.fs import append_line
from pairgen.records import Message, Messages, messages_id
from pairgen.registry import find
from pairgen.stage import row_seed

OPEN = Sampling(temperature=1.0, max_tokens=1024)
"""The model's own distribution."""
ASKED = 256
"""Prompts that are asked together; their answers are kept before the next are asked."""


@dataclass(frozen=True)
class Source:
    """A model to sample from: its folder, by which engine (`auto` is the fastest one installed), and how."""

    folder: Path
    engine: str = "auto"
    sampling: Sampling = OPEN
    seed: int = 0

    @cached_property
    def key(self) -> str:
        """What answers: weights, sampling and seed, by whatever engine."""
        return digest({"weights": folder_digest(self.folder), "sampling": identity(self.sampling), "seed": self.seed})

    def config(self) -> EngineConfig:
        """The engine's config. Raises UsageError for one that does not exist."""
        name = "vllm" if find_spec("vllm") else "transformers"
        name = name if self.engine == "auto" else self.engine
        kind: Any = find("pairgen.engines", name).ENGINE
        config: EngineConfig = kind(use=name, model=str(self.folder))
        return config


@dataclass(frozen=True, slots=True)
class Sampled:
    """A prompt and what the model answered. `whole` are the answers that ended by themselves, and no blanks;
    `reason` says why there are none at all."""

    prompt: Messages
    answers: tuple[Completion, ...]
    reason: str = ""

    @property
    def id(self) -> str:
        """The prompt's."""
        return messages_id(self.prompt)

    @property
    def whole(self) -> tuple[str, ...]:
        """Texts of the answers that were not cut off."""
        return tuple(a.text for a in self.answers if a.finish == "stop" and a.text.strip())


def draw(prompts: Iterable[Messages], source: Source, n: int, file: Path) -> int:
    """See to it that `file` holds `n` answers to every prompt; how many were drawn now.

    A prompt that the engine refuses (too long) has none, and is not asked again. Raises UsageError when
    the engine cannot be opened.
    """
    have = {s.id: n if s.reason else len(s.answers) for s in read(file, source)}
    missing: dict[str, Messages] = {}
    for prompt in prompts:
        ident = messages_id(prompt)
        if have.get(ident, 0) < n:
            missing[ident] = prompt
    if not missing:
        return 0
    return asyncio.run(_draw(list(missing.values()), have, source, n, file))


def read(file: Path, source: Source) -> Iterator[Sampled]:
    """What the file holds of this source, a prompt at a time; later lines of a prompt hold all of its answers."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                cells = json.loads(line)
            except ValueError:  # torn by a crash
                continue
            if cells["key"] == source.key:
                prompt = tuple(Message(**turn) for turn in cells["prompt"])
                answers = tuple(Completion(a["text"], a["finish"], 0, a["tokens"]) for a in cells["answers"])
                yield Sampled(prompt, answers, cells["reason"])


async def _draw(prompts: Sequence[Messages], have: dict[str, int], source: Source, n: int, file: Path) -> int:
    engine = source.config().open()
    try:
        known = {s.id: s.answers for s in read(file, source) if have[s.id] < n} if have else {}
        todo, drawn = iter(prompts), 0
        while chunk := list(islice(todo, ASKED)):
            asked = (_answers(engine, prompt, known.get(messages_id(prompt), ()), source, n) for prompt in chunk)
            for sampled in await asyncio.gather(*asked):
                drawn += len(sampled.answers) - have.get(sampled.id, 0)
                append_line(file, _line(sampled, source.key))
        return drawn
    finally:
        await engine.close()


async def _answers(engine: Engine, prompt: Messages, known: tuple[Completion, ...], source: Source, n: int) -> Sampled:
    seed = row_seed(source.seed, messages_id(prompt))
    try:
        raw = await engine.send(Request(prompt, source.sampling, seed, n=n - len(known), first=len(known)))
    except RowError as error:
        return Sampled(prompt, known, str(error))
    return Sampled(prompt, known + tuple(engine.decode(raw)))


def _line(sampled: Sampled, key: str) -> bytes:
    answers = [{"text": a.text, "finish": a.finish, "tokens": a.completion_tokens} for a in sampled.answers]
    cells = {"key": key, "prompt": [asdict(turn) for turn in sampled.prompt], "answers": answers,
             "reason": sampled.reason}
    return json.dumps(cells).encode()
