"""The Batch API of the fake provider: files, batches, and results some time after a batch was made.

A batch's lines are billed once, when it is over. Every seventh line fails inside the batch the first time
it is asked, as providers' lines do.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

Answer = Callable[[dict[str, Any], str, int], dict[str, Any]]


class FakeBatches:
    """Files and batches in memory. `note` writes to the ledger, `answer` makes the body of a line."""

    def __init__(self, seconds: float, note: Callable[..., None], answer: Answer, key: Callable[[Any], str]) -> None:
        self._seconds, self._note, self._answer, self._key = seconds, note, answer, key
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._failed: set[str] = set()
        self._number = 0
        self.lose_next = False
        self.billed = 0

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/v1/files", self.upload)
        app.router.add_get("/v1/files/{id}/content", self.content)
        app.router.add_post("/v1/batches", self.create)
        app.router.add_get("/v1/batches", self.list_all)
        app.router.add_get("/v1/batches/{id}", self.retrieve)

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{len(self._files)}"
        self._files[name] = file.file.read()
        return web.json_response({
            "id": name, "object": "file", "bytes": len(self._files[name]), "created_at": 0,
            "filename": file.filename, "purpose": "batch", "status": "processed",
        })

    async def content(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files[request.match_info["id"]])

    async def create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = f"batch-{len(self._batches)}"
        self._batches[name] = {
            "id": name, "object": "batch", "status": "in_progress", "created_at": 0,
            "completion_window": "24h", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "metadata": body.get("metadata"), "output_file_id": None, "error_file_id": None,
        }
        lines = [json.loads(line) for line in self._files[body["input_file_id"]].splitlines()]
        self._note("batch", body["metadata"]["pairgen"], len(self._batches), lines=len(lines))
        asyncio.get_running_loop().call_later(self._seconds, self._finish, name, lines)
        if self.lose_next:
            self.lose_next = False
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self._batches[name])

    async def list_all(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": list(self._batches.values()), "has_more": False})

    async def retrieve(self, request: web.Request) -> web.Response:
        return web.json_response(self._batches[request.match_info["id"]])

    def _finish(self, name: str, lines: list[dict[str, Any]]) -> None:
        good, bad = [], []
        for line in lines:
            key = self._key(line["body"])
            self._number += 1
            response = {"status_code": 200, "request_id": key}
            if int(key, 16) % 7 == 0 and key not in self._failed:
                self._failed.add(key)
                error = {"error": {"code": "server_error", "message": "oops"}}
                response |= {"status_code": 500, "body": error}
                bad.append({"custom_id": line["custom_id"], "response": response})
                continue
            body = self._answer(line["body"], key, 10_000 + self._number)
            self._note("billed", key, 10_000 + self._number, **body["usage"])
            self.billed += 1
            good.append({"custom_id": line["custom_id"], "response": {**response, "body": body}, "error": None})
        batch = self._batches[name]
        for kind, found in (("output", good), ("error", bad)):
            if found:
                batch[f"{kind}_file_id"] = f"{kind}-{name}"
                self._files[f"{kind}-{name}"] = b"".join(json.dumps(f).encode() + b"\n" for f in found)
        batch["status"] = "completed"
        batch["completed_at"] = int(time.time())
