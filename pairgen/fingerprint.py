"""When is a thing the same thing? Identity is everything that can change a result; placement is the rest.

A field typed `Runtime[T]` is placement (a path, a URL, a number of workers) and stays out of the
identity. Everything else counts. The encoder refuses what it does not know: a silent `str()` would
make two different things equal.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel

from pairgen.errors import UsageError

T = TypeVar("T")
PLACEMENT = "pairgen:placement"
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf"}
MODEL_FILES = WEIGHTS | {".json", ".jinja", ".model", ".txt", ".tiktoken", ".py"}
NOT_THE_MODEL = {"manifest.json", "trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt"}
Runtime = Annotated[T, PLACEMENT]

CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


def identity(value: Any) -> JSON:
    """The identity of a value as plain JSON. Raises TypeError on a type it does not know."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"no identity for the number {value}")
        return value
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, BaseModel):
        kept = {k: f for k, f in type(value).model_fields.items() if PLACEMENT not in f.metadata}
        return {name: identity(getattr(value, name)) for name in sorted(kept)}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: identity(getattr(value, name)) for name in sorted(f.name for f in fields(value))}
    raise TypeError(f"no identity for {type(value).__name__}: give it one or mark the field Runtime")


def _mapping(value: Mapping[Any, Any]) -> JSON:
    if not all(isinstance(key, str) for key in value):
        raise TypeError("no identity for a mapping with keys that are not text")
    return {key: identity(value[key]) for key in sorted(value)}


def canonical(value: JSON) -> bytes:
    """One spelling per value: sorted keys, no spaces, ASCII, so that lone surrogates survive."""
    return CANONICAL.encode(value).encode()


def digest(value: JSON) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return sha256(canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    hasher = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def folder_digest(path: Path) -> str:
    """sha256 over the names and contents of a model folder's files, manifests and logs left out.

    Raises UsageError for a folder without weights: all of those would be the same model.
    """
    found = [p for p in path.iterdir() if p.suffix in MODEL_FILES and p.name not in NOT_THE_MODEL]
    files = sorted(p for p in found if p.is_file() and not p.name.startswith("rng_state"))
    if not any(p.suffix in WEIGHTS for p in files):
        raise UsageError(f"{path}: no model here (a model folder holds weights in .safetensors files)")
    return digest({p.name: file_digest(p) for p in files})


def diff(old: JSON, new: JSON, path: str = "") -> list[str]:
    """Human lines for every place where two identities differ: `judge.n: 4 -> 8`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += diff(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        return lines
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: JSON, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 3] + "..."
