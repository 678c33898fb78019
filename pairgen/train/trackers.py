"""Where a run's numbers go besides its JSON lines: TensorBoard, Weights & Biases, trackio, when asked.

Each is a package of its own, imported only when named; a missing one is an error before the first step.
"""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from pairgen.errors import UsageError


class Tracker(Protocol):
    """Takes numbers by step."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record numbers of a step."""

    def close(self) -> None:
        """Hand over what is buffered."""


class TensorBoard:
    """Event files in `out/tensorboard`."""

    def __init__(self, out: Path) -> None:
        _need("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / "tensorboard"))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record numbers of a step."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Hand over what is buffered."""
        self._writer.close()


class Run:
    """A run of a package with wandb's interface (init, log, finish)."""

    def __init__(self, package: str, out: Path, config: Mapping[str, Any], **options: Any) -> None:
        self._package: Any = _need(package, package)
        project = os.environ.get(f"{package.upper()}_PROJECT", "pairgen")
        self._package.init(project=project, name=out.name, config=dict(config), **options)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record numbers of a step."""
        self._package.log(dict(numbers), step=step)

    def close(self) -> None:
        """Hand over what is buffered."""
        self._package.finish()


def open_trackers(names: Sequence[str], out: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """The trackers named. Raises UsageError when a package is missing."""
    return [_open(name, out, config) for name in names]


def _open(name: str, out: Path, config: Mapping[str, Any]) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(out)
    return Run(name, out, config, **({"dir": str(out)} if name == "wandb" else {}))


def _need(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"report_to: {package} is not installed (pip install {package})") from error
