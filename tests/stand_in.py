"""A chat-completions server over real HTTP that plays policy, reviser and judge, and keeps a ledger.

What it says is a function of the model asked for and of the prompt, so that the four datasets of one
prompt file can be told apart and counted. `ledger` holds the model of every answered request.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def said(model: str, prompt: str, seed: int) -> str:
    """What a model says. The policy varies with the seed; the judge likes the answer with the larger number."""
    if model == "policy":
        return f"The answer to this question is {seed % 97}, more or less."
    if model == "stronger":
        return "Here is a thorough reply that shares little with anybody's draft."
    if model == "judge":
        first, second = (int(part.split(" is ")[1].split(",")[0]) for part in prompt.split("{student_solution_")[4:6])
        return f"{{teacher_reasoning}}: {first} or {second}?\n[{1 if first >= second else 2}]"
    answer = prompt.split("{student_solution}: ")[1].split("\n\n---")[0]
    return REVISED[hash_of(prompt) % len(REVISED)](answer)


def hash_of(text: str) -> int:
    """A number that depends on the text alone."""
    return sum(text.encode()) % 1009


def _marked(text: str) -> str:
    return f"{{teacher_reasoning}}: It hedges.\n\n{{corrected_student_solution}}:\n{text}"


REVISED = (
    lambda answer: _marked(answer.replace(", more or less", " exactly")),
    lambda answer: _marked(answer.replace("this question", "your question")),
    lambda answer: _marked(answer),
    lambda answer: f"I would say: {answer}",
    lambda answer: _marked(answer * 3),
    lambda answer: _marked(f"As a revision, {answer}"),
)
"""The reviser's moods: two good ones, unchanged, unparsed, too long, leaking."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ledger: "Counter[str]"

    def do_POST(self) -> None:
        body: Any = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model, prompt = body["model"], body["messages"][-1]["content"]
        texts = [said(model, prompt, (body.get("seed") or 0) + i) for i in range(body.get("n") or 1)]
        choices = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": sum(len(t.split()) for t in texts)}
        about = {"id": "x", "object": "chat.completion", "model": model}
        answer = json.dumps({**about, "choices": choices, "usage": usage})
        self.ledger[model] += 1
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


class _Server(ThreadingHTTPServer):
    """Takes as many connections at once as an engine opens; five wait by default, the rest try again later."""

    request_queue_size = 256
    daemon_threads = True


@contextmanager
def serving() -> Iterator[tuple[str, "Counter[str]"]]:
    """A running server: its base URL and its ledger."""
    ledger: Counter[str] = Counter()
    handler = type("Handler", (_Handler,), {"ledger": ledger})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", ledger
    finally:
        server.shutdown()
        server.server_close()
