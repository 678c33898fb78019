"""Reading the body of a chat completion. Pure: a body kept for years reads the same."""

import json
import re
from dataclasses import replace
from typing import Any

from pairgen.engine import Completion
from pairgen.engines._reply import printable
from pairgen.errors import RowError


def joined(bodies: list[bytes]) -> bytes:
    """Bodies as received, as the items of one JSON list."""
    return b"[" + b",\n".join(bodies) + b"]"


def samples(raw: bytes) -> list[Completion]:
    """The samples of a body, or of a list of bodies. Raises RowError when there are none."""
    bodies = _read(raw)
    found = [s for body in (bodies if isinstance(bodies, list) else [bodies]) for s in _samples(body)]
    prompt = sum(s.prompt_tokens for s in found)
    return [replace(s, prompt_tokens=0 if i else prompt) for i, s in enumerate(found)]


def count_choices(raw: bytes) -> int:
    """How many choices a body holds; 0 when it cannot be read."""
    try:
        body = _read(raw)
    except RowError:
        return 0
    choices = body.get("choices") if isinstance(body, dict) else None
    return len(choices) if isinstance(choices, list) else 0


COMPLETION_TOKENS = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')


def count_tokens(raw: bytes) -> int:
    """The completion tokens a body tells; 0 when it tells none. Looks near the end only, where usage stands."""
    found = COMPLETION_TOKENS.findall(raw, max(0, len(raw) - 2000))
    return int(found[-1]) if found else 0


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise RowError("bad_reply", f"not JSON: {raw[:80]!r}") from error


def _samples(body: Any) -> list[Completion]:
    """The samples of one body in index order, its completion tokens shared out by length of text."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
        raise RowError("bad_reply", "no list of choices in the answer")
    if not choices:
        raise RowError("empty_reply", "the answer holds no choice")
    ordered = sorted(choices, key=lambda choice: _count(choice.get("index")))
    texts = [_text(choice) for choice in ordered]
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    shares = _shares(_count(usage.get("completion_tokens")), [len(text) + 1 for text in texts])
    prompt = _count(usage.get("prompt_tokens"))
    return [
        Completion(text, _finish(choice), 0 if i else prompt, share, _first(choice))
        for i, (choice, text, share) in enumerate(zip(ordered, texts, shares, strict=True))
    ]


def _text(choice: dict[str, Any]) -> str:
    message = choice.get("message")
    content = (message.get("content") or message.get("refusal")) if isinstance(message, dict) else None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return printable(content) if isinstance(content, str) else ""


def _finish(choice: dict[str, Any]) -> str:
    reason = choice.get("finish_reason")
    return reason if reason in ("length", "content_filter") else "stop"


def _first(choice: dict[str, Any]) -> tuple[tuple[str, float], ...] | None:
    """The likeliest first tokens of a choice with their log-probabilities; None where the server gave none."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    top = content[0].get("top_logprobs") if isinstance(content, list) and content else None
    if not isinstance(top, list) or not top:
        return None
    return tuple((printable(str(entry["token"])), float(entry["logprob"])) for entry in top)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _shares(total: int, weights: list[int]) -> list[int]:
    """`total` split in proportion to the weights, in whole numbers that add up."""
    reached = 0
    shares: list[int] = []
    for weight in weights:
        reached += weight
        shares.append(total * reached // sum(weights) - sum(shares))
    return shares
