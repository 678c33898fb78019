"""A training asked for on the command line: its parts, the terminal while it works, what is kept beside it."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pairgen.cli.display import Display
    from pairgen.records import Drop
    from pairgen.train.advise import Advice
    from pairgen.train.config import Term
    from pairgen.train.example import TrainRow
    from pairgen.train.loop import TrainResult
    from pairgen.train.ranks import Ranks
    from pairgen.train.read import Data
    from pairgen.train.settings import Settings

STOPPED = "stopped: the state of the last step is kept; the same command goes on"
STARTED = ".started"  # what this folder is for, written before the first step
KEPT = ("model*.safetensors", "resume-*", "checkpoint-*", "best", "stage-*")  # what a training leaves
RECORD = "train.yaml"  # not .json: those are the model's own files, copied and counted with its weights
EARLY = "stopped before the first step; the same command starts again"


class Rows:
    """The rows of several data sets in turn, counted."""

    def __init__(self, sets: Sequence["Data"]) -> None:
        self.sets, self.count = sets, 0

    def __iter__(self) -> Iterator[Any]:
        for data in self.sets:
            for row in data.rows:
                self.count += 1
                yield row

    @property
    def drops(self) -> "list[Drop]":
        """Records that were no rows."""
        return [drop for data in self.sets for drop in data.drops]


@dataclass(frozen=True, slots=True)
class Own:
    """How the model's own answers are drawn, where they are needed."""

    samples: int
    engine: str


class Job:
    """What was asked for: how to train, on what, from which weights, to which folder."""

    def __init__(self, chosen: "Settings", rows: Rows, heldout: "Data | None", init: Path,
                 reference: Path | None, out: Path | None, own: Own, stages: int = 1) -> None:
        self.chosen, self.rows, self.heldout, self.own, self.stages = chosen, rows, heldout, own, stages
        self.init, self.reference, self._out = init, reference, out
        self.unscored: list[Drop] = []

    @property
    def out(self) -> Path:
        """The folder of the checkpoint."""
        assert self._out is not None
        return self._out

    def said(self) -> list[str]:
        """What was recognised and chosen, a line each."""
        from pairgen.fingerprint import identity

        lines = [f"{data.path}: {data.format}" for data in self.rows.sets]
        lines += [f"held out: {self.heldout.path}: {self.heldout.format}"] if self.heldout else []
        lines.append(self._recipe())
        if preset := self.chosen.preset:
            values: Any = identity(self.chosen.config)
            left = [f"{field} {values[field]}" if field in values else field for field in self.chosen.left_open]
            lines.append(f"preset: {preset.source}")
            lines += [f"not stated there, so as by default: {', '.join(left)}"] if left else []
            lines += [f"different here: {difference}" for difference in preset.differs]
        return lines

    def _recipe(self) -> str:
        """The objective and how fast, on one line."""
        config = self.chosen.config
        terms = " + ".join(_term(term) for term in config.objective)
        steps = f", at most {config.max_steps} steps" if config.max_steps else ""
        return (f"objective: {terms}; {config.optimizer} at {config.learning_rate:g}, {config.schedule}, "
                f"{config.batch_size} rows a step, {config.epochs} epochs{steps}")

    def drops(self, result: "TrainResult") -> "list[Drop]":
        """Everything that was read and not trained on."""
        return [*self.rows.drops, *self.unscored, *result.drops]

    @property
    def chooses(self) -> bool:
        """Whether each pair chooses its anchor, for which it must be scored."""
        return any(term.use == "apo-auto" for term in self.chosen.config.objective)

    @cached_property
    def identity(self) -> str:
        """The digest of what the weights depend on."""
        from pairgen.fingerprint import digest

        return digest(self.parts)

    @cached_property
    def parts(self) -> dict[str, Any]:
        """Everything that the weights depend on, as it was when it was first asked for."""
        from pairgen.fingerprint import folder_digest, identity

        held = self.heldout.identity if self.heldout else None
        judge = folder_digest(self.reference) if self.reference else None
        return {
            "config": identity(self.chosen.config), "data": [data.identity for data in self.rows.sets], "held": held,
            "model": folder_digest(self.init), "reference": judge, "own": asdict(self.own) if self.chooses else None,
            "stages": self.stages,
        }

    def done(self) -> dict[str, Any] | None:
        """The record of this very training, if it is finished."""
        import yaml

        path = self.out / RECORD
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found if found and found["identity"] == self.identity and any(self.out.glob("model*")) else None

    def record(self, result: "TrainResult") -> dict[str, Any]:
        """Keep beside the checkpoint what made it, and each drop with its reason."""
        import yaml

        from pairgen import __version__
        from pairgen.fs import write_atomic

        drops = self.drops(result)
        body = {
            "command": " ".join(["pairgen", *sys.argv[1:]]), "version": __version__, "identity": self.identity,
            "said": self.said(), "config": self.chosen.config.model_dump(mode="json"), "model": str(self.init),
            "reference": str(self.reference or self.init), "read": self.rows.count + len(self.rows.drops),
            "rows": self.rows.count - len(self.unscored) - len(result.drops), "drops": counted(drops),
            "failed": sum(drop.failed for drop in drops), "steps": result.steps, "tokens": result.tokens,
            "seconds": result.seconds, "metrics": result.metrics,
        }
        lines = "".join(json.dumps(asdict(drop)) + "\n" for drop in drops)
        write_atomic(self.out / "drops.jsonl", lines.encode("utf-8", "surrogatepass"))
        self._keep_template()
        write_atomic(self.out / RECORD, yaml.safe_dump(body, sort_keys=False, allow_unicode=True).encode())
        return body

    def _keep_template(self) -> None:
        """Give the checkpoints the template they were trained with, so that engines ask them in it."""
        from pairgen.fs import write_atomic
        from pairgen.train.render import named_template

        if self.chosen.config.chat_template is not None:
            text = named_template(self.chosen.config.chat_template)
            for weights in [*self.out.glob("*.safetensors"), *self.out.glob("*/model*.safetensors")]:
                write_atomic(weights.parent / "chat_template.jinja", text.encode())


def _term(term: "Term") -> str:
    """`0.2 bco-pair beta 0.1 delta 0`."""
    numbers = "".join(f" {name} {value:g}" for name, value in term.params.items() if isinstance(value, float))
    return ("" if term.weight == 1 else f"{term.weight:g} ") + term.use + numbers


def counted(drops: "Sequence[Drop]") -> dict[str, int]:
    """How many drops there are for each reason."""
    return dict(sorted(Counter(drop.reason for drop in drops).items()))


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
    from pairgen.fs import lock, make_dirs

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
