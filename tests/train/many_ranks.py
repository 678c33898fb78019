"""What a rank of these tests runs, as `torchrun … many_ranks.py JOBS.json` or forked. Not a test module.

JOBS is a list of trainings: the fields of `Job`. All are run one after another by the same ranks.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tiny_model import demonstrations, preferences

from pairgen import failpoints
from pairgen.errors import PairgenError, Stopped
from pairgen.records import Labelled
from pairgen.train.config import TrainConfig
from pairgen.train.loop import train
from pairgen.train.metrics import StepLog
from pairgen.train.ranks import ALONE, Ranks, join

BOTH = -1
"""Strikes every rank."""


@dataclass
class Job:
    """A training. `rows` names a data set; `strike` is what happens after a step to a rank or BOTH."""

    init: str
    out: str
    rows: str = "pairs"
    options: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    heldout: bool = False
    strike: tuple[str, int, int] | None = None


def rows(name: str) -> list[Any]:
    """A data set by name."""
    if name == "pairs":
        return preferences(45)
    if name == "trees":
        return preferences(45, prompts=15)
    if name == "mixed":
        return [*preferences(30), *demonstrations(15, kind="replay")]
    if name == "one":
        return preferences(1)
    if name == "three":
        return preferences(3)
    if name == "demonstrations":
        return demonstrations(45)
    assert name == "labelled"
    return [Labelled(f"l{i}", p.prompt, p.rejected if i % 3 == 2 else p.chosen, i % 3 != 2, "judgment")
            for i, p in enumerate(preferences(45))]


def run(job: Job, ranks: Ranks = ALONE) -> None:
    """Train."""
    config = TrainConfig.model_validate({"learning_rate": 5e-3, "batch_size": 16, "micro_tokens": 200, **job.options})

    def on_step(log: StepLog) -> None:
        if job.strike and job.strike[2] == log.step and job.strike[1] in (ranks.rank, BOTH):
            strike(job.strike[0])

    train(config, rows(job.rows), Path(job.init), Path(job.out), on_step=on_step, ranks=ranks,
          reference=Path(job.reference) if job.reference else None,
          heldout=preferences(5, seed=9) if job.heldout else None)


def strike(how: str) -> None:
    """Something happens to this rank."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "stop":
        raise Stopped("enough for now")
    elif how == "full":
        failpoints.arm("file.create:1:enospc")


def main(jobs: str) -> int:
    """The exit code: what `pairgen` would end with."""
    torch.set_num_threads(1)
    try:
        with join() as ranks:
            for fields in json.loads(Path(jobs).read_text()):
                run(Job(**fields), ranks)
    except PairgenError as error:
        print(f"rank {os.environ['RANK']}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def rank(number: int, port: int, jobs: str) -> None:
    """A rank without torchrun, for a process that has imported everything: its environment, then `main`."""
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.dup2(os.open(f"{jobs}.{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os._exit(main(jobs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
