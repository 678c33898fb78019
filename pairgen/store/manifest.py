"""The manifest of a step folder: what it holds, what it was made of, and a checksum of itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pairgen import fingerprint, fs
from pairgen.engine import Frozen
from pairgen.errors import Damaged, UsageError
from pairgen.failpoints import crashpoint
from pairgen.fingerprint import JSON

FORMAT = 1
MANIFEST = "manifest.json"
DROPS = "drops"
Plain = Annotated[Any, BeforeValidator(fingerprint.identity)]
"""JSON and nothing else: what is not refuses to be sealed."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as sealed. `name` is relative to the folder that holds it."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What answering took. `requests` were sent, `reused` counts samples the journal had; cost in dollars.

    `unpriced` counts the requests whose price is not known: with some, the cost is a lower bound.
    """

    requests: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.reused + other.reused,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
        )


class Manifest(Frozen):
    """What a step folder holds and what it was made of. Everything but `log` is equal in equal runs.

    `identity` is the whole identity of the step and `digest` its hash; `inputs` maps an upstream step
    to its digest. `failed` counts the drops that went wrong rather than were filtered. `files` maps
    the other files of the folder to their sha256.
    """

    format: int = FORMAT
    name: str
    use: str
    identity: Plain
    digest: str
    inputs: dict[str, str] = Field(default_factory=dict)
    row_class: str | None = None
    rows: int = 0
    shards: tuple[Shard, ...] = ()
    drop_shards: tuple[Shard, ...] = ()
    drops: dict[str, int] = Field(default_factory=dict)
    failed: int = 0
    metrics: Plain = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    code_version: str
    log: Plain = Field(default_factory=dict)


def step_folder(run: Path, name: str, digest: str) -> Path:
    """Where a step of that identity lives: `<name>@<8 digits>`, more where another identity has those."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise UsageError(f"{name!r} cannot name a step folder: use letters, digits, - and _")
    for width in (8, 16, 32):
        folder = run / f"{name}@{digest[:width]}"
        sealed = read_manifest(folder)
        if sealed is None or sealed.digest == digest:
            return folder
    return run / f"{name}@{digest}"


def is_done(folder: Path, identity: JSON) -> bool:
    """Whether the folder is sealed and was made of exactly this; the whole identity counts."""
    sealed = read_manifest(folder)
    return sealed is not None and fingerprint.canonical(sealed.identity) == fingerprint.canonical(identity)


def sealed_steps(run: Path) -> list[tuple[Path, Manifest]]:
    """Every finished step of a run, by folder name."""
    folders = sorted(run.glob("*@*")) if run.is_dir() else []
    found = [(folder, read_manifest(folder)) for folder in folders]
    return [(folder, manifest) for folder, manifest in found if manifest is not None]


def seal(folder: Path, manifest: Manifest) -> None:
    """Finish a step. The shards it names must be committed already: this is the last write."""
    if manifest.digest != fingerprint.digest(manifest.identity):
        raise ValueError(f"manifest of {manifest.name!r}: the digest is not that of the identity")
    body = json.loads(manifest.model_dump_json())
    fs.make_dirs(folder)
    crashpoint("manifest.write")
    fs.write_atomic(folder / MANIFEST, _render({**body, "sha256": fingerprint.digest(body)}))
    crashpoint("manifest.done")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a sealed folder, None when it is not sealed. Damaged when a byte is not as written."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return _parse(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(
            f"{path}: not as it was sealed ({error}); delete {folder} and run again: answers are kept"
        ) from error


def _parse(data: bytes) -> Manifest:
    """Strict: every byte must be what `seal` would write, and the checksum and digest must hold."""
    body = json.loads(data)
    if not isinstance(body, dict) or _render(body) != data:
        raise ValueError("altered")
    if body.get("format") != FORMAT:
        raise ValueError(f"format {body.get('format')!r}; this pairgen reads format {FORMAT}")
    expected, got = body.pop("sha256", None), fingerprint.digest(body)
    if expected != got:
        raise ValueError(f"expected sha256 {expected}, got {got}")
    return Manifest.model_validate_json(json.dumps(body))


def _render(body: JSON) -> bytes:
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
