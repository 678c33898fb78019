"""Steps: a pipeline spelled out, each with its identity, so that what is done is known before it runs.

A step's identity holds its options, prompt texts, engine and weights, and the identities of what it
reads. Nothing about places or speed is in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pairgen.engine import EngineConfig
from pairgen.errors import UsageError, nearest
from pairgen.fingerprint import JSON, diff, digest, folder_digest, identity
from pairgen.pipeline.config import Pipeline
from pairgen.resources import resolve
from pairgen.stage import LLMStage, Stage
from pairgen.stages.load import Load
from pairgen.store import Manifest, sealed_steps, step_folder


@dataclass(frozen=True)
class Step:
    """One unit of work: a stage, a training or an evaluation, with its full identity.

    `engine` is the role that answers; `weights` the training step whose weights it must hold, None
    for its own.
    """

    name: str
    spec: Any
    inputs: tuple[str, ...]
    identity: JSON
    engine: str | None = None
    weights: str | None = None

    @property
    def digest(self) -> str:
        """The digest of the identity; its first 8 digits name the folder."""
        return digest(self.identity)

    @property
    def account(self) -> str:
        """What its answers are billed to. A step renamed is another: what the first bought is not told twice."""
        return f"{self.name}@{self.digest}"

    def folder(self, run: Path) -> Path:
        """Where the step's rows lie in a run."""
        return step_folder(run, self.name, self.digest)


@cache
def model_digest(folder: Path) -> str:
    """The digest of a local model's files, read once per process."""
    return folder_digest(folder)


def engine_identity(config: EngineConfig) -> JSON:
    """An engine's identity before it is opened; a local model is known by its files, not its place."""
    base = identity(config)
    assert isinstance(base, dict)
    folder = resolve(config.model)
    return {**base, "model": f"sha256:{model_digest(folder)}"} if folder.is_dir() else base


def stage_step(
    stage: Stage, name: str, sources: Sequence[Step], pipeline: Pipeline, weights: Step | None = None
) -> Step:
    """The step of a stage. `weights` is the training step its engine's weights come from."""
    about: dict[str, JSON] = {
        "options": identity(stage), "version": type(stage).version, "inputs": [s.digest for s in sources],
    }
    engine = None
    if isinstance(stage, LLMStage):
        engine = stage.engine
        about["engine"] = engine_identity(pipeline.engines[engine])
        about["weights"] = weights.digest if weights else None
    if isinstance(stage, Load):
        about["outside"] = stage.outside()
    return Step(name, stage, tuple(s.name for s in sources), about, engine, weights.name if weights else None)


def seeded(stage: Stage, seed: int) -> Stage:
    """The stage with the given seed, unless its own was given."""
    return stage if "seed" in stage.model_fields_set else stage.model_copy(update={"seed": seed})


def source_names(stage: Stage, above: str) -> tuple[str, ...]:
    """The ids a stage reads: the one above by default."""
    if stage.source is None:
        return (above,)
    return (stage.source,) if isinstance(stage.source, str) else stage.source


def base_steps(pipeline: Pipeline, seed: int | None = None, prefix: str = "") -> dict[str, Step]:
    """The steps of `data` and `stages`, by stage id, in order."""
    seed = pipeline.seed if seed is None else seed
    data = seeded(pipeline.data, pipeline.seed)
    steps = {"data": stage_step(data, f"{prefix}data", (), pipeline)}
    above = "data"
    for stage in pipeline.stages:
        sources = wired(stage, source_names(stage, above), steps)
        own = seeded(stage, pipeline.seed if stage.settled else seed)
        steps[stage.id] = stage_step(own, f"{prefix}{stage.id}", sources, pipeline)
        above = stage.id
    return steps


def wired(stage: Stage, names: Iterable[str], steps: dict[str, Step]) -> tuple[Step, ...]:
    """The steps a stage reads. Raises UsageError when one is missing or writes another kind of row."""
    sources = []
    for name in names:
        if name not in steps:
            raise UsageError(f"{stage.id}.source: no step {name!r}: {nearest(name, steps)}")
        source = steps[name]
        if source.spec.writes is not stage.reads:
            reads = f"{stage.reads.__name__} rows" if stage.reads else "no rows"
            writes = source.spec.writes.__name__
            raise UsageError(f"{stage.id}: {stage.use} reads {reads}, but {name!r} writes {writes} rows")
        sources.append(source)
    return tuple(sources)


def why_again(step: Step, run: Path) -> list[str]:
    """How this step differs from the newest sealed one of its name; empty when there is none."""
    siblings = [m for _, m in sealed_steps(run) if m.name == step.name]
    if not siblings:
        return []
    newest: Manifest = max(siblings, key=lambda m: str(m.log.get("finished", "")))
    return diff(newest.identity, step.identity)
