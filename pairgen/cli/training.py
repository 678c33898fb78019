"""A sitting at a training: its folder claimed, the terminal ours while it works, a stop that keeps the state."""

import json
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from pairgen.cli.job import Job

if TYPE_CHECKING:
    from pairgen.cli.display import Display
    from pairgen.records import Drop
    from pairgen.train.advise import Advice
    from pairgen.train.example import TrainRow
    from pairgen.train.loop import TrainResult
    from pairgen.train.ranks import Ranks

STOPPED = "stopped: the state of the last step is kept; the same command goes on"
STARTED = ".started"  # what this folder is for, written before the first step
KEPT = ("model*.safetensors", "resume-*", "checkpoint-*", "best", "stage-*")  # what a training leaves
EARLY = "stopped before the first step; the same command starts again"


def work(job: Job, quiet: bool) -> dict[str, Any] | None:
    """Train with the terminal to ourselves, unless that is done; the record of it, on the first rank."""
    from pairgen.train.ranks import join

    with join() as ranks:
        _check_out(job)
        with _sitting(job, ranks, quiet) as (shown, stop):
            if found := ranks.told(job.done):
                if ranks.first and not quiet:
                    shown.say(f"{job.out}: done already, nothing to do (another --out, or delete it, to train again)")
                return found if ranks.first else None
            ranks.told(lambda: _claim(job))
            for line in job.said() if ranks.first and not quiet else ():
                shown.say(line)
            result = _trained(job, shown, stop, ranks)
            return job.record(result) if ranks.first else None


def advice(job: Job, quiet: bool) -> "Advice":
    """Ask which objective suits the data."""
    from pairgen.train.advise import advise
    from pairgen.train.ranks import ALONE

    _check_out(job)
    with _sitting(job, ALONE, quiet) as (shown, _):
        for line in () if quiet else job.said():
            shown.say(line)
        return advise(job.rows, job.init, job.out, reference=job.reference, samples=job.own.samples,
                      config=job.chosen.config, engine=job.own.engine)


def _check_out(job: Job) -> None:
    from pairgen.errors import UsageError

    if job.out.resolve() == job.init.resolve():
        raise UsageError(f"--out {job.out}: is the folder of the model itself; name another")
    if job.out.exists() and not job.out.is_dir():
        raise UsageError(f"--out {job.out}: is a file; name a folder")


def _claim(job: Job) -> None:
    """Write what the folder is for. Raises UsageError when it holds another training, or somebody's model."""
    from pairgen.errors import UsageError
    from pairgen.fingerprint import diff
    from pairgen.fs import write_atomic

    marker = job.out / STARTED
    before = json.loads(marker.read_bytes()) if marker.is_file() else None
    if before is None and (found := [*job.out.glob("*.safetensors"), *job.out.glob("config.json")]):
        raise UsageError(f"--out {job.out}: holds {found[0].name} that is not of this training; name another folder")
    kept = [path for kind in KEPT for path in job.out.glob(kind)]  # one that failed at the start left nothing
    if before is not None and kept and (changes := diff(before, json.loads(json.dumps(job.parts)))):
        more = f" and {len(changes) - 2} more" if len(changes) > 2 else ""
        raise UsageError(f"--out {job.out}: holds another training ({'; '.join(changes[:2])}{more}); "
                         "name another folder, or delete it")
    write_atomic(marker, json.dumps(job.parts).encode())


@contextmanager
def _sitting(job: Job, ranks: "Ranks", quiet: bool) -> "Iterator[tuple[Display, _Stop]]":
    """The folder locked and the terminal ours, as long as we work; one process of several does both."""
    from pairgen.cli.display import display
    from pairgen.cli.terminal import only_ours
    from pairgen.fs import make_dirs
    from pairgen.locks import lock

    make_dirs(job.out)
    with (
        lock(job.out / "lock") if ranks.first else nullcontext(), only_ours(job.out / "output.log") as terminal,
        display(terminal, ["train"], quiet or not ranks.first) as shown, _Stop(shown, terminal, ranks) as stop,
    ):
        yield shown, stop


