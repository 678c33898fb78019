"""`--push-to-hub` against a hub of our own on loopback: what is sent, and every refusal in one line."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from loop_lab import REPOSITORY, run


class _Hub(BaseHTTPRequestHandler):
    """The calls that a commit of small files takes, in the hub's own protocol."""

    protocol_version = "HTTP/1.1"
    status: int
    calls: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.calls.append((self.path, body))
        if self.headers.get("authorization") != "Bearer hf_good" or self.status != 200:
            self._answer(self.status if self.status != 200 else 401, {"error": "no"})
        elif self.path.endswith("/create"):
            self._answer(200, {"url": f"http://{self.headers['host']}/datasets/me/blue", "name": "me/blue"})
        elif "/preupload/" in self.path:
            said = {"uploadMode": "regular", "shouldIgnore": False}
            self._answer(200, {"files": [{"path": f["path"], **said} for f in json.loads(body)["files"]]})
        elif "/commit/" in self.path:
            self._answer(200, {"commitUrl": f"http://{self.headers['host']}/c/1", "commitOid": "1" * 40})
        else:
            self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(200, {"id": "me/blue", "sha": "0" * 40, "siblings": [], "name": "me", "type": "user"})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextmanager
def hub(status: int = 200) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A running hub and its calls."""
    calls: list[tuple[str, Any]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"status": status, "calls": calls}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", calls
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished CLAIR run of two prompts."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "in.jsonl").write_text('"Why?"\n"How?"\n')
    reviser = '{use: scripted, default: "{corrected_student_solution}: Because blue light scatters more than red."}'
    run("clair", folder / "run", f"data.path={folder}/in.jsonl", f"engines.reviser={reviser}",
        'engines.policy={use: scripted, default: "Because blue light scatters more."}')
    return folder / "run"


def push(made: Path, out: Path, endpoint: str, repo: str = "me/blue", token: str = "hf_good") -> Any:
    """The command, in a process of its own: the hub's client reads its endpoint when it is imported."""
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HOME": str(out.parent / "hf"),
           "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if not token:
        del env["HF_TOKEN"]
    options = ("--out", out, "--license", "mit", "--push-to-hub", repo, "--private")
    return subprocess.run(
        [sys.executable, "-m", "pairgen", "export", made, *options], env=env, cwd=REPOSITORY, capture_output=True,
        text=True, timeout=120, check=False,
    )


def test_a_push_is_one_private_commit_of_all_files(made: Path, tmp_path: Path) -> None:
    """The repository is made private, and one commit holds the card and the data, byte by byte."""
    with hub() as (endpoint, calls):
        done = push(made, tmp_path / "out", endpoint)
    assert done.returncode == 0, done.stderr
    assert "pushed: http://" in done.stdout
    created = next(json.loads(body) for path, body in calls if path.endswith("/create"))
    assert (created["name"], created["type"], created.get("private") or created.get("visibility")) in (
        ("blue", "dataset", True), ("blue", "dataset", "private"),
    )
    (commit,) = [body for path, body in calls if "/commit/" in path]
    lines = [json.loads(line) for line in commit.splitlines()]
    files = [line["value"] for line in lines if line["key"] == "file"]
    sent = {file["path"]: base64.b64decode(file["content"]) for file in files}
    out = tmp_path / "out"
    here = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert sent == here
    assert "README.md" in sent


@pytest.mark.parametrize(
    ("status", "token", "repo", "code", "says"),
    [
        (200, "hf_bad", "me/blue", 77, "me/blue: the hub refuses this token (401)"),
        (403, "hf_good", "me/blue", 77, "me/blue: the hub refuses this token (403)"),
        (200, "hf_good", "not a name", 2, "--push-to-hub not a name:"),
    ],
)
def test_refusals_are_one_line(
    made: Path, tmp_path: Path, status: int, token: str, repo: str, code: int, says: str
) -> None:
    """The exit code says what to mend, and the export stays on disk."""
    with hub(status) as (endpoint, _):
        done = push(made, tmp_path / "out", endpoint, repo, token)
    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("pairgen: ")]
    assert says in line
    assert token not in done.stderr + done.stdout
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_hub_that_is_not_there(made: Path, tmp_path: Path) -> None:
    """Unreachable is resumable: exit code 75."""
    done = push(made, tmp_path / "out", "http://127.0.0.1:9")
    assert done.returncode == 75, done.stderr
    assert "cannot be reached" in done.stderr.splitlines()[-1]
