"""State for resuming: weights, optimizer and counters after a step, so that going on gives the same bits.

`out/resume-<step>/` holds safetensors and one JSON file; COMPLETE is written last and names the
identity of the run. A folder without it, or with another run's, is never chosen and is deleted. No
random state is kept: whatever is random in a step is a function of (seed, step).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from pairgen.fs import make_dirs, remove, write_atomic
from pairgen.train.moving import Follower
from pairgen.train.objectives import RunningMean

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


def store(out: Path, identity: str, progress: Progress, live: Live) -> None:
    """Commit the state after `progress.step` steps, and drop all but the newest states."""
    folder = out / f"resume-{progress.step}"
    remove(folder)
    make_dirs(folder)
    weights = {k: p.detach().contiguous() for k, p in live.trained.items()}
    write_atomic(folder / "model.safetensors", save(weights))
    write_atomic(folder / "optimizer.safetensors", save(_moments(live.trained, live.optimizer)))
    if live.follower:
        write_atomic(folder / "reference.safetensors", save(live.follower.weights))
    write_atomic(folder / "progress.json", json.dumps(asdict(progress)).encode())
    write_atomic(folder / "COMPLETE", identity.encode())
    for old in _folders(out)[:-KEEP]:
        remove(old)


def restore(out: Path, identity: str, live: Live) -> Progress:
    """Load the newest complete state of this very run into model and optimizer; a fresh start without one."""
    for folder in reversed(_folders(out)):
        marker = folder / "COMPLETE"
        if not marker.is_file() or marker.read_text() != identity:
            remove(folder)
            continue
        _load_model(load((folder / "model.safetensors").read_bytes()), live.trained)
        _load_moments(load((folder / "optimizer.safetensors").read_bytes()), live.trained, live.optimizer)
        if live.follower:
            live.follower.weights = {
                name: weight.to(live.trained[name].device)
                for name, weight in load((folder / "reference.safetensors").read_bytes()).items()
            }
        found = json.loads((folder / "progress.json").read_text())
        return Progress(**{**found, "rewards": RunningMean(**found["rewards"])})
    return Progress()


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
    return {f"{name}/{key}": value.contiguous() for name, item in state.items() for key, value in item.items()}


@torch.no_grad()
def _load_model(saved: dict[str, Tensor], trained: dict[str, nn.Parameter]) -> None:
    for name, parameter in trained.items():
        parameter.copy_(saved[name])


def _load_moments(saved: dict[str, Tensor], trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    # the step counter stays where it was saved from: the CPU, unless a fused optimizer keeps it beside the weights
    for key, value in saved.items():
        name, _, moment = key.rpartition("/")
        place = "cpu" if moment == "step" and not optimizer.defaults.get("fused") else trained[name].device
        optimizer.state[trained[name]][moment] = value.to(place)
