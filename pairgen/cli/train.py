"""`pairgen train`: one training, from data to a checkpoint; or, with `--dry-run`, what it would be."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairgen.cli.options import AsJson

if TYPE_CHECKING:
    from pairgen.cli.display import Display
    from pairgen.records import Drop
    from pairgen.train.loop import TrainResult
    from pairgen.train.read import Data
    from pairgen.train.settings import Settings

DATA = "A pairgen run, step or shard, a JSONL, JSON, CSV, Parquet or Arrow file, a saved dataset, a hub name."
SET = "Override one value: learning_rate=5e-7, objective.dpo.beta=0.2, lora.r=16."
COLUMNS = "Which column plays a part: prompt=question,chosen=better."
STOPPED = "stopped: the state of the last step is kept; the same command goes on"
EARLY = "stopped before the first step; the same command starts again"


def train(
    data: Annotated[list[str], typer.Option("--data", help=DATA)],
    model: Annotated[str, typer.Option("--model", help="A folder, builtin:NAME, or a hub name: where to start.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the checkpoint, log and state.")] = None,
    objective: Annotated[str | None, typer.Option("--objective", help="A loss or a sum of losses by name.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="A published recipe: clair-paper, zephyr-dpo.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help=SET)] = [],  # noqa: B006 (typer reads it)
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file of training options.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Compare with this model.")] = None,
    heldout: Annotated[str | None, typer.Option("--heldout", help="Data measured along the way.")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a saved or hub dataset.")] = "train",
    heldout_split: Annotated[str | None, typer.Option("--heldout-split", help="The same for --heldout.")] = None,
    columns: Annotated[str | None, typer.Option("--columns", help=COLUMNS)] = None,
    max_failed: Annotated[float, typer.Option("--max-failed", min=0, max=1, help="Share of rows that may drop.")] = 0.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    json_: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Train a model on data. The same command goes on after a stop. Later options win: preset, config, set."""
    from pairgen.errors import UsageError
    from pairgen.train.read import open_data
    from pairgen.train.settings import settings

    chosen, parts = settings(preset, config, objective, set_), _columns(columns)
    if out is None and not dry_run:
        raise UsageError("--out: in which folder should the checkpoint be? (or --dry-run)")
    sets = [open_data(path, split=split, columns=parts) for path in data]
    held = open_data(heldout, split=heldout_split or split, columns=parts) if heldout else None
    job = Job(chosen, _Counting(sets), held, _folder(model), _folder(reference) if reference else None, out)
    if dry_run:
        _dry_run(job, as_json=json_)
        return
    result = _work(job, quiet=quiet or json_)
    job.record(result)
    _print_result(job, result, as_json=json_)
    _complain(job, result, max_failed)


class _Counting:
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


class Job:
    """What was asked for: how to train, on what, from which weights, to which folder."""

    def __init__(self, chosen: "Settings", rows: _Counting, heldout: "Data | None", init: Path,
                 reference: Path | None, out: Path | None) -> None:
        self.chosen, self.rows, self.heldout = chosen, rows, heldout
        self.init, self.reference, self._out = init, reference, out

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
        if preset := self.chosen.preset:
            values: Any = identity(self.chosen.config)
            left = [f"{field} {values[field]}" if field in values else field for field in self.chosen.left_open]
            lines.append(f"preset: {preset.source}")
            lines += [f"not stated there, so as by default: {', '.join(left)}"] if left else []
            lines += [f"different here: {difference}" for difference in preset.differs]
        return lines

    def drops(self, result: "TrainResult") -> "list[Drop]":
        """Everything that was read and not trained on."""
        return [*self.rows.drops, *result.drops]

    def record(self, result: "TrainResult") -> None:
        """Keep beside the checkpoint what made it, and each drop with its reason."""
        from dataclasses import asdict

        import yaml

        from pairgen import __version__
        from pairgen.fs import write_atomic

        drops = self.drops(result)
        lines = "".join(json.dumps(asdict(drop)) + "\n" for drop in drops)
        body = {
            "command": " ".join(["pairgen", *sys.argv[1:]]), "version": __version__, "said": self.said(),
            "config": self.chosen.config.model_dump(mode="json"), "model": str(self.init),
            "reference": str(self.reference or self.init), "rows": self.rows.count - len(result.drops),
            "drops": _counted(drops), "steps": result.steps, "tokens": result.tokens, "seconds": result.seconds,
            "metrics": result.metrics,
        }
        write_atomic(self.out / "drops.jsonl", lines.encode("utf-8", "surrogatepass"))
        # not .json: those are the model's own files, copied and counted with its weights
        write_atomic(self.out / "train.yaml", yaml.safe_dump(body, sort_keys=False, allow_unicode=True).encode())


def _columns(given: str | None) -> dict[str, str]:
    from pairgen.errors import UsageError

    pairs = [item.partition("=") for item in given.split(",")] if given else []
    for part, equals, column in pairs:
        if not (part and equals and column):
            raise UsageError(f"--columns {given!r}: write it as prompt=question,chosen=better")
    return {part.strip(): column.strip() for part, _, column in pairs}


