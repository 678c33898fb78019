"""The numbers of a run as they come: `log.jsonl`, `heldout.jsonl`, and the trackers asked for.

After a crash the lines of steps that are taken again are cut, so each step stands once in the files.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pairgen.fs import append_line, write_atomic
from pairgen.train.config import TrainConfig
from pairgen.train.metrics import StepLog
from pairgen.train.trackers import open_trackers


class Notes:
    """Writes what happened at each step. `silent` for processes that are not the first."""

    def __init__(self, config: TrainConfig, out: Path, done: int, silent: bool = False) -> None:
        self._out, self._every, self._silent = out, config.log_every, silent
        self._trackers = [] if silent else open_trackers(config.report_to, out, config.model_dump(mode="json"))
        if not silent:
            _cut(out / "log.jsonl", done)
            _cut(out / "heldout.jsonl", done if done else -1)

    def __enter__(self) -> "Notes":
        return self

    def __exit__(self, *error: object) -> None:
        for tracker in self._trackers:
            tracker.close()

    def step(self, log: StepLog) -> None:
        """A step taken; every `log_every`-th is written, and the last."""
        if not self._silent and (log.step == log.steps or log.step % self._every == 0):
            append_line(self._out / "log.jsonl", json.dumps(asdict(log)).encode())
            self._track(log.step, "train", asdict(log))

    def heldout(self, step: int, numbers: Mapping[str, float]) -> None:
        """The held-out numbers after a step."""
        if not self._silent:
            append_line(self._out / "heldout.jsonl", json.dumps({"step": step, **numbers}).encode())
            self._track(step, "heldout", numbers)

    def _track(self, step: int, of: str, numbers: Mapping[str, Any]) -> None:
        values = {f"{of}/{name}": float(v) for name, v in numbers.items() if v is not None and name != "step"}
        for tracker in self._trackers:
            tracker.log(step, values)


def last_log(out: Path) -> StepLog:
    """The last line of `log.jsonl`."""
    return StepLog(**json.loads((out / "log.jsonl").read_bytes().splitlines()[-1]))


def _cut(path: Path, step: int) -> None:
    """Keep the lines of the steps that are kept: those after the restored one are taken again."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
        write_atomic(path, b"".join(whole))
