"""The live engines of a run: opened at first use, kept alive, and given new weights in place."""

from collections.abc import Mapping
from pathlib import Path

from pairgen.engine import Engine, EngineConfig
from pairgen.models import model_folder
from pairgen.pipeline.plan import model_digest


class EnginePool:
    """Live engines by role; roles with the same config share one. `folder` is the run's."""

    def __init__(self, configs: Mapping[str, EngineConfig], folder: Path | None = None) -> None:
        self._configs, self._folder = configs, folder
        self._live: dict[str, Engine] = {}
        self._loaded: dict[str, str | None] = {}

    def role(self, name: str) -> str:
        """The first role with the same config: the one whose engine is shared."""
        return next(role for role, config in self._configs.items() if config == self._configs[name])

    def opening(self, name: str) -> str:
        """What to say while a role is opened; nothing when it is open."""
        config = self._configs[name]
        return "" if self.role(name) in self._live else f"starting {config.use} with {config.model}"

    def open(self, name: str) -> None:
        """Open a role, unless it is open. Blocks while weights are fetched and loaded."""
        role = self.role(name)
        if role not in self._live:
            config = self._configs[role]
            self._live[role] = config.open() if self._folder is None else config.open_in(self._folder)
            self._loaded[role] = None

    async def get(self, name: str, weights: tuple[Path, str] | None = None) -> Engine:
        """The engine of a role, holding `weights` (folder and digest) or its own model's."""
        self.open(name)
        role, wanted = self.role(name), weights[1] if weights else None
        engine = self._live[role]
        if self._loaded[role] != wanted:
            await engine.load_weights(*(weights or self._own(role)))
            self._loaded[role] = wanted
        return engine

    def _own(self, role: str) -> tuple[Path, str]:
        folder = model_folder(self._configs[role])
        return folder, model_digest(folder)

    async def sleep(self) -> None:
        """Let every live engine give its accelerator memory back."""
        for engine in self._live.values():
            await engine.sleep()

    async def wake(self) -> None:
        """Make every live engine ready again."""
        for engine in self._live.values():
            await engine.wake()

    async def close(self) -> None:
        """Close what was opened."""
        live, self._live = self._live, {}
        for engine in live.values():
            await engine.close()
