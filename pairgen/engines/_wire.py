"""The body of a chat completion request: what the server reads, for single calls and for batches alike."""

import json
from typing import Any

from pairgen.engine import Request
from pairgen.engines._host import OPENAI
from pairgen.engines._reply import printable

TEMPLATE_TOKENS = 8
"""Tokens that a chat template puts around a message, at most."""


def chat_body(
    request: Request, offset: int, n: int, *, model: str, token_limit: str, extra: dict[str, Any],
    omit: frozenset[str],
) -> dict[str, Any]:
    """The fields of a request for samples `offset .. offset + n - 1` of it."""
    options = request.sampling
    body: dict[str, Any] = {
        "model": model, "temperature": options.temperature, "top_p": options.top_p,
        "messages": [{"role": m.role, "content": printable(m.content)} for m in request.messages],
        "seed": request.seed + request.first + offset, token_limit: options.max_tokens,
    }
    if n > 1:
        body["n"] = n
    if options.stop:
        body["stop"] = list(options.stop)
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.messages and request.messages[-1].role == "assistant":  # as vLLM's server wants it said
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    body |= extra
    return {name: value for name, value in body.items() if name not in omit} if omit else body


def token_field(given: str | None, host: str) -> str:
    """The name of the field that bounds a completion: OpenAI's own, or the one all others know."""
    return given or ("max_completion_tokens" if host == OPENAI else "max_tokens")


def encode(body: dict[str, Any]) -> bytes:
    """The body as sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def prompt_tokens(request: Request) -> int:
    """About how many tokens a prompt is: four characters each."""
    return sum(len(m.content) // 4 + TEMPLATE_TOKENS // 2 for m in request.messages)


def most_prompt_tokens(request: Request) -> int:
    """More tokens than any byte-level tokenizer makes of a prompt: one a byte."""
    return sum(len(m.content.encode("utf-8", "replace")) + TEMPLATE_TOKENS for m in request.messages) + 16
