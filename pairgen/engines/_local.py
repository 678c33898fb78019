"""What the engines that hold a model in this process share: prompts to tokens, and the async side."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pairgen.engine import Completion, EngineConfig, Request
from pairgen.engines._reply import printable, unpack
from pairgen.engines._worker import Backend, Job, Worker
from pairgen.errors import RowError, UsageError
from pairgen.fingerprint import JSON, folder_digest
from pairgen.models import model_folder
from pairgen.records import Messages
from pairgen.resources import resolve


class LocalConfig(EngineConfig):
    """Options of a model held in this process.

    `dtype: auto` is the checkpoint's own on a GPU and float32 on a CPU. `max_model_len` bounds prompt
    plus completion; by default the model's own limit.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(default=None, ge=2)


class Chat:
    """A tokenizer that turns conversations into prompts. The chat template alone decides on `<bos>`."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        if not self.tokenizer.chat_template:
            raise UsageError(f"model {folder}: its tokenizer has no chat template, so it cannot be asked")

    def text(self, messages: Messages) -> str:
        """The rendered conversation, open for the assistant's turn. Raises RowError."""
        from jinja2 import TemplateError

        turns = [{"role": m.role, "content": printable(m.content)} for m in messages]
        try:
            rendered: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise RowError("chat_template", str(error)) from error
        return rendered

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
        self._folder = model_folder(config)
        self._config = config
        self._own = self._weights = _own_weights(config, self._folder)
        self._chat = Chat(self._folder)
        self._arriving: list[Job] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = Worker(config.use, lambda: make(str(self._folder)))

    @property
    def identity(self) -> JSON:
        """Kind, model and weights, and the two options that can change a completion."""
        model = self._config.model
        return {
            "engine": self._config.use, "weights": self._weights,
            "model": Path(model).name if Path(model).expanduser().is_dir() else model,
            "dtype": self._config.dtype, "max_model_len": self._config.max_model_len,
        }

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


def _own_weights(config: LocalConfig, folder: Path) -> str:
    """How the model's own weights are known: a local folder by its files, a hub model by name and revision."""
    if resolve(config.model).is_dir():
        return folder_digest(folder)
    return f"{config.model}@{config.revision or 'main'}"
