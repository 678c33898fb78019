"""An experiment small enough for a test: a scripted model that answers, and the shipped seed that trains.

`tree` is its pipeline; `write` puts it into a folder with its instructions; `run` runs it in this
process, `pairgen` runs the command in this process and `launch` in one of its own.
"""

import asyncio
import copy
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairgen.cli import main
from pairgen.loop.config import experiment_tree, parse_experiment
from pairgen.loop.run import Outcome
from pairgen.loop.session import Session
from pairgen.pipeline.progress import Event

REPOSITORY = Path(__file__).resolve().parent.parent
PAIRGEN = [sys.executable, "-m", "pairgen"]
TAGS = "Category: Extraction\nComplexity: 2\nLength: (a)"
REPLIES: list[dict[str, Any]] = [
    {"match": "^tag\n", "reply": TAGS},
    {"match": r"^similar\n(?P<digits>\d+)", "reply": "{{digits}}: third\n=7"},
    {"match": "^judge\n", "reply": ["=1 (A) [[A]]", "=7 (B) [[B]]", "=1 (A) [[A]]", "=7 [[B]]", "who knows"]},
]


def tree(iters: int = 2, **policy: Any) -> dict[str, Any]:
    """The self-taught loop on the embedded world's prompts, two training steps an iteration."""
    judge = {"use": "judge", "engine": "policy", "prompt": "world/judge.md", "n": 4,
             "sampling": {"temperature": 1.0, "max_tokens": 24}}
    heldout = {"id": "heldout", "use": "heldout", "source": "heldout-pairs", "prompt": "world/judge.md"}
    return {
        "name": "small", "seed": 3,
        "engines": {"policy": {
            "use": "scripted", "model": "builtin:world/seed-a", "replies": copy.deepcopy(REPLIES),
            "default": "=1", **policy,
        }},
        "data": {"path": None},
        "stages": [
            {"id": "tagged", "use": "tag", "engine": "policy", "prompt": "world/tag.md"},
            {"id": "answered", "use": "respond", "engine": "policy", "prompt": "world/answer.md",
             "sampling": {"temperature": 0.7, "max_tokens": 8}},
            {"id": "pairs", "use": "pair", "engine": "policy", "prompt": "world/similar.md",
             "sampling": {"temperature": 0.8, "max_tokens": 24}},
            {"id": "training-pairs", "use": "split", "part": "train", "share": 0.3},
            {"id": "heldout-pairs", "use": "split", "part": "heldout", "share": 0.3, "source": "pairs"},
        ],
        "loop": {
            "iters": iters,
            "stages": [
                {"id": "judged", "source": "training-pairs", **judge},
                {"id": "kept", "use": "filter"},
                {"id": "sft", "use": "export-sft", "prompt": "world/judge.md"},
                {"id": "dpo", "use": "export-dpo", "source": "kept", "prompt": "world/judge.md"},
            ],
            "train_on": ["sft"],
            "train": {"objective": "sft", "learning_rate": 1e-3, "batch_size": 8, "max_steps": 2},
            "evals": [heldout],
        },
    }


def instructions(n: int, first: int = 0) -> list[dict[str, str]]:
    """Instructions of the world, all different."""
    return [{"text": f"{1234 + 7 * i}: largest"} for i in range(first, first + n)]


def write(folder: Path, config: dict[str, Any] | None = None, rows: int = 20) -> Path:
    """The pipeline file in a folder of its own, its instructions beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "instructions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in instructions(rows)))
    config = config or tree()
    if config["data"]["path"] is None:
        config["data"] = {**config["data"], "path": str(data)}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass(frozen=True)
class Ran:
    """A run in this process: what it came to, and the last event of each step."""

    outcome: Outcome
    events: dict[str, Event]

    @property
    def asked(self) -> int:
        """Requests that were sent."""
        return sum(event.usage.requests for event in self.events.values())

    @property
    def states(self) -> set[str]:
        """How the steps ended."""
        return {event.state for event in self.events.values()}


def run(pipeline: Path | str, folder: Path, *sets: str, iters: int | None = None) -> Ran:
    """Run an experiment in this process."""
    config = experiment_tree(str(pipeline), sets, iters)
    events: dict[str, Event] = {}
    with Session(folder, parse_experiment(config), config=yaml.safe_dump(config), command="test") as session:
        session.listen(lambda event: events.update({event.step: event}))
        outcome = asyncio.run(session.run(lambda record: None))
        session.write_report(outcome)
    return Ran(outcome, events)


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr. Fails when there is another number of lines, or a traceback."""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.strip()


def pairgen(capfd: pytest.CaptureFixture[str], *args: Any) -> Said:
    """The command, in this process."""
    before = sys.argv
    sys.argv = ["pairgen", *map(str, args)]
    capfd.readouterr()
    try:
        main()
        code: Any = 0
    except SystemExit as left:
        code = left.code or 0
    finally:
        sys.argv = before
    said = capfd.readouterr()
    return Said(code, said.out, said.err)


def launch(*args: Any, **env: str) -> "subprocess.Popen[str]":
    """The command in a process of its own, in a group of its own."""
    return subprocess.Popen(
        [*PAIRGEN, *map(str, args)], env={**os.environ, "OMP_NUM_THREADS": "1", **env}, cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )


def contents(run_folder: Path) -> dict[str, str]:
    """Every file of every sealed step: its digest, manifests without their log and log-dependent checksum."""
    found = {}
    for path in sorted(run_folder.glob("*@*/**/*")):
        if path.is_dir() or path.name == "log.jsonl":
            continue
        data = path.read_bytes()
        if path.name == "manifest.json":
            body = json.loads(data)
            data = json.dumps({k: v for k, v in body.items() if k not in {"log", "sha256"}}).encode()
        found[str(path.relative_to(run_folder))] = hashlib.sha256(data).hexdigest()
    return found


def steps(run_folder: Path, name: str) -> list[Path]:
    """The folders of the steps of that name."""
    return sorted(run_folder.glob(f"{name}@*"))