def _trained(job: Job, shown: "Display", stop: "_Stop", ranks: "Ranks") -> "TrainResult":
    from pairgen.pipeline.progress import Meter
    from pairgen.store import Usage
    from pairgen.train.loop import train as run

    meter = Meter("train", None, shown)
    meter.tell(Usage(), note="reading rows and weights", force=True)

    def on_step(log: Any) -> None:
        if meter.total is None:
            meter.ready()
        meter.done, meter.total = log.step, log.steps
        meter.tell(Usage(), note=_note(log))
        stop.check()

    rows: Any = job.rows
    held: Any = job.heldout.rows if job.heldout else None
    if job.chooses:
        rows, job.unscored = _scored(job, rows, shown, ranks)
        held = None if held is None else _scored(job, held, shown, ranks)[0]
    if job.stages > 1:
        result = _staged(job, rows, held, on_step, ranks, shown)
    else:
        result = run(job.chosen.config, rows, job.init, job.out, reference=job.reference, heldout=held,
                     on_step=on_step, ranks=ranks, say=shown.note)
    meter.done = meter.total = result.steps
    meter.drops = len(job.drops(result))
    meter.tell(Usage(), "done", f"{result.tokens:,} tokens trained on", force=True)
    return result


def _staged(job: Job, rows: Any, held: Any, on_step: Any, ranks: "Ranks", shown: "Display") -> "TrainResult":
    """All stages as one result: the last one's numbers, everyone's steps and drops."""
    from dataclasses import replace

    from pairgen.train.staged import train_staged

    found = train_staged(job.chosen.config, rows, job.init, job.out, job.stages, heldout=held, on_step=on_step,
                         ranks=ranks, say=shown.note)
    return replace(found[-1], steps=sum(r.steps for r in found), tokens=sum(r.tokens for r in found),
                   seconds=sum(r.seconds for r in found), drops=[drop for r in found for drop in r.drops])


def _scored(
    job: Job, rows: "Iterable[TrainRow]", shown: "Display", ranks: "Ranks"
) -> "tuple[list[TrainRow], list[Drop]]":
    """The rows with the scores that apo-auto chooses by, made where they have none; and those without any."""
    from pairgen.train.advise import with_scores

    found = ranks.told(lambda: with_scores(job.chosen.config, rows, job.init, job.out, reference=job.reference,
                                           samples=job.own.samples, engine=job.own.engine))
    shown.note(found.said)
    return found.rows, found.drops


def _note(log: Any) -> str:
    """`loss 0.6931  margin 0.02  accuracy 0.55`."""
    named = [("margin", log.margin), ("accuracy", log.accuracy)]
    return "  ".join([f"loss {log.loss:.4f}", *(f"{name} {value:.2f}" for name, value in named if value is not None)])


class _Stop:
    """First Ctrl-C or SIGTERM: finish the step, keep the state, leave. Second, or before any step: leave now."""

    def __init__(self, shown: "Display", terminal: TextIO, ranks: "Ranks") -> None:
        self._shown, self._terminal, self._ranks = shown, terminal, ranks
        self._before: dict[int, Any] = {}
        self._why: int | None = None
        self._stepping = False

    def __enter__(self) -> "_Stop":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Called after each step; raises when a stop was asked for."""
        self._stepping = True
        if self._why is not None:
            raise self._error(self._why, STOPPED)

    def _handle(self, number: int, frame: object) -> None:
        if not self._stepping:  # an exception here could end in the middle of an import, as another one
            self._shown.stop()
            if self._ranks.first:
                print(f"pairgen: {EARLY}", file=self._terminal, flush=True)
            os._exit(self._error(number, EARLY).exit_code)
        if self._why is not None and self._ranks.size == 1:  # torchrun passes a Ctrl-C on that all have heard
            os._exit(self._error(number, STOPPED).exit_code)
        self._why = number
        self._shown.stopping()

    def _error(self, number: int, message: str) -> Any:
        from pairgen.errors import Stopped
        from pairgen.pipeline.run import Interrupted

        return (Interrupted if number == signal.SIGINT else Stopped)(message)
