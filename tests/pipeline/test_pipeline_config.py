"""Pipeline files: typed, overridden by `--set`, and every mistake named with its place and nearest name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pairgen.errors import UsageError
from pairgen.loop.config import Experiment, experiment_tree, load_experiment
from pairgen.pipeline.config import Pipeline, parse_as, parse_parts, pipeline_path, read_tree
from pairgen.resources import ROOT
from pairgen.stages.judge import Judge

SMALL: dict[str, Any] = {
    "name": "small",
    "engines": {"policy": {"use": "scripted"}},
    "data": {"path": "in.jsonl"},
    "stages": [
        {"id": "answered", "use": "respond", "engine": "policy", "sampling": {"temperature": 0.5}},
        {"id": "pairs", "use": "pair", "engine": "policy", "n": 2},
        {"id": "judged", "use": "judge", "engine": "policy", "n": 4},
    ],
    "loop": {
        "stages": [
            {"id": "again", "use": "judge", "engine": "policy", "source": "pairs"},
            {"id": "kept", "use": "filter"},
            {"id": "sft", "use": "export-sft"},
        ],
        "train_on": ["sft"],
        "train": {"learning_rate": 0.001, "lora": {"r": 8}},
        "evals": [{"id": "heldout", "use": "heldout", "source": "pairs"}],
        "gate": {"eval": "heldout"},
    },
}


def written(path: Path, tree: Any) -> str:
    file = path / "p.yaml"
    file.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return str(file)


def load(path: Path, *sets: str, tree: Any = SMALL) -> Experiment:
    return load_experiment(written(path, tree), sets)


def error_of(path: Path, *sets: str, tree: Any = SMALL) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, *sets, tree=tree)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_small_pipeline(tmp_path: Path) -> None:
    """Stages, engines and the loop come out typed."""
    experiment = load(tmp_path)
    assert [s.use for s in experiment.stages] == ["respond", "pair", "judge"]
    assert isinstance(experiment.stages[2], Judge)
    assert experiment.loop is not None
    assert experiment.loop.train.lora is not None


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("stagess", "pipeline.stagess: unknown key; did you mean 'stages'"),
        ("data.pth", "data.pth: unknown key; did you mean 'path'"),
        ("engines.policy.modle", "engines.policy.modle: unknown key; did you mean 'model'"),
        ("stages.judged.samplng", "stages.judged.samplng: unknown key; did you mean 'sampling'"),
        (
            "stages.answered.sampling.temprature",
            "sampling.temprature: unknown key; did you mean 'temperature'",
        ),
        ("loop.itres", "loop.itres: unknown key; did you mean 'iters'"),
        ("loop.train.learnin_rate", "loop.train.learnin_rate: unknown key; did you mean 'learning_rate'"),
        ("loop.train.lora.dropuot", "loop.train.lora.dropuot: unknown key; did you mean 'dropout'"),
        ("loop.gate.patiense", "loop.gate.patiense: unknown key; did you mean 'patience'"),
        (
            "loop.stages.kept.min_agrement",
            "loop.stages.kept.min_agrement: unknown key; did you mean 'min_agreement'",
        ),
    ],
)
def test_unknown_keys_at_every_level(tmp_path: Path, key: str, says: str) -> None:
    """A misspelt key is refused at its place with the nearest valid name, at any depth."""
    assert says in error_of(tmp_path, f"{key}=1")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("stages.judged.use=jugde", "stages.judged.use: no 'jugde' in stages: did you mean 'judge'"),
        ("engines.policy.use=vlm", "engines.policy.use: no 'vlm' in engines: did you mean 'vllm'"),
        ("stages.judged.engine=polcy", "stages.judged.engine: no engine 'polcy': did you mean 'policy'"),
        ("stages.judged.n=0", "stages.judged.n: input should be greater than or equal to 1, found 0"),
        ("stages.judged.n=many", "stages.judged.n: input should be a valid integer"),
        (
            "stages.judged.prompt=jugde.md",
            "stages.judged.prompt: no 'jugde.md' in prompts/: did you mean 'judge.md'",
        ),
        ("stages.judged.prompt=world/answer.md", "needs ['verdict']"),
        ("stages.judged.id=pairs", "two steps have this id"),
        ("stages.judged.id=data", "two steps have this id"),
        ("stages.judged.id=../x", "id: string should match pattern"),
        ("stages.judged.use=null", "needs `use:`"),
        ("stages=7", "stages: expected a list"),
        ("stages.judged=7", "needs `use:`"),
        ("engines=7", "engines: expected a mapping"),
        ("data.use=csv", "data.use"),
        ("data.path=null", "which instructions? give a JSONL"),
        ("loop.policy=judge", "loop.policy: no engine 'judge'"),
        ("name=A b", "pipeline.name"),
    ],
)
def test_wrong_values(tmp_path: Path, edit: str, says: str) -> None:
    """A wrong value is one line: its place, what was found, and what is valid."""
    assert says in error_of(tmp_path, edit)


def test_set_is_typed_and_addresses_by_id(tmp_path: Path) -> None:
    """Values are read as YAML, list items are found by id, and missing mappings are made from null."""
    experiment = load(
        tmp_path,
        "stages.judged.n=15",
        "stages.answered.sampling.temperature=1e-1",
        "loop.stages.kept.balance=no",
        "loop.train.learning_rate=1e-5",
        "data.column=null",
        "stages.pairs.length_ratio=[0.5, 2]",
    )
    assert experiment.stages[2].n == 15
    assert experiment.stages[0].sampling.temperature == 0.1
    assert experiment.stages[1].length_ratio == (0.5, 2.0)
    assert experiment.loop is not None
    assert experiment.loop.train.learning_rate == 1e-5
    assert experiment.loop.stages[1].balance is False


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("stages.jugded.n=1", "no 'jugded' in the list: did you mean 'judged'"),
        ("stagse.judged.n=1", "no 'stagse': did you mean 'stages'"),
        ("name.x=1", "single value"),
        ("name.x.y=1", "single value"),
        ("stages", "write it as key.path=value"),
        ("=1", "write it as key.path=value"),
        ("seed=[1", "the value is not YAML"),
    ],
)
def test_wrong_sets(tmp_path: Path, edit: str, says: str) -> None:
    """A `--set` that cannot be applied is quoted, with what is valid."""
    message = error_of(tmp_path, edit)
    assert message.startswith(f"--set {edit!r}")
    assert says in message


def test_the_last_set_wins(tmp_path: Path) -> None:
    """Overrides are applied in order, and kept in the tree a run records."""
    sets = ["seed=1", "seed=2"]
    assert load(tmp_path, *sets).seed == 2
    assert experiment_tree(written(tmp_path, SMALL), sets)["seed"] == 2
    assert experiment_tree(written(tmp_path, SMALL), [], iters=3)["loop"]["iters"] == 3


def test_yaml_aliases_are_copies(tmp_path: Path) -> None:
    """An override at one use of a YAML alias leaves the other uses alone."""
    text = "a: &s {n: 1}\nb: *s\n"
    assert read_tree(Path(written(tmp_path, text)), ["a.n=2"]) == {"a": {"n": 2}, "b": {"n": 1}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1\nb: 2", ":2: not YAML"),
        ("", "is a mapping of"),
        ("- a", "is a mapping of"),
        ("a: &x [*x]", "contains itself"),
        ("a: !!python/object:os.x {}", "not YAML"),
        ("base: self-taught\nstages: []", "'stages' beside `base:`"),
        ("base: nope", "no pipeline 'nope'"),
        ("embedded: 7", "embedded: expected a mapping"),
        ("\0", "cannot be read"),
    ],
)
def test_files_that_are_no_pipeline(tmp_path: Path, text: str, says: str) -> None:
    """A file that is no YAML mapping is one line with the file, and the line in it where known."""
    message = error_of(tmp_path, tree=text)
    assert says in message


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    """A pipeline file that is not UTF-8 is refused; a byte order mark is not."""
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_tree(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_tree(tmp_path / "a.yaml") == {"name": "x"}


def test_a_base_that_is_itself(tmp_path: Path) -> None:
    """Two files that are each other's base end in one line, not in endless reading."""
    (tmp_path / "a.yaml").write_text(f"base: {tmp_path}/b.yaml\n")
    (tmp_path / "b.yaml").write_text(f"base: {tmp_path}/a.yaml\n")
    with pytest.raises(UsageError, match="is its own base"):
        read_tree(tmp_path / "a.yaml")


