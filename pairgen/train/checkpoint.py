"""State for resuming: weights, optimizer and counters after a step, so that going on gives the same bits.

`out/resume-<step>/` holds safetensors and one JSON file; COMPLETE is written last and names the
identity of the run. A folder without it, or with another run's, is never chosen and is deleted. Of
several ranks each keeps its slices in `rank-<r>/`, and the first marks the whole when all are there. No
random state is kept: whatever is random in a step is a function of (seed, step).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pairgen.errors import UsageError
from pairgen.fs import make_dirs, remove, write_atomic
from pairgen.train.moving import Follower
from pairgen.train.objectives import RunningMean
from pairgen.train.ranks import ALONE, Ranks
from pairgen.train.sharding import own, spread

KEEP = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: optimizer steps done, tokens and seconds spent on them, the running mean of rewards."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rewards: RunningMean = field(default_factory=RunningMean)


@dataclass(frozen=True, slots=True)
class Live:
    """What a step changes: weights, optimizer, and a moving reference's weights if there is one."""

    trained: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    follower: Follower | None


def store(out: Path, identity: str, progress: Progress, live: Live, ranks: Ranks = ALONE) -> None:
    """Commit the state after `progress.step` steps, and drop all but the newest states."""
    folder = out / f"resume-{progress.step}"
    ranks.told(lambda: remove(folder))
    _store_slices(_slices(folder, ranks), live)
    ranks.wait()
    if ranks.first:
        write_atomic(folder / "progress.json", json.dumps({**asdict(progress), "ranks": ranks.size}).encode())
        write_atomic(folder / "COMPLETE", identity.encode())
        for old in _folders(out)[:-KEEP]:
            remove(old)


def _store_slices(folder: Path, live: Live) -> None:
    make_dirs(folder)
    weights = {k: own(p.detach()).contiguous() for k, p in live.trained.items()}
    write_atomic(folder / "model.safetensors", save(weights))
    write_atomic(folder / "optimizer.safetensors", save(_moments(live.trained, live.optimizer)))
    if live.follower:
        write_atomic(folder / "reference.safetensors", save(live.follower.weights))


def _slices(folder: Path, ranks: Ranks) -> Path:
    """Where a rank keeps what it holds."""
    return folder if ranks.size == 1 else folder / f"rank-{ranks.rank}"


def restore(out: Path, identity: str, live: Live, ranks: Ranks = ALONE) -> Progress:
    """Load the newest complete state of this very run into model and optimizer; a fresh start without one.

    Raises UsageError when another number of processes kept it: the slices would not fit.
    """
    kept = ranks.told(lambda: _newest(out, identity))
    if kept is None:
        return Progress()
    folder, found = kept
    if (size := found.pop("ranks")) != ranks.size:
        raise UsageError(f"{folder} was kept by a training of {size} processes, this one has {ranks.size}: start "
                         f"{size} again, or delete the folder to start anew")
    _load_slices(_slices(folder, ranks), live)
    return Progress(**{**found, "rewards": RunningMean(**found["rewards"])})


def _newest(out: Path, identity: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest complete state of this run and its progress; what is none is deleted."""
    for folder in reversed(_folders(out)):
        marker = folder / "COMPLETE"
        if marker.is_file() and marker.read_text() == identity:
            return folder, json.loads((folder / "progress.json").read_text())
        remove(folder)
    return None


def _load_slices(folder: Path, live: Live) -> None:
    _load_model(load((folder / "model.safetensors").read_bytes()), live.trained)
    _load_moments(load((folder / "optimizer.safetensors").read_bytes()), live.trained, live.optimizer)
    if live.follower:
        live.follower.weights = {
            name: weight.to(live.trained[name].device)
            for name, weight in load((folder / "reference.safetensors").read_bytes()).items()
        }


def discard(out: Path) -> None:
    """Delete every state: the run is complete."""
    for folder in _folders(out):
        remove(folder)


def _folders(out: Path) -> list[Path]:
    """The state folders, oldest first."""
    found = [p for p in out.glob("resume-*") if p.name.removeprefix("resume-").isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("resume-")))


def _moments(trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {name: optimizer.state[p] for name, p in trained.items() if p in optimizer.state}
    return {f"{name}/{key}": own(value).contiguous() for name, item in state.items() for key, value in item.items()}


@torch.no_grad()
def _load_model(saved: dict[str, Tensor], trained: dict[str, nn.Parameter]) -> None:
    for name, parameter in trained.items():
        own(parameter).copy_(saved[name])


def _load_moments(saved: dict[str, Tensor], trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    # the step counter stays where it was saved from: the CPU, unless a fused optimizer keeps it beside the weights
    for key, value in saved.items():
        name, _, moment = key.rpartition("/")
        if moment == "step":
            value = value.to(trained[name].device if optimizer.defaults.get("fused") else "cpu")
        else:
            value = spread(value, trained[name])
        optimizer.state[trained[name]][moment] = value
