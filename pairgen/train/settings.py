"""From a preset, a file and overrides to one TrainConfig: later ones win, and none is read loosely."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairgen.errors import UsageError, nearest
from pairgen.pipeline.config import Tree, assign, parse_as, parse_set, read_yaml
from pairgen.train.config import PRESETS, TrainConfig
from pairgen.train.objectives import OBJECTIVES
from pairgen.train.presets import Preset, preset

FILE = "a training config is a mapping of TrainConfig's fields, such as learning_rate"


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
        tree = _over(tree, read_yaml(file, FILE))
    if objective is not None:
        if objective not in PRESETS and objective not in OBJECTIVES:
            raise UsageError(f"--objective: no objective {objective!r}: {nearest(objective, {*PRESETS, *OBJECTIVES})}")
        tree["objective"] = objective
    given = {str(key) for key in tree}
    tree = _edited(tree, sets, given)
    if "learning_rate" not in tree:
        raise UsageError("learning_rate has no default, since a good one differs by hundreds between objectives: "
                         "give --set learning_rate=5e-7 (say), or a --preset")
    config = parse_as(TrainConfig, tree, "train")
    return Settings(config, chosen, tuple(f for f in chosen.not_stated if f not in given) if chosen else ())


def _edited(tree: Tree, sets: Sequence[str], given: set[str]) -> Tree:
    """The tree with the overrides made; what they touch is added to `given`."""
    edits = [parse_set(item) for item in sets]
    tree = {"lora": None, "moving_reference": None, "kind_weights": {}, **tree}
    terms = tree["objective"] = _by_loss(tree.get("objective", "sft"))
    for edit in edits:
        head = edit.key.split(".")[0]
        if head not in TrainConfig.model_fields:
            raise UsageError(f"{edit.where}: unknown key; {nearest(head, TrainConfig.model_fields)}")
        tree = _over(tree, {head: tree.get(head)})
        assign(tree, edit)
        given.add(edit.key)
        given.add(head)
    if tree["objective"] is terms and isinstance(terms, dict):
        tree["objective"] = list(terms.values())
    return tree


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
