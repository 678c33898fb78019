"""What makes two requests the same: engine, messages, sampling, seed and sample index, and nothing else."""

from functools import lru_cache
from hashlib import sha256

from pairgen.engine import Request, Sampling
from pairgen.fingerprint import JSON, canonical, identity


def sample_key(engine: JSON, request: Request, sample: int) -> bytes:
    """The key of one sample of a request: 32 bytes. `engine` is the engine's identity."""
    return key_in(conversation_key(engine, request), sample)


def conversation_key(engine: JSON, request: Request) -> bytes:
    """What the keys of all samples of a request share: `n` and `first` are not in it."""
    asked: dict[str, JSON] = {
        "engine": engine,
        "messages": [[message.role, message.content] for message in request.messages],
        "sampling": _sampling(request.sampling),
        "seed": request.seed,
    }
    if request.logprobs:  # only where asked for: every key made before there were any stays what it was
        asked["logprobs"] = request.logprobs
    return sha256(canonical(asked)).digest()


def key_in(conversation: bytes, sample: int) -> bytes:
    """The key of a sample, given its conversation's."""
    return sha256(conversation + sample.to_bytes(8, "big")).digest()


@lru_cache(maxsize=256)
def _sampling(sampling: Sampling) -> JSON:
    return identity(sampling)