def _folder(name: str) -> Path:
    """A model's folder. Raises UsageError when there is no model in it."""
    from pairgen.engine import EngineConfig
    from pairgen.errors import UsageError
    from pairgen.models import model_folder

    folder = model_folder(EngineConfig(use="train", model=name))
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: no model here (no config.json)")
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        raise UsageError(f"{folder}: no tokenizer here (no tokenizer.json); put the model's own beside it")
    return folder


def _counted(drops: "Sequence[Drop]") -> dict[str, int]:
    return dict(sorted(Counter(drop.reason for drop in drops).items()))


# --- the training -------------------------------------------------------------------------------------


def _work(job: Job, quiet: bool) -> "TrainResult":
    """Train with the terminal to ourselves."""
    from pairgen.cli.display import display
    from pairgen.cli.terminal import only_ours
    from pairgen.errors import UsageError
    from pairgen.fs import make_dirs

    if job.out.resolve() == job.init.resolve():
        raise UsageError(f"--out {job.out}: is the folder of the model itself; name another")
    if job.out.exists() and not job.out.is_dir():
        raise UsageError(f"--out {job.out}: is a file; name a folder")
    make_dirs(job.out)
    with only_ours(job.out / "output.log") as terminal, display(terminal, ["train"], quiet) as shown, _Stop() as stop:
        if not quiet:
            for line in job.said():
                shown.say(line)
        return _trained(job, shown, stop)


def _trained(job: Job, shown: "Display", stop: "_Stop") -> "TrainResult":
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

    held = job.heldout.rows if job.heldout else None
    result = run(job.chosen.config, job.rows, job.init, job.out, reference=job.reference, heldout=held, on_step=on_step)
    meter.done = meter.total = result.steps
    meter.drops = len(job.drops(result))
    meter.tell(Usage(), "done", f"{result.tokens:,} tokens trained on", force=True)
    return result


def _note(log: Any) -> str:
    """`loss 0.6931  margin 0.02  accuracy 0.55`."""
    named = [("margin", log.margin), ("accuracy", log.accuracy)]
    return "  ".join([f"loss {log.loss:.4f}", *(f"{name} {value:.2f}" for name, value in named if value is not None)])


class _Stop:
    """First Ctrl-C or SIGTERM: finish the step, keep the state, leave. Second, or before any step: leave now."""

    def __init__(self) -> None:
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
        if not self._stepping:
            raise self._error(number, EARLY)
        if self._why is not None:
            os._exit(self._error(number, STOPPED).exit_code)
        self._why = number

    def _error(self, number: int, message: str) -> Any:
        from pairgen.errors import Stopped
        from pairgen.pipeline.run import Interrupted

        return (Interrupted if number == signal.SIGINT else Stopped)(message)


# --- what is printed ----------------------------------------------------------------------------------

TABLE = (
    "loss", "nll", "rewards_chosen", "rewards_rejected", "margin", "accuracy", "saturated", "kl", "grad_norm", "lr",
)


def _print_result(job: Job, result: "TrainResult", *, as_json: bool) -> None:
    lines = [json.loads(line) for line in (job.out / "log.jsonl").read_bytes().splitlines()]
    first, last = lines[0], lines[-1]
    if as_json:
        print(json.dumps({
            "out": str(job.out), "steps": result.steps, "tokens": result.tokens, "seconds": result.seconds,
            "rows": job.rows.count - len(result.drops), "drops": _counted(job.drops(result)),
            "first": first, "last": last,
        }))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    shown = [first, last] if len(lines) > 1 else [last]
    for head in ("", *(f"step {line['step']}" for line in shown)):
        table.add_column(head, justify="right" if head else "left")
    for name in TABLE:
        if last.get(name) is not None:
            values = [line.get(name) for line in shown]
            table.add_row(name.replace("_", " "), *("" if v is None else f"{v:.4g}" for v in values))
    Console(highlight=False).print(table)
    if drops := _counted(job.drops(result)):
        print(f"left out: {', '.join(f'{reason} {count:,}' for reason, count in drops.items())} (see drops.jsonl)")
    print(f"checkpoint: {job.out}")


def _complain(job: Job, result: "TrainResult", limit: float) -> None:
    from pairgen.errors import FailedRows

    failed = sum(drop.failed for drop in job.drops(result))
    read = job.rows.count + len(job.rows.drops)
    if failed > limit * read:
        raise FailedRows(f"complete, but {failed:,} of {read:,} rows were left out (limit {limit:.0%}): "
                         f"see {job.out / 'drops.jsonl'}")


def _dry_run(job: Job, *, as_json: bool) -> None:
    from pairgen.cli.preview import print_preview
    from pairgen.cli.terminal import only_ours
    from pairgen.train.preview import preview

    with only_ours(Path(os.devnull)):
        found = preview(job.chosen.config, job.rows, job.init, job.reference)
    drops = Counter(found.drops) + Counter(_counted(job.rows.drops))
    if as_json:
        print(json.dumps({"said": job.said(), **found.to_json(), "drops": drops}))
        return
    print_preview(job.said(), found, drops, job.chosen.config)
