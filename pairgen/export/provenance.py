"""How a step came to be, read from the sealed manifests above it: models, sampling, prompts, what was dropped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairgen.errors import UsageError
from pairgen.fingerprint import JSON
from pairgen.resources import ROOT
from pairgen.store import Manifest, read_manifest, step_folder


@dataclass(frozen=True, slots=True)
class Source:
    """A step that a dataset was made by."""

    folder: Path
    manifest: Manifest

    @property
    def options(self) -> Mapping[str, Any]:
        """The stage's options as they were."""
        return _mapping(_mapping(self.manifest.identity).get("options"))

    @property
    def engine(self) -> Mapping[str, Any]:
        """The engine's identity; empty for a stage that asks nothing."""
        return _mapping(_mapping(self.manifest.identity).get("engine"))

    @property
    def role(self) -> str | None:
        """The name of the engine in its pipeline."""
        role = self.options.get("engine")
        return role if isinstance(role, str) else None

    @property
    def model(self) -> str | None:
        """What answered: a name, or the digest of a local model's files."""
        model = self.engine.get("model")
        if not isinstance(model, str):
            return None
        return f"local model {model[:15]}" if model.startswith("sha256:") else model


def sources_of(folder: Path) -> list[Source]:
    """The step and all it was made of, the input first. Raises UsageError when it is not finished."""
    found: dict[Path, Source] = {}
    _visit(folder, found)
    return list(found.values())


def _visit(folder: Path, found: dict[Path, Source]) -> None:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder}: no finished step here; run it again, answers are kept")
    for name, digest in manifest.inputs.items():
        above = step_folder(folder.parent, name, digest)
        if above not in found:
            _visit(above, found)
    found[folder] = Source(folder, manifest)


def models_of(sources: list[Source]) -> dict[str, str]:
    """The model behind each engine role."""
    return {s.role: s.model for s in sources if s.role is not None and s.model is not None}


def _mapping(value: JSON) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def command_of(run: Path, step: str) -> str | None:
    """The command the run folder keeps, where its pipeline is the one that made the step."""
    import yaml

    path = run / "config.yaml"
    if not path.is_file():
        return None
    first, _, config = path.read_text(encoding="utf-8").partition("\n")
    tree = yaml.safe_load(config)
    stages = tree.get("stages") if isinstance(tree, dict) else None
    ids = [stage.get("id") for stage in stages or [] if isinstance(stage, dict)]
    return first.removeprefix("# ") if step in ids else None


def commit() -> str | None:
    """The commit of the checkout this code runs from, None in an installed package."""
    git = ROOT / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        ref = git / head.removeprefix("ref: ")
        if ref.is_file():
            return ref.read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(head.removeprefix("ref: "))), None)
    except OSError:
        return None
