"""The raw reply of the engines that compute here: canonical JSON, one object per sample."""

import json
from typing import Any

from pairgen.engine import Completion
from pairgen.fingerprint import JSON, canonical


def pack(samples: list[Completion]) -> bytes:
    """The raw reply that holds these samples."""
    return canonical([_packed(sample) for sample in samples])


def _packed(sample: Completion) -> dict[str, JSON]:
    """A sample as JSON; log-probabilities only where there are some, so that other replies stay as they were."""
    packed: dict[str, JSON] = {
        "text": sample.text, "finish": sample.finish,
        "prompt_tokens": sample.prompt_tokens, "completion_tokens": sample.completion_tokens,
    }
    if sample.first_logprobs is not None:
        packed["first_logprobs"] = [[text, logprob] for text, logprob in sample.first_logprobs]
    return packed


def unpack(raw: bytes) -> list[Completion]:
    """The samples of a raw reply, in order."""
    return [_unpacked(sample) for sample in json.loads(raw)]


def _unpacked(sample: dict[str, Any]) -> Completion:
    first = sample.pop("first_logprobs", None)
    pairs = None if first is None else tuple((str(text), float(logprob)) for text, logprob in first)
    return Completion(**sample, first_logprobs=pairs)


def cut(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    found = [at for at in (text.find(word) for word in stop) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)


def printable(text: str) -> str:
    """The text with lone surrogates as U+FFFD: no tokenizer and no HTTP body can hold them."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
