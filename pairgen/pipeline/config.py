"""A pipeline file, read: YAML in, frozen models out, and one clear line when a key or value is wrong.

`--set a.b=c` edits the tree before it is read, so overrides are typed, checked and recorded like the
rest. List items are addressed by their id: `stages.judged.n=15`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from pairgen.engine import EngineConfig, Frozen
from pairgen.errors import UsageError, nearest
from pairgen.fingerprint import Runtime
from pairgen.registry import find
from pairgen.resources import BUILTIN, ROOT
from pairgen.stage import LLMStage, Stage
from pairgen.stages.load import Load

M = TypeVar("M", bound=BaseModel)
Tree = dict[str, Any]


class Setup(Frozen):
    """What steps are run with: engines by role, and how much of a step may fail.

    `max_failed` is the share of failed rows per step above which the run ends with exit code 3.
    """

    engines: dict[str, EngineConfig]
    max_failed: Runtime[float] = Field(default=0.5, ge=0, le=1)
    shard_rows: Runtime[int] = Field(default=10_000, ge=1)


class Pipeline(Setup):
    """What a pipeline file holds: engines, the input, and stages that each read the one above."""

    name: Runtime[str] = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    about: Runtime[str] = ""
    seed: int = 0
    data: Load
    stages: tuple[Stage, ...]


def pipeline_path(name: str) -> Path:
    """The file of a pipeline: a path of the user's, or the name of one that ships."""
    own = Path(name)
    if own.suffix in {".yaml", ".yml"}:
        if own.is_file():
            return own
        raise UsageError(f"{name}: no such pipeline file")
    known = {p.stem: p for p in (ROOT / "pipelines").glob("*.yaml")}
    if name not in known:
        raise UsageError(f"no pipeline {name!r}: {nearest(name, known)} (or give the path of a .yaml file)")
    return known[name]


def read_tree(path: Path, sets: Sequence[str] = ()) -> Tree:
    """The tree of a pipeline file with the `--set` overrides applied.

    `embedded:` maps dotted paths to the values that hold while a model that ships with pairgen
    (`builtin:...`) is the policy. A file with `base:` is another pipeline with the values under its
    own `set:` changed. `--set` comes last.
    """
    tree = _with_base(path)
    embedded = _edits(tree.pop("embedded", None), f"{path}: embedded")
    changes = [*_edits(tree.pop("set", None), f"{path}: set"), *map(parse_set, sets)]
    if _policy_model(tree, changes).startswith(BUILTIN):
        changes = [*embedded, *changes]
    for edit in changes:
        assign(tree, edit)
    return tree


@dataclass(frozen=True, slots=True)
class Edit:
    """A value for a dotted path; `where` says who asked for it, for errors."""

    key: str
    value: Any
    where: str


def _edits(changes: Any, where: str) -> list[Edit]:
    if changes is None:
        return []
    if not isinstance(changes, dict):
        raise UsageError(f"{where}: expected a mapping of dotted paths to values")
    return [Edit(str(key), value, f"{where} {key!r}") for key, value in changes.items()]


def _policy_model(tree: Tree, changes: Sequence[Edit]) -> str:
    """The policy's model once the changes are made, which decides whether the embedded values hold."""
    engines = {"engines": _unshared(tree.get("engines") or {})}
    for edit in changes:
        if edit.key.split(".")[0] == "engines":
            assign(engines, edit)
    roles = engines["engines"]
    policy = roles.get("policy") if isinstance(roles, dict) else None
    return str(policy.get("model")) if isinstance(policy, dict) else ""


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> Tree:
    """The file's tree; of a variant, the base's tree with the variant's `set:`, name and about."""
    own = read_yaml(path)
    if "base" not in own:
        return own
    if extra := sorted(map(str, set(own) - {"base", "set", "name", "about"})):
        raise UsageError(f"{path}: {extra[0]!r} beside `base:`; a variant changes it through `set:` only")
    if path.resolve() in above:
        raise UsageError(f"{path}: is its own base")
    base = _with_base(pipeline_path(str(own["base"])), (*above, path.resolve()))
    labels: Tree = {key: own[key] for key in ("name", "about") if key in own}
    return {**base, **labels, "set": {**(base.get("set") or {}), **(own.get("set") or {})}}


def read_yaml(path: Path, what: str = "a pipeline file is a mapping of name, engines, data, stages") -> Tree:
    """The mapping in a YAML file. Raises UsageError naming the line; `what` says what the file should be."""
    try:
        tree = _unshared(yaml.safe_load(path.read_text(encoding="utf-8-sig")))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML ({error.problem})") from error
    except (UnicodeDecodeError, yaml.YAMLError, OSError) as error:
        raise UsageError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    except RecursionError as error:
        raise UsageError(f"{path}: holds a value that contains itself") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: {what}")
    return tree