def test_variants_change_their_base(tmp_path: Path) -> None:
    """A variant holds its base's tree with its own changes; `--set` comes last."""
    base = {**SMALL, "embedded": {"stages.judged.n": 99}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    variant = {
        "name": "variant",
        "base": str(tmp_path / "base.yaml"),
        "set": {"stages.judged.n": 7, "seed": 5},
    }
    tree = read_tree(Path(written(tmp_path, variant)), ["seed=6"])
    assert (tree["name"], tree["seed"], tree["stages"][2]["n"]) == ("variant", 6, 7)
    assert not tree.keys() & {"set", "base", "embedded"}


@pytest.mark.parametrize(
    ("model", "by", "holds"),
    [
        ("builtin:world/x", "file", True),
        ("org/model", "file", False),
        ("org/model", "--set", False),
        ("org/model", "variant", False),
        ("builtin:world/x", "--set", True),
        ("builtin:world/x", "variant", True),
    ],
)
def test_embedded_values_follow_the_policy_that_will_run(
    tmp_path: Path, model: str, by: str, holds: bool
) -> None:
    """`embedded:` holds exactly when the model in the end ships with pairgen, wherever it was named."""
    other = "org/model" if holds else "builtin:world/x"
    engine = {"use": "scripted", "model": model if by == "file" else other}
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({**SMALL, "engines": {"policy": engine}, "embedded": {"stages.judged.n": 99}})
    )
    change = {"engines.policy": {"use": "scripted", "model": model}} if by == "variant" else {}
    variant = written(tmp_path, {"base": str(tmp_path / "base.yaml"), "set": change})
    tree = read_tree(Path(variant), [f"engines.policy.model={model}"] if by == "--set" else [])
    assert (tree["stages"][2]["n"] == 99) is holds


