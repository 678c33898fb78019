"""Checkpoints in Hugging Face format: written whole or not at all, the newest few and the best kept.

A folder is the initial model's own files with new weights in its dtype, safetensors only; a trained
adapter lies merged in the weights and by itself in `adapter/`. Writing one leaves the policy as it was.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairgen.errors import UsageError
from pairgen.fs import adopt, make_dirs, remove, write_atomic
from pairgen.train.config import TrainConfig
from pairgen.train.model import Policy
from pairgen.train.ranks import ALONE, Ranks
from pairgen.train.reward import reward_files
from pairgen.train.sharding import on_first

LOWER_IS_BETTER = {"loss", "nll"}


def export(policy: Policy, init: Path, out: Path, ranks: Ranks = ALONE) -> None:
    """Write the policy to `out` beside what is there. Weights are written aside and moved in whole.

    All ranks put the weights together, and the first writes them.
    """
    weights, adapter = _weights_of(policy, ranks), _adapter_of(policy, ranks)
    if ranks.first:
        _write(policy, weights, adapter, init, out)


def _write(policy: Policy, weights: dict[str, Tensor], adapter: dict[str, Tensor], init: Path, out: Path) -> None:
    aside = out / ".save.tmp"
    remove(aside)
    make_dirs(aside)
    if policy.adapters is not None:
        policy.adapters.save_pretrained(aside / "adapter", state_dict=adapter)
    policy.model.save_pretrained(aside, state_dict=weights)
    made = [p for p in aside.iterdir() if p.name.startswith("model") or p.name == "adapter"]
    for path in made:
        adopt(path, out / path.name)
    remove(aside)
    kept = (p for p in init.iterdir() if p.is_file() and p.suffix in {".json", ".jinja", ".model", ".txt"})
    own = reward_files(policy.model, init) if policy.is_reward else {}
    for path in kept:
        if path.name != "manifest.json" and not path.name.endswith(".index.json"):
            write_atomic(out / path.name, own.get(path.name) or path.read_bytes())


@torch.no_grad()
def _weights_of(policy: Policy, ranks: Ranks) -> dict[str, Tensor]:
    """Every weight under the plain model's name, adapters added in, in the dtype of the initial model.

    They are there on the first rank alone, one at a time on the others.
    """
    merged: dict[str, Tensor] = {}
    shared: dict[int, Tensor] = {}  # tied weights stay one tensor, so that they are written once
    for name, tensor in policy.model.state_dict(keep_vars=True).items():
        plain = name.replace(".base_layer.", ".")
        if ".lora_" in name or ".original_module." in name:
            continue
        plain = plain.replace(".modules_to_save.default.", ".")  # a head trained whole beside adapters
        module: Any = policy.model.get_submodule(name.rpartition(".base_layer.")[0]) if ".base_layer." in name else None
        adapted = module is not None and plain.endswith("weight")
        sum_ = tensor + module.get_delta_weight("default") if adapted else tensor
        if id(tensor) not in shared:
            shared[id(tensor)] = on_first(sum_.detach().to(policy.dtype), ranks).contiguous()
        merged[plain] = shared[id(tensor)]
    return merged


@torch.no_grad()
def _adapter_of(policy: Policy, ranks: Ranks) -> dict[str, Tensor]:
    """The trained weights of the adapters under peft's names; none without adapters."""
    if policy.adapters is None:
        return {}
    return {name: on_first(p.detach(), ranks) for name, p in policy.adapters.state_dict(keep_vars=True).items()
            if p.requires_grad}


class Keeper:
    """The checkpoints kept during a training: `checkpoint-<step>/`, the newest few, and `best/`."""

    def __init__(self, config: TrainConfig, init: Path, out: Path, ranks: Ranks = ALONE) -> None:
        self.config, self.init, self.out, self.ranks = config, init, out, ranks

    def clear(self) -> None:
        """Remove what another training left: one that starts anew keeps nothing of it."""
        for path in [*self.out.glob("checkpoint-*"), self.out / "best", self.out / "adapter"]:
            remove(path)

    def keep(self, policy: Policy, step: int) -> Path:
        """Write `checkpoint-<step>`."""
        folder = self.out / f"checkpoint-{step}"
        self._write(policy, folder)
        if self.ranks.first:
            self._drop_old()
        return folder

    def _drop_old(self) -> None:
        found = [p for p in self.out.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
        for old in sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))[: -self.config.keep_last]:
            remove(old)

    def best(self, policy: Policy, step: int, numbers: dict[str, float]) -> None:
        """Keep this step's weights as `best/` if the watched held-out number has never been better.

        Raises UsageError when the objective measures no such number.
        """
        name = self.config.keep_best
        if name is None:
            return
        if name not in numbers:
            raise UsageError(f"keep_best: held-out rows of this objective have no {name!r}; "
                             f"have: {', '.join(sorted(numbers))}")
        record = self.out / "best" / "best.json"
        if not self.ranks.told(lambda: _is_better(record, step, name, numbers[name])):
            return
        self._write(policy, self.out / "best")
        if self.ranks.first:
            write_atomic(record, json.dumps({"step": step, "metric": name, "value": numbers[name]}).encode())

    def _write(self, policy: Policy, folder: Path) -> None:
        """A whole folder or none: written beside, then moved."""
        aside = folder.with_name(f".{folder.name}.tmp")
        if self.ranks.first:
            remove(aside)
            make_dirs(aside)
        export(policy, self.init, aside, self.ranks)
        if self.ranks.first:
            adopt(aside, folder)


def _is_better(record: Path, step: int, name: str, value: float) -> bool:
    """Whether a number beats the best so far. A record of a later step is of a run that was set back."""
    before = json.loads(record.read_bytes()) if record.is_file() else None
    sign = -1 if name in LOWER_IS_BETTER else 1
    return not before or before["step"] > step or sign * before["value"] < sign * value
