"""`pairgen serve-check` against a real server: what it finds, what it asks, and one line when it cannot."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-canary-77aa"


class Handler(BaseHTTPRequestHandler):
    """Knows `n`, seeds and JSON; log-probs are refused where the test says so."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        if self.headers.get("authorization") != f"Bearer {KEY}":
            self.reply(401, {"error": {"message": f"Incorrect API key: {self.headers.get('authorization')}"}})
        elif body["model"] != "m":
            self.reply(404, {"error": {"code": "model_not_found", "message": "no such model"}})
        elif "logprobs" in body and self.server.strict:
            self.reply(400, {"error": {"code": "unsupported_parameter", "message": "logprobs: not supported"}})
        else:
            text = '{"ok": true}' if "response_format" in body else "Yes."
            choice = {"message": {"content": text}, "finish_reason": "stop"}
            if "logprobs" in body:
                choice["logprobs"] = {"content": [{"token": "x", "logprob": -0.1}]}
            choices = [{"index": i, **choice} for i in range(body.get("n", 1))]
            usage = {"prompt_tokens": 20, "completion_tokens": 5}
            self.reply(200, {"model": "m-1", "choices": choices, "usage": usage})

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        if status == 200:
            self.send_header("x-ratelimit-limit-requests", "600")
            self.send_header("x-ratelimit-remaining-requests", "599")
            self.send_header("x-ratelimit-reset-requests", "100ms")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(params=[False, True], ids=["open", "strict"])
def server(request):
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.strict = [], request.param
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()


def check(server, *more, model="m", key=KEY):
    url = f"http://127.0.0.1:{server.server_port}/v1"
    command = [sys.executable, "-m", "pairgen", "serve-check", "--base-url", url, "--model", model,
               "--api-key-env", "CHECK_KEY", *more]
    environment = {**os.environ, "CHECK_KEY": key, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_says_what_the_server_can_do(server):
    done = check(server, "--json")
    assert done.returncode == 0, done.stderr
    states = {c["what"]: c["state"] for c in json.loads(done.stdout)["can"]}
    assert states == {
        "n": "yes", "seed": "accepted",
        "logprobs": "no" if server.strict else "yes",
        "response_format": "yes",
        "usage": "yes", "limits": "yes", "model": "yes", "price": "no",
    }
    assert len(server.asked) == (6 if server.strict else 1)
    assert KEY not in done.stdout + done.stderr


def test_what_cannot_be_checked_is_one_line_with_its_code(server):
    for options, code in (({"key": "sk-wrong-1"}, 77), ({"model": "other"}, 2)):
        done = check(server, **options)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert "sk-wrong-1" not in done.stderr
