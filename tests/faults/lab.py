"""Runs of the real command against the fake provider, and the ways to hurt them.

`Lab` is one experiment: its input, its pipeline file and its server. `launch` starts the command in a
process group of its own; `struck` runs it in a forked copy of this process, which has everything
imported already, so that a sweep over a hundred failpoints takes seconds.
"""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fakellm import FakeLLM

REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "sk-canary-4f1d9b7c2e"
KEY_ENV = "FAKE_LLM_KEY"
CONCURRENCY = 16
REPLY_ID = re.compile(rb'"id": ?"(fake-[0-9a-f]+-\d+)"')
PRELOAD = (
    "pairgen.cli.run", "pairgen.loop.session", "pairgen.engines.openai", "pairgen.stages.judge",
    "pairgen.stages.pair", "pairgen.stages.respond", "pairgen.report.run", "openai", "datasets",
)


@dataclass(frozen=True, slots=True)
class Done:
    """How a launch ended."""

    code: int
    out: str


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL of a whole process group: when that process began, and when it ended."""

    began: float
    at: float


@dataclass
class Launch:
    """A command that runs in its own process group, its output in a file."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def wait(self, timeout: float = 60) -> Done:
        """Wait for its end."""
        code = self.process.wait(timeout)
        return Done(code, self.log.read_text(encoding="utf-8", errors="replace"))

    def signal(self, number: int) -> None:
        """Signal the whole group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


@dataclass
class Lab:
    """One experiment under `root`."""

    root: Path
    server: FakeLLM
    rows: list[str] = field(default_factory=lambda: [f"question {i}" for i in range(30)])
    changes: dict[str, Any] = field(default_factory=dict)
    place: Path | None = None
    more: list[str] = field(default_factory=list)
    launched: int = 0

    @property
    def run(self) -> Path:
        """The run folder: `place` where one is given."""
        return self.place or self.root / "run"

    def _write(self) -> list[str]:
        """Write the input and the pipeline file; the command that runs them."""
        self.root.mkdir(parents=True, exist_ok=True)
        data, path = self.root / "rows.jsonl", self.root / "pipeline.yaml"
        data.write_text("".join(json.dumps({"instruction": row}) + "\n" for row in self.rows))
        path.write_text(yaml.safe_dump(self._pipeline(str(data)), sort_keys=False))
        return ["run", str(path), "--run-dir", str(self.run), *self.more]

    def _pipeline(self, data: str) -> dict[str, Any]:
        engine = {"use": "openai", "model": "fake", "base_url": self.server.url, "api_key_env": KEY_ENV,
                  "concurrency": CONCURRENCY, "retry_seconds": 20}
        judge = {"id": "judged", "use": "judge", "engine": "policy", "n": 2, "sampling": {"max_tokens": 100}}
        return {
            "name": "faults", "shard_rows": 16, "max_failed": 0.9, "data": {"path": data},
            "engines": {"policy": {**engine, **self.changes.get("engine", {})}},
            "stages": [
                {"id": "answered", "use": "respond", "engine": "policy", "n": 2},
                {"id": "pairs", "use": "pair", "engine": "policy", "construction": "direct-worse"},
                {**judge, **self.changes.get("judge", {})},
            ],
        }

    @property
    def acknowledged(self) -> Path:
        """The ids of replies that the journal said it had kept, a line each, as it said so."""
        return self.root / "acknowledged"

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PAIRGEN")}
        return {**kept, KEY_ENV: CANARY, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **more}

    def launch(self, **environment: str) -> Launch:
        """Start `pairgen run` and return at once."""
        self.launched += 1
        arguments = self._write()
        log = self.last_log
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pairgen", *arguments], stdout=out, stderr=subprocess.STDOUT,
                env=self._environment(**environment), start_new_session=True, cwd=self.root,
            )
        return Launch(process, log)

    def finish(self) -> Done:
        """Run it to the end; it must be complete."""
        done = self.launch().wait()
        assert done.code == 0, done.out
        return done

    def kill_at(self, billed: int) -> Kill | None:
        """Start it and SIGKILL its group once so many answers are billed; None if it ended before."""
        return self.kill_when(lambda: self.server.billed >= billed)

    def kill_when(self, now: Callable[[], bool]) -> Kill | None:
        """Start it and SIGKILL its group as soon as it is time; None if it ended before."""
        began, child = time.time(), self._fork(None)
        while not now():
            if os.waitpid(child, os.WNOHANG)[0]:
                return None
            time.sleep(0.001)
        os.killpg(child, signal.SIGKILL)
        at = time.time()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Kill(began, at) if code == -signal.SIGKILL else None

    def struck(self, failpoint: str | None) -> Done:
        """Run it to its end in a forked copy of this process, with a failpoint armed."""
        code = os.waitstatus_to_exitcode(os.waitpid(self._fork(failpoint), 0)[1])
        return Done(code, self.last_log.read_text(encoding="utf-8", errors="replace"))

    @property
    def last_log(self) -> Path:
        """The output of the newest launch."""
        return self.root / f"launch-{self.launched}.log"

    def _fork(self, failpoint: str | None) -> int:
        preload()
        arguments = self._write()
        self.launched += 1
        return in_child(self.last_log, lambda: self._main(arguments, failpoint))

    def _main(self, arguments: list[str], failpoint: str | None) -> None:
        from pairgen.cli import main
        from pairgen.failpoints import arm

        os.environ[KEY_ENV] = CANARY
        os.chdir(self.root)
        sys.argv = ["pairgen", *arguments]
        note_what_was_kept(self.acknowledged)
        arm(failpoint)
        main()


def note_what_was_kept(path: Path) -> None:
    """From now on in this process, write down each reply that the journal says it has kept."""
    from pairgen.journal import Journal

    put, out = Journal.put, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def told(journal: Journal, keys: Sequence[bytes], raw: bytes, *more: Any) -> None:
        await put(journal, keys, raw, *more)
        os.write(out, b"".join(found + b"\n" for found in REPLY_ID.findall(raw)))

    Journal.put = told


def preload() -> None:
    """Import what a run needs, once, before forking."""
    for name in PRELOAD:
        importlib.import_module(name)


def in_child(log: Path, work: Callable[[], None]) -> int:
    """The pid of a forked process, leader of a group of its own, whose output goes to a file."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        _leave(work)
    with suppress(OSError):  # both sides set the group, so that it is set whichever comes first
        os.setpgid(child, child)
    return child


def _leave(work: Callable[[], None]) -> None:
    code = 0
    try:
        work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