def _unshared(value: Any) -> Any:
    """A copy in which no two places are one object: an edit at one YAML alias must not reach the other."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def parse_set(item: str) -> Edit:
    """One `--set`, its value typed as YAML would."""
    key, separator, text = item.partition("=")
    if not separator or not key:
        raise UsageError(f"--set {item!r}: write it as key.path=value")
    try:
        return Edit(key, yaml.safe_load(text), f"--set {item!r}")
    except yaml.YAMLError as error:
        raise UsageError(f"--set {item!r}: the value is not YAML") from error


def assign(tree: Tree, edit: Edit) -> None:
    """Set the value at a dotted path; list items are found by their id."""
    *parents, last = edit.key.split(".")
    value, where = _unshared(edit.value), edit.where
    node: Any = tree
    for part in parents:
        node = _child(node, part, where)
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        node[_index(node, last, where)] = value
    else:
        raise UsageError(f"{where}: {'.'.join(parents)} is a single value, it has no {last!r}")


def _child(node: Any, part: str, where: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, where)]
    if isinstance(node, dict):
        if node.get(part) is None:
            if part not in node:
                raise UsageError(f"{where}: no {part!r}: {nearest(part, map(str, node))}")
            node[part] = {}
        return node[part]
    raise UsageError(f"{where}: {part!r} is below a single value")


def _index(items: list[Any], part: str, where: str) -> int:
    ids = [str(i.get("id", n)) if isinstance(i, dict) else str(n) for n, i in enumerate(items)]
    if part in ids:
        return ids.index(part)
    raise UsageError(f"{where}: no {part!r} in the list: {nearest(part, ids)}")


def parse_as(cls: type[M], value: Any, where: str) -> M:
    """A model from a mapping. Raises UsageError naming the place, what was found and what is valid."""
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected a mapping, found {repr(value)[:60]}")
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        raise UsageError(f"{where}{_explain(error, cls)}") from error


def _explain(error: ValidationError, cls: type[BaseModel]) -> str:
    first = error.errors()[0]
    place = "".join(f".{part}" for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        return f"{place}: unknown key; {nearest(name, _fields_at(cls, first['loc'][:-1]))}{more}"
    whole = first["type"] == "missing" or isinstance(first["input"], dict)  # a mapping may hold what is not to be shown
    found = "" if whole else f", found {first['input']!r:.60}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message[0].lower()}{message[1:]}{found}{more}"


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are valid at a place, looking through optional, list and mapping fields."""
    for part in loc:
        field = cls.model_fields.get(str(part))
        models = _models_in(field.annotation) if field else []
        cls = models[0] if models else cls
    return [f.alias or name for name, f in cls.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]


def parse_plugin(package: str, attribute: str, value: Any, where: str) -> Any:
    """A plug-in's model from a mapping with `use: NAME`."""
    if not isinstance(value, dict) or not isinstance(value.get("use"), str):
        raise UsageError(f"{where}: needs `use:`, the name of a plug-in")
    try:
        module = find(package, value["use"])
    except UsageError as error:
        raise UsageError(f"{where}.use: {error}") from error
    return parse_as(getattr(module, attribute), value, where)


def parse_stages(values: Any, where: str, engines: Sequence[str]) -> tuple[Stage, ...]:
    """The stages of a list; each engine named must exist and no id may repeat."""
    if not isinstance(values, list):
        raise UsageError(f"{where}: expected a list of stages")
    stages: list[Stage] = []
    for index, value in enumerate(step for item in values for step in _rounds(item, where)):
        label = f"{where}.{value.get('id', index) if isinstance(value, dict) else index}"
        stage: Stage = parse_plugin("pairgen.stages", "STAGE", value, label)
        if stage.id in {s.id for s in stages} | {"data"}:
            raise UsageError(f"{label}: two steps have this id (`data` is the input's)")
        if isinstance(stage, LLMStage) and stage.engine not in engines:
            raise UsageError(f"{label}.engine: no engine {stage.engine!r}: {nearest(stage.engine, engines)}")
        stages.append(stage)
    return tuple(stages)


def _rounds(value: Any, where: str) -> list[Any]:
    """A stage with `rounds: K` written out: a step for each of rounds 2 to K, the last under its own id."""
    if not isinstance(value, dict) or "rounds" not in value:
        return [value]
    own = {key: item for key, item in value.items() if key != "rounds"}
    last = value["rounds"]
    if not isinstance(last, int) or isinstance(last, bool) or not 2 <= last <= 100:
        raise UsageError(f"{where}.{own.get('id')}.rounds: a number from 2 (round 1 is `revise`), found {last!r:.40}")
    later = {key: item for key, item in own.items() if key != "source"}
    names = [f"{own.get('id')}-{n}" for n in range(2, last)] + [own.get("id")]
    return [{**(later if i else own), "id": name, "round": i + 2} for i, name in enumerate(names)]


def parse_parts(tree: Tree) -> Tree:
    """The tree with its plug-ins (engines, data, stages) read, ready for `Pipeline`."""
    parts = dict(tree)
    engines = tree.get("engines") or {}
    if not isinstance(engines, dict):
        raise UsageError("engines: expected a mapping of names to engines")
    parts["engines"] = {
        name: parse_plugin("pairgen.engines", "ENGINE", resolve_auto(value), f"engines.{name}")
        for name, value in engines.items()
    }
    if "data" in tree:
        data = tree["data"] if isinstance(tree["data"], dict) else {"path": tree["data"]}
        if data.get("use", "load") != "load":
            raise UsageError(f"data.use: no {data['use']!r} here; data is always read by load")
        if "path" in data and data["path"] is None:
            raise UsageError(
                "data.path: which instructions? give a JSONL, JSON, CSV, Parquet or Arrow file or a hub "
                "name: --set data.path=my_instructions.jsonl"
            )
        parts["data"] = parse_as(Load, {"id": "data", "use": "load", **data}, "data")
    parts["stages"] = parse_stages(tree.get("stages", []), "stages", list(parts["engines"]))
    return parts


def resolve_auto(value: Any) -> Any:
    """`use: auto` is the fastest local engine installed here."""
    if isinstance(value, dict) and value.get("use") == "auto":
        return {**value, "use": "vllm" if find_spec("vllm") else "transformers"}
    return value
