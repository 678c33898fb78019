"""The raw reply of the engines that compute here: canonical JSON, one object per sample."""

import json

from pairgen.engine import Completion
from pairgen.fingerprint import canonical


def pack(samples: list[Completion]) -> bytes:
    """The raw reply that holds these samples."""
    return canonical([
        {
            "text": s.text, "finish": s.finish,
            "prompt_tokens": s.prompt_tokens, "completion_tokens": s.completion_tokens,
        }
        for s in samples
    ])


def unpack(raw: bytes) -> list[Completion]:
    """The samples of a raw reply, in order."""
    return [Completion(**sample) for sample in json.loads(raw)]


def cut(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    found = [at for at in (text.find(word) for word in stop) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)


def printable(text: str) -> str:
    """The text with lone surrogates as U+FFFD: no tokenizer and no HTTP body can hold them."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
