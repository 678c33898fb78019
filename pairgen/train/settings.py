"""From a preset, a file and overrides to one TrainConfig: later ones win, and none is read loosely."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pairgen.errors import UsageError, nearest
from pairgen.pipeline.config import Tree, assign, parse_as, parse_set, read_yaml
from pairgen.train.config import PRESETS, Term, TrainConfig
from pairgen.train.objectives import OBJECTIVES
from pairgen.train.presets import Preset, preset

FILE = "a training config is a mapping of TrainConfig's fields, such as learning_rate"
BELOW = {"lora": "lora.r=16", "moving_reference": "moving_reference.every=512"}
"""Fields that are switched on by setting a field below them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The config in force, the preset it began with, and the preset's open fields that nothing filled."""

    config: TrainConfig
    preset: Preset | None
    left_open: tuple[str, ...]


def settings(preset_name: str | None = None, file: Path | None = None, objective: str | None = None,
             sets: Sequence[str] = ()) -> Settings:
    """Preset, then config file, then `--objective`, then `--set`. Raises UsageError naming the key.

    Terms of the objective are addressed by their loss: `objective.dpo.beta=0.2`.
    """
    chosen = preset(preset_name) if preset_name else None
    tree: Tree = dict(chosen.config) if chosen else {}
    if file:
        tree = _over(tree, _unrecorded(read_yaml(file, FILE)))
    if objective is not None:
        _check_name(objective)
        tree["objective"] = objective
    given = {str(key) for key in tree}
    tree = _edited(tree, sets, given)
    if "learning_rate" not in tree:
        raise UsageError("learning_rate has no default, since a good one differs by hundreds between objectives: "
                         "give --set learning_rate=5e-7 (say), or a --preset")
    _check_terms(tree.get("objective"))
    config = parse_as(TrainConfig, tree, "train")
    return Settings(config, chosen, tuple(f for f in chosen.not_stated if f not in given) if chosen else ())


def _unrecorded(tree: Tree) -> Tree:
    """The config in a record that was kept beside a checkpoint; any other tree as it is."""
    config = tree.get("config")
    if "identity" not in tree or not isinstance(config, dict):
        return tree
    terms = config.get("objective")
    if isinstance(terms, list):  # parameters beside `use`, where overrides go
        config = {**config, "objective": [_flat(term) if isinstance(term, dict) else term for term in terms]}
    return config


def _flat(term: Tree) -> Tree:
    params = term.get("params")
    return {key: value for key, value in term.items() if key != "params"} | (params if isinstance(params, dict) else {})


def _check_name(objective: str) -> None:
    if objective in PRESETS or objective in OBJECTIVES:
        return
    if "+" in objective or "," in objective:
        raise UsageError(f"--objective {objective!r}: a sum is written in a --config file, as in "
                         "objective: [{use: dpo}, {use: nll}], or is a preset such as rpo")
    raise UsageError(f"--objective: no objective {objective!r}: {nearest(objective, {*PRESETS, *OBJECTIVES})}")


def _check_terms(objective: Any) -> None:
    """Raise UsageError, naming the parameter as `--set` would, for a term that is not valid."""
    for term in objective if isinstance(objective, list) else ():
        try:
            Term.model_validate(term)
        except ValidationError as error:
            raise UsageError(_explained(term, error)) from error


def _explained(term: Any, error: ValidationError) -> str:
    first = error.errors()[0]
    place = f"objective.{term['use']}" if isinstance(term, dict) and "use" in term else "objective"
    cause = first.get("ctx", {}).get("error")
    inner = cause.__cause__ if isinstance(cause, ValueError) else None
    if isinstance(inner, ValidationError):  # of the loss's own parameters
        first = inner.errors()[0]
    elif cause is not None:
        return f"{place}: {cause}"
    key = "".join(f".{part}" for part in first["loc"])
    return f"{place}{key}: {first['msg'][0].lower()}{first['msg'][1:]}, found {first['input']!r:.60}"


def _edited(tree: Tree, sets: Sequence[str], given: set[str]) -> Tree:
    """The tree with the overrides made; what they touch is added to `given`."""
    edits = [parse_set(item) for item in sets]
    tree = {"lora": None, "moving_reference": None, "kind_weights": {}, **tree}
    terms = tree["objective"] = _by_loss(tree.get("objective", "sft"))
    for edit in edits:
        head = edit.key.split(".")[0]
        if head not in TrainConfig.model_fields:
            raise UsageError(f"{edit.where}: unknown key; {_hint(edit.key, terms)}")
        if edit.key in BELOW and not isinstance(edit.value, dict | None):
            raise UsageError(f"{edit.where}: {edit.key} has fields of its own: write {BELOW[edit.key]}, "
                             f"or {edit.key}=null for none")
        tree = _over(tree, {head: tree.get(head)})
        assign(tree, edit)
        given.add(edit.key)
        given.add(head)
    if tree["objective"] is terms and isinstance(terms, dict):
        tree["objective"] = list(terms.values())
    return tree


def _hint(key: str, terms: Any) -> str:
    """What was meant by a key that is no field: a parameter of a term, or a field of a similar name."""
    named = terms.items() if isinstance(terms, dict) else enumerate(terms) if isinstance(terms, list) else ()
    for name, term in named:
        if str(name) == key.split(".")[0]:
            return f"did you mean 'objective.{key}'?"
        if isinstance(term, dict) and key in _parameters(str(term.get("use"))):
            return f"did you mean 'objective.{name}.{key}'?"
    return nearest(key.split(".")[0], TrainConfig.model_fields)


def _parameters(loss: str) -> set[str]:
    """What may stand in a term beside the name of its loss."""
    own = inspect.signature(OBJECTIVES[loss].loss).parameters.values() if loss in OBJECTIVES else ()
    return {p.name for p in own if p.kind is p.KEYWORD_ONLY} | (Term.model_fields.keys() - {"use", "params"})


def _over(tree: Tree, later: Tree) -> Tree:
    """The tree with later values; one way to give the warm-up takes the other's place."""
    ways = {"warmup_steps": "warmup_ratio", "warmup_ratio": "warmup_steps"}
    gone = {other for way, other in ways.items() if way in later and other not in later}
    return {key: value for key, value in tree.items() if key not in gone} | later


def _by_loss(objective: Any) -> Any:
    """The terms by the name of their loss, as long as no two have the same; otherwise as they are."""
    if isinstance(objective, str) and (objective in PRESETS or objective in OBJECTIVES):
        objective = PRESETS.get(objective, [{"use": objective}])
    if not isinstance(objective, list) or not all(isinstance(term, dict) and "use" in term for term in objective):
        return objective
    terms = {str(term["use"]): dict(term) for term in objective}
    return terms if len(terms) == len(objective) else objective
