"""Steps and their identities: what makes a step another step, and what does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pairgen import registry
from pairgen.engine import EngineConfig, Sampling
from pairgen.errors import UsageError
from pairgen.fingerprint import PLACEMENT, identity
from pairgen.loop.config import load_experiment
from pairgen.pipeline.plan import Step, base_steps, engine_identity, source_names, why_again
from pairgen.prompts import PromptFile, load_prompt
from pairgen.stage import Stage
from pairgen.store import Manifest, seal

NEEDS: dict[str, dict[str, Any]] = {"load": {"path": "in.jsonl"}, "split": {"part": "train"}}
OTHER: dict[str, Any] = {
    "construction": "direct-worse",
    "categories": ("Coding",),
    "complexity": (2, 9),
    "lengths": ("a",),
    "part": "heldout",
    "length_ratio": (0.5, 2.0),
    "negatives": ("wrong",),
    "near": 0.9,
    "permutations": 256,
    "min_agreement": 0.5,
    "max_agreement": 0.5,
    "dtype": "float16",
}


def stage_classes() -> dict[str, type[Stage]]:
    return {name: registry.find("pairgen.stages", name).STAGE for name in registry.names("pairgen.stages")}


def engine_classes() -> dict[str, type[EngineConfig]]:
    return {name: registry.find("pairgen.engines", name).ENGINE for name in registry.names("pairgen.engines")}


def built(cls: type[BaseModel], use: str, **changes: Any) -> Any:
    values = {"id": "s", "engine": "policy", "use": use, "model": "org/m", **NEEDS.get(use, {}), **changes}
    return cls.model_validate({k: v for k, v in values.items() if k in cls.model_fields})


def another(name: str, value: Any, field: Any) -> Any:
    """A valid value of a field that is not `value`."""
    if name in OTHER and value != OTHER[name]:
        return OTHER[name]
    if isinstance(value, PromptFile):
        return value.model_copy(update={"user": value.user + "\nPlease."})
    if isinstance(value, Sampling):
        return value.model_copy(update={"temperature": value.temperature + 0.1})
    if get_origin(field.annotation) is Literal:
        return next((v for v in get_args(field.annotation) if v != value), value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        limits = [m for m in field.metadata if isinstance(m, Ge | Gt | Le | Lt)]
        return (
            value / 2
            if any(isinstance(m, Le | Lt) for m in limits) and value
            else value + (0.5 if isinstance(value, float) else 1)
        )
    if value is None:
        kinds = str(field.annotation)
        return (
            load_prompt("world/answer.md")
            if "PromptFile" in kinds
            else 7
            if "int" in kinds
            else 0.5
            if "float" in kinds
            else "x"
        )
    return f"{value}x"


def fields_of(classes: dict[str, type[Any]]) -> list[tuple[str, str]]:
    return [(use, name) for use, cls in classes.items() for name in cls.model_fields]


@pytest.mark.parametrize(("use", "name"), [*fields_of(stage_classes())])
def test_every_stage_field_is_identity_unless_it_is_runtime(use: str, name: str) -> None:
    """Setting any field of any stage off its default changes its identity, except fields marked Runtime."""
    cls = stage_classes()[use]
    check_field(cls, use, name)


@pytest.mark.parametrize(("use", "name"), [*fields_of(engine_classes())])
def test_every_engine_field_is_identity_unless_it_is_runtime(use: str, name: str) -> None:
    """Setting any field of any engine off its default changes its identity, except fields marked Runtime."""
    check_field(engine_classes()[use], use, name)


def check_field(cls: type[Any], use: str, name: str) -> None:
    base, field = built(cls, use), cls.model_fields[name]
    value = another(name, getattr(base, name), field)
    if value == getattr(base, name):
        pytest.skip("the field has one value only")
    changed = base.model_copy(update={name: value})
    assert (identity(changed) == identity(base)) == (PLACEMENT in field.metadata)


def test_runtime_marks_are_where_they_count() -> None:
    """`Runtime` stands at the field itself: inside a union it would silently be identity."""
    for cls in [*stage_classes().values(), *engine_classes().values()]:
        for name, field in cls.model_fields.items():
            assert PLACEMENT not in str(field.annotation), f"{cls.__name__}.{name}"
            assert field.default is not PydanticUndefined or field.is_required() or field.default_factory


TREE: dict[str, Any] = {
    "name": "small",
    "engines": {"policy": {"use": "scripted"}},
    "data": {"path": "in.jsonl"},
    "stages": [
        {"id": "unique", "use": "dedup"},
        {"id": "answered", "use": "respond", "engine": "policy"},
        {"id": "pairs", "use": "pair", "engine": "policy"},
        {"id": "train", "use": "split", "part": "train"},
        {"id": "heldout", "use": "split", "part": "heldout", "source": "pairs"},
    ],
}


def experiment(folder: Path, *sets: str) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "in.jsonl").write_text('"Why?"\n"Who?"\n')
    (folder / "p.yaml").write_text(yaml.safe_dump(TREE))
    return load_experiment(str(folder / "p.yaml"), [f"data.path={folder}/in.jsonl", *sets])


def digests(folder: Path, *sets: str) -> dict[str, str]:
    return {name: step.digest for name, step in base_steps(experiment(folder, *sets)).items()}


def test_moving_everything_changes_nothing(tmp_path: Path) -> None:
    """The same pipeline and data in another folder have the same steps, down to the last digit."""
    one, other = (
        digests(tmp_path / "a"),
        digests(tmp_path / "b", "name=other", "shard_rows=7", "max_failed=0.1"),
    )
    assert one == other
    assert list(one) == ["data", "unique", "answered", "pairs", "train", "heldout"]


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        ("stages.pairs.n=2", {"pairs", "train", "heldout"}),
        ("stages.train.share=0.3", {"train"}),
        ("stages.unique.near=0.9", {"unique", "answered", "pairs", "train", "heldout"}),
        ("engines.policy.concurrency=3", set()),
        ("engines.policy.model=other", {"answered", "pairs", "train", "heldout"}),
        ("stages.heldout.source=train", {"heldout"}),
        ("data.limit=1", {"data", "unique", "answered", "pairs", "train", "heldout"}),
        ("seed=1", {"data", "unique", "answered", "pairs", "train", "heldout"}),
    ],
)
def test_a_change_reaches_what_depends_on_it(tmp_path: Path, edit: str, changed: set[str]) -> None:
    """An edit changes the step it is in and every step below, and no other."""
    before, after = digests(tmp_path / "a"), digests(tmp_path / "a", edit)
    assert {name for name in before if before[name] != after[name]} == changed


def test_another_row_is_another_input(tmp_path: Path) -> None:
    """The content of the input file is in the identity of the step that reads it."""
    before = digests(tmp_path / "a")
    made = experiment(tmp_path / "a")
    (tmp_path / "a" / "in.jsonl").write_text('"Why?"\n')
    assert base_steps(made)["data"].digest != before["data"]


def test_a_local_model_is_known_by_its_files(tmp_path: Path) -> None:
    """A model folder that moved is the same engine; one with other weights is not."""

    def config(name: str, weights: bytes) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
        return engine_identity(built(engine_classes()["scripted"], "scripted", model=str(folder)))

    one, moved, trained = config("a", b"1"), config("b", b"1"), config("c", b"2")
    assert one == moved != trained


def test_held_out_instructions_stay_held_out_when_pairs_are_made_again(tmp_path: Path) -> None:
    """Fresh pairs of a later iteration are drawn anew but split as before, so training never sees an
    instruction that was held out."""
    made = experiment(tmp_path / "a")
    first, later = base_steps(made), base_steps(made, seed=1000, prefix="it2-")
    assert later["pairs"].spec.seed == 1000 != first["pairs"].spec.seed
    assert later["train"].spec.seed == first["train"].spec.seed
    assert later["train"].name == "it2-train"
    assert later["data"].digest == first["data"].digest


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("stages.heldout.source=pears", "heldout.source: no step 'pears': did you mean 'pairs'"),
        (
            "stages.heldout.source=unique",
            "heldout: split reads Pair rows, but 'unique' writes Instruction rows",
        ),
        ("stages.unique.source=pairs", "unique.source: no step 'pairs'"),
        ("stages.heldout.source=[pairs, train, data]", "'data' writes Instruction rows"),
    ],
)
def test_wiring_errors(tmp_path: Path, edit: str, says: str) -> None:
    """A stage wired to a step that is missing, later, or of another kind is refused in one line."""
    with pytest.raises(UsageError, match=r"heldout|unique") as caught:
        base_steps(experiment(tmp_path / "a", edit))
    assert says in str(caught.value)


def test_sources_by_default() -> None:
    """A stage reads the one above unless it names one or several."""
    stage = built(stage_classes()["filter"], "filter")
    assert source_names(stage, "above") == ("above",)
    assert source_names(stage.model_copy(update={"source": "x"}), "above") == ("x",)
    assert source_names(stage.model_copy(update={"source": ("x", "y")}), "above") == ("x", "y")


def sealed(step: Step, run: Path, rows: int = 3) -> None:
    """Seal an empty-handed step, as if it had run."""
    folder = step.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    seal(
        folder,
        Manifest(
            name=step.name,
            use=step.spec.use,
            identity=step.identity,
            digest=step.digest,
            inputs={},
            row_class=step.spec.writes.__name__,
            rows=rows,
            shards=(),
            drop_shards=(),
            drops={},
            failed=0,
            metrics={},
            files={},
            code_version="test",
            log={"finished": "2026-01-01T00:00:00Z"},
        ),
    )


def test_why_again(tmp_path: Path) -> None:
    """A step that ran with other options says which; one that never ran says nothing."""
    run = tmp_path / "run"
    run.mkdir()
    step = base_steps(experiment(tmp_path / "a"))["pairs"]
    assert why_again(step, run) == []
    sealed(step, run)
    edited = base_steps(experiment(tmp_path / "a", "stages.pairs.n=2"))["pairs"]
    assert why_again(edited, run) == ["options.n: 1 -> 2"]
    assert why_again(replace(step, name="other"), run) == []
