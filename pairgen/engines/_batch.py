"""The Batch API: requests are gathered into files, answered within a day, at half the price.

Nothing is submitted twice. A file is known by what is in it: its name is kept on disk before it is
uploaded, the batch's id as soon as there is one, and a batch made just before a kill is found again by
the name in its metadata. A request that is in a batch of an earlier process waits for that one.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairgen import fs
from pairgen.engines._faults import RETRY, Retry
from pairgen.errors import Stopped
from pairgen.failpoints import crashpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MARK = "pairgen"
"""The metadata key under which a batch carries the name of its file."""
MAX_BYTES = 150 << 20
TRIES = 5
OVER = frozenset({"completed", "expired", "cancelled", "failed"})
GATHER = 2.0
"""Seconds without a new request after which a batch is not waited to be fuller."""


@dataclass(slots=True)
class _Asked:
    """A request that waits for its answer."""

    custom_id: str
    line: bytes
    future: "asyncio.Future[bytes]"


@dataclass(slots=True, eq=False)
class _Batch:
    """A file of requests, and the batch it became. `ids` are the custom ids in it."""

    name: str
    ids: frozenset[str]
    batch_id: str | None = None
    results: dict[str, dict[str, Any]] = field(default_factory=dict)


class Batches:
    """Submits, polls and collects. `folder` keeps names and ids; `size` requests make a batch."""

    def __init__(self, client: "AsyncOpenAI", folder: Path, size: int, poll: float) -> None:
        self._client, self._folder, self._size, self._poll = client, folder, size, poll
        self._waiting: dict[str, _Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        fs.make_dirs(folder)
        fs.clear_temps(folder)
        self._known: dict[str, list[_Batch]] = {}
        for path in sorted(folder.glob("*.json")):
            self._remember(_read(path))
        self._opened: dict[str, asyncio.Task[None]] = {}

    async def ask(self, body: bytes) -> dict[str, Any]:
        """The line a batch has for a body: `{"status_code": ..., "body": ...}`. Raises Stopped or Retry."""
        custom_id = sha256(body).hexdigest()[:40]
        for batch in self._known.get(custom_id, ()):
            result = await self._from(batch, custom_id)
            if result is not None and result["status_code"] < 500 and result["status_code"] not in RETRY:
                return result
        line: dict[str, Any] = json.loads(await self._submit(custom_id, body))
        return line

    async def _from(self, batch: _Batch, custom_id: str) -> dict[str, Any] | None:
        """What a batch that was made before has for a request; None when it ended without it."""
        task = self._opened.get(batch.name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._opened[batch.name] = asyncio.create_task(self._recover(batch))
        await asyncio.shield(task)
        return batch.results.get(custom_id)

    async def _recover(self, batch: _Batch) -> None:
        """Find the batch of a file again: by its id, or by its name when a kill left no id."""
        if batch.batch_id is None:
            found = await self._find(batch.name)
            if found is not None:
                self._note(batch, found)
        if batch.batch_id is not None and not batch.results:
            await self._collect(batch)

    async def _find(self, name: str) -> str | None:
        """The id of the batch that was made of a file, if one was."""
        async for found in self._client.with_options(max_retries=TRIES).batches.list(limit=100):
            if (found.metadata or {}).get(MARK) == name:
                return found.id
        return None

    def _remember(self, batch: _Batch) -> None:
        for custom_id in batch.ids:
            others = self._known.setdefault(custom_id, [])
            if batch not in others:
                others.append(batch)

    def _submit(self, custom_id: str, body: bytes) -> "asyncio.Future[bytes]":
        loop = asyncio.get_running_loop()
        if custom_id in self._waiting:
            return self._waiting[custom_id].future
        line = b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}\n'
        asked = _Asked(custom_id, line % (custom_id.encode(), body), loop.create_future())
        self._waiting[custom_id] = asked
        if self._timer is not None:
            self._timer.cancel()
        if len(self._waiting) >= self._size:
            self._send()
        else:
            self._timer = loop.call_later(GATHER, self._send)
        return asked.future

    def _send(self) -> None:
        """Everything that waits becomes a batch, or several where it is too much for one."""
        waiting, self._waiting = self._waiting, {}
        part: list[_Asked] = []
        size = 0
        for asked in waiting.values():
            if part and (len(part) >= self._size or size + len(asked.line) > MAX_BYTES):
                self._start(part)
                part, size = [], 0
            part.append(asked)
            size += len(asked.line)
        if part:
            self._start(part)

    def _start(self, part: list[_Asked]) -> None:
        task = asyncio.create_task(self._run(part))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, part: list[_Asked]) -> None:
        """One batch from its file to its answers; an error of it is everyone's who waits for it."""
        try:
            part.sort(key=lambda asked: asked.custom_id)
            data = b"".join(asked.line for asked in part)
            batch = _Batch(sha256(data).hexdigest()[:32], frozenset(a.custom_id for a in part))
            await self._make(batch, data)
            await self._collect(batch)
        except BaseException as error:
            for asked in part:
                if not asked.future.done():
                    asked.future.set_exception(error if isinstance(error, Exception) else Stopped(str(error)))
                    asked.future.exception()
            if not isinstance(error, Exception):
                raise
            return
        for asked in part:
            if asked.future.done():
                continue
            result = batch.results.get(asked.custom_id)
            if result is None:
                asked.future.set_exception(Retry("the batch ended without this request", kind="broken"))
            else:
                asked.future.set_result(json.dumps(result).encode())

    async def _make(self, batch: _Batch, data: bytes) -> None:
        """Upload and create. The name is on disk before, the id right after."""
        self._note(batch, None)
        patient = self._client.with_options(max_retries=TRIES)
        file = await patient.files.create(file=(f"{batch.name}.jsonl", data), purpose="batch")
        crashpoint("batch.uploaded")
        self._note(batch, await self._create(batch.name, file.id))
        self._remember(batch)

    async def _create(self, name: str, file_id: str) -> str:
        """Create a batch once. When the answer is lost, look whether it was made before trying again."""
        from openai import APIConnectionError, InternalServerError, RateLimitError

        for attempt in range(TRIES):
            try:
                made = await self._client.batches.create(
                    input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h",
                    metadata={MARK: name},
                )
                crashpoint("batch.made")
                return made.id
            except (APIConnectionError, InternalServerError, RateLimitError):
                await asyncio.sleep(min(0.5 * 2**attempt, self._poll))
                found = await self._find(name)
                if found is not None:
                    return found
        raise Stopped("the provider makes no batch now; what was answered is kept, run again to go on")

    def _note(self, batch: _Batch, batch_id: str | None) -> None:
        batch.batch_id = batch_id
        body = {"name": batch.name, "batch_id": batch_id, "ids": sorted(batch.ids)}
        fs.write_atomic(self._folder / f"{batch.name}.json", json.dumps(body).encode())

    async def _collect(self, batch: _Batch) -> None:
        """Wait until a batch is over and read what it has."""
        assert batch.batch_id is not None
        pause = min(1.0, self._poll)
        patient = self._client.with_options(max_retries=TRIES)
        while (state := await patient.batches.retrieve(batch.batch_id)).status not in OVER:
            await asyncio.sleep(pause)
            pause = min(self._poll, pause * 1.5)
        for file_id in (state.output_file_id, state.error_file_id):
            if file_id is not None:
                content = await patient.files.content(file_id)
                batch.results |= _results(content.content)
        if not batch.results and state.status == "failed":
            raise Stopped(f"batch {batch.batch_id} failed: {_why(state)}; what was answered is kept")

    async def close(self) -> None:
        """Stop polling. Batches go on at the provider; the next process finds them."""
        if self._timer is not None:
            self._timer.cancel()
        for task in [*self._tasks, *self._opened.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._opened.values(), return_exceptions=True)
        await self._client.close()


def _read(path: Path) -> _Batch:
    body = json.loads(path.read_bytes())
    return _Batch(body["name"], frozenset(body["ids"]), body["batch_id"])


def _results(data: bytes) -> dict[str, dict[str, Any]]:
    """The responses of an output or error file, by custom id."""
    found: dict[str, dict[str, Any]] = {}
    for text in data.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        response = line.get("response") if isinstance(line, dict) else None
        if isinstance(response, Mapping) and isinstance(line.get("custom_id"), str):
            found[line["custom_id"]] = {
                "status_code": response.get("status_code", 200), "body": response.get("body") or {},
            }
    return found


def _why(state: Any) -> str:
    errors = getattr(state.errors, "data", None) or []
    return str(errors[0].message)[:200] if errors and errors[0].message else "no reason given"
