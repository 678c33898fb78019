"""What the engines that hold a model in this process share: prompts to tokens, and the async side."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pairgen.engine import Completion, EngineConfig, Request
from pairgen.engines._reply import printable, unpack
from pairgen.engines._worker import Backend, Job, Worker
from pairgen.errors import RowError, UsageError
from pairgen.fingerprint import JSON, Runtime, folder_digest
from pairgen.models import model_folder
from pairgen.records import Messages
from pairgen.resources import resolve

SMALL = 64 << 20
"""Below this size in bytes a model's layers are too small for threads: more only wait for each other."""


class LocalConfig(EngineConfig):
    """Options of a model held in this process.

    `dtype: auto` is the checkpoint's own on a GPU and float32 on a CPU. `max_model_len` bounds prompt
    plus completion; by default the model's own limit. `threads` bounds the cores a CPU engine computes
    on: by default one for a model of less than 64 MiB, and all for others.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(default=None, ge=2)
    threads: Runtime[int | None] = Field(default=None, ge=1)

    def answers_as(self, weights: str | None = None) -> JSON:
        """Kind and weights, and the two options that can change a completion; no place, no folder's name."""
        return {
            "engine": self.use, "weights": weights or _own_weights(self),
            "dtype": self.dtype, "max_model_len": self.max_model_len,
        }

    def check(self) -> None:
        """A model given as a path must be there: the hub is not asked for it."""
        if self.model.startswith(("/", ".", "~")) and not resolve(self.model).is_dir():
            raise UsageError(f"engine {self.use}: model {self.model}: no such folder")


class Chat:
    """A tokenizer that turns conversations into prompts. The chat template alone decides on `<bos>`."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        with quiet():
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        if not self.tokenizer.chat_template:
            raise UsageError(f"model {folder}: its tokenizer has no chat template, so it cannot be asked")

    def text(self, messages: Messages) -> str:
        """The rendered conversation, open for the assistant's turn or in it. Raises RowError."""
        from jinja2 import TemplateError

        turns = [{"role": m.role, "content": printable(m.content)} for m in messages]
        try:
            if messages and messages[-1].role == "assistant":
                return str(self.tokenizer.apply_chat_template(turns, tokenize=False, continue_final_message=True))
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except (TemplateError, ValueError) as error:
            raise RowError("chat_template", str(error)) from error

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of rendered conversations, nothing added."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )["input_ids"]
        return ids


class LocalEngine:
    """The engine interface over a worker: gathers what is sent in one tick, tokenizes it, hands it over."""

    def __init__(self, config: LocalConfig, make: Callable[[str], Backend]) -> None:
        # threads that wait must not spin: on busy cores spinning costs five sixths of the speed
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._folder = model_folder(config)
        self._config = config
        self._own = self._weights = _own_weights(config)
        self._chat = Chat(self._folder)
        self._arriving: list[Job] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        with own_threads():
            self._worker = Worker(config.use, lambda: make(str(self._folder)))

    @property
    def identity(self) -> JSON:
        """What the config says, with the weights held now."""
        return self._config.answers_as(self._weights)

    async def send(self, request: Request) -> bytes:
        """The reply to one request. Raises RowError when the prompt does not fit the context."""
        loop = asyncio.get_running_loop()
        job = Job(request, [], loop.create_future())
        if self._loop is not loop or not self._arriving:
            self._loop, self._arriving = loop, []
            loop.call_soon(self._hand_over, self._arriving)
        self._arriving.append(job)
        try:
            return await job.waiter
        except asyncio.CancelledError:
            self._worker.drop(job)
            raise

    def decode(self, raw: bytes) -> list[Completion]:
        """The samples in a raw reply. Pure."""
        return unpack(raw)

    def _hand_over(self, jobs: list[Job]) -> None:
        self._arriving = []
        try:
            ready = self._tokenized([job for job in jobs if not job.waiter.done()])
            if ready:
                self._worker.post(ready)
        except Exception as error:
            for job in jobs:
                if not job.waiter.done():
                    job.waiter.set_exception(error)

    def _tokenized(self, jobs: list[Job]) -> list[Job]:
        """The jobs that can be asked, with their ids; the others are told why not."""
        rendered: list[tuple[Job, str]] = []
        for job in jobs:
            try:
                rendered.append((job, self._chat.text(job.request.messages)))
            except RowError as error:
                job.waiter.set_exception(error)
        ready = []
        for (job, _), ids in zip(rendered, self._chat.ids([text for _, text in rendered]), strict=True):
            job.ids = ids
            if len(ids) < self._worker.context:
                ready.append(job)
            else:
                detail = f"the prompt has {len(ids)} tokens, the context {self._worker.context}"
                job.waiter.set_exception(RowError("too_long", detail))
        return ready

    async def load_weights(self, folder: Path, weights: str) -> None:
        """Swap in the weights of `folder` once nothing is in flight."""
        if not any(folder.glob("*.safetensors")):
            raise UsageError(f"{folder}: no .safetensors file to load weights from")
        await self._worker.do(lambda backend: backend.load(str(folder)))
        self._weights = self._own if folder.resolve() == self._folder.resolve() else weights

    async def sleep(self) -> None:
        """Give accelerator memory back once nothing is in flight."""
        await self._worker.do(lambda backend: backend.sleep())

    async def wake(self) -> None:
        """Take it again."""
        await self._worker.do(lambda backend: backend.wake())

    async def close(self) -> None:
        """Stop the thread and free the model. Requests still in flight are told."""
        await asyncio.to_thread(self._worker.stop)


def _own_weights(config: LocalConfig) -> str:
    """How the model's own weights are known: a folder by its files, a hub model by name and revision."""
    folder = resolve(config.model)
    return folder_digest(folder) if folder.is_dir() else f"{config.model}@{config.revision or 'main'}"


def use_threads(threads: int | None, folder: str) -> None:
    """Bound the cores of the calling thread's computations, by the size of the weights when not told."""
    import torch

    size = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    if threads is not None or size < SMALL:
        torch.set_num_threads(threads or 1)


@contextmanager
def own_threads() -> Iterator[None]:
    """Keep the caller's number of threads: a worker that sets its own also sets that of new threads."""
    import torch

    threads, set_num_threads = torch.get_num_threads(), torch.set_num_threads
    try:
        yield
    finally:
        set_num_threads(threads)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