SHIPPED = sorted(p.stem for p in (ROOT / "pipelines").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_pipeline_reads(name: str, tmp_path: Path) -> None:
    """Each shipped pipeline reads with a data file given, and says its own name."""
    (tmp_path / "in.jsonl").write_text('"Why?"\n')
    assert load_experiment(name, [f"data.path={tmp_path}/in.jsonl"]).name == name


def test_only_the_embedded_world_uses_world_prompts(tmp_path: Path) -> None:
    """A pipeline for a real model never asks it in the small world's language."""
    (tmp_path / "in.jsonl").write_text('"Why?"\n')
    for name in ("self-taught-8b", "self-taught-paper"):
        experiment = load_experiment(name, [f"data.path={tmp_path}/in.jsonl"])
        assert experiment.loop is not None
        stages = [*experiment.stages, *experiment.loop.stages]
        prompts = [getattr(s, "prompt", None) for s in stages]
        assert not [p.name for p in prompts if p is not None and p.name.startswith("world/")]
        assert not [e.use for e in experiment.loop.evals if e.use.startswith("world")]


def test_pipeline_names() -> None:
    """A name that is no shipped pipeline gets the nearest one; a missing file is named."""
    with pytest.raises(UsageError, match="did you mean 'self-taught'"):
        pipeline_path("self-tought")
    with pytest.raises(UsageError, match=r"nowhere.yaml: no such pipeline file"):
        pipeline_path("nowhere.yaml")


def test_auto_is_an_engine_that_is_installed() -> None:
    """`use: auto` becomes an engine this machine can open, in the resolved config."""
    parts = parse_parts({**SMALL, "engines": {"policy": {"use": "auto", "model": "x"}}})
    assert parts["engines"]["policy"].use in {"vllm", "transformers"}


def test_missing_parts(tmp_path: Path) -> None:
    """A pipeline without its parts says which are missing."""
    assert "pipeline.data: field required" in error_of(tmp_path, tree={"name": "x"})
    with pytest.raises(UsageError, match="x: expected a mapping, found 7"):
        parse_as(Pipeline, 7, "x")
