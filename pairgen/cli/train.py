"""`pairgen train`: one training, from data to a checkpoint; or, with `--dry-run`, what it would be."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from pairgen.cli.advice import print_advice
from pairgen.cli.job import Job, Own, Rows, counted
from pairgen.cli.options import AsJson, columns_of, model_at
from pairgen.cli.training import advice, work

DATA = "A pairgen run, step or shard, a JSONL, JSON, CSV, Parquet or Arrow file, a saved dataset, a hub name."
SET = "Override one value: learning_rate=5e-7, objective.dpo.beta=0.2, lora.r=16."
SAMPLES = "The model's own answers per prompt, for --advise and for apo-auto on rows without scores."
STAGES = "Stepwise DPO: train on so many parts of the rows in turn, each against the model before."
COLUMNS = "Which column plays a part: prompt=question,chosen=better."


def train(
    data: Annotated[list[str], typer.Option("--data", help=DATA)],
    model: Annotated[str, typer.Option("--model", help="A folder, builtin:NAME, or a hub name: where to start.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the checkpoint, log and state.")] = None,
    objective: Annotated[str | None, typer.Option("--objective", help="A loss or a sum of losses by name.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="A published recipe: clair-paper, zephyr-dpo.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET)] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file of training options.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Compare with this model.")] = None,
    stages: Annotated[int, typer.Option("--stages", min=1, help=STAGES)] = 1,
    heldout: Annotated[str | None, typer.Option("--heldout", help="Data measured along the way.")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a saved or hub dataset.")] = "train",
    heldout_split: Annotated[str | None, typer.Option("--heldout-split", help="The same for --heldout.")] = None,
    columns: Annotated[str | None, typer.Option("--columns", help=COLUMNS)] = None,
    max_failed: Annotated[float, typer.Option("--max-failed", min=0, max=1, help="Share of rows that may drop.")] = 0.5,
    advise: Annotated[bool, typer.Option("--advise", help="Measure which objective suits the data, and stop.")] = False,
    samples: Annotated[int, typer.Option("--samples", min=2, help=SAMPLES)] = 4,
    engine: Annotated[str, typer.Option("--engine", help="What samples: auto, vllm, transformers.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    json_: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Train a model on data. The same command goes on after a stop. Later options win: preset, config, set."""
    from pairgen.errors import UsageError
    from pairgen.train.read import open_data
    from pairgen.train.settings import settings

    if advise:  # asked before a learning rate is chosen, and mostly before an objective is
        objective, set_ = objective or (None if preset or config else "dpo"), ["learning_rate=1e-6", *(set_ or ())]
    chosen, parts = settings(preset, config, objective, set_ or ()), columns_of(columns)
    if out is None and not dry_run:
        what = "the model's own answers" if advise else "the checkpoint"
        raise UsageError(f"--out: in which folder should {what} be kept? (or --dry-run)")
    sets = [open_data(path, split=split, columns=parts) for path in data]
    held = open_data(heldout, split=heldout_split or split, columns=parts) if heldout else None
    init, judge = model_at(model), model_at(reference) if reference else None
    if judge and stages > 1:
        raise UsageError("--stages compares each stage with the model before it: give no --reference")
    if judge:
        _check_same_tokens(init, judge)
    job = Job(chosen, Rows(sets), held, init, judge, out, Own(samples, engine), stages)
    if dry_run:
        _dry_run(job, as_json=json_)
    elif advise:
        print_advice(advice(job, quiet=quiet or json_), as_json=json_)
    elif record := work(job, quiet=quiet or json_):
        _print_result(job.out, record, as_json=json_)
        _complain(job.out, record, max_failed)


def _check_same_tokens(init: Path, reference: Path) -> None:
    """Log-probs of one model's tokens under another mean nothing unless they are the same tokens."""
    from transformers import AutoTokenizer

    from pairgen.errors import UsageError

    ours, other = (AutoTokenizer.from_pretrained(folder).get_vocab() for folder in (init, reference))
    if ours != other:
        raise UsageError(f"--reference {reference}: its tokenizer has other tokens than that of {init}; "
                         "compare with a model of the same family")


# --- what is printed ----------------------------------------------------------------------------------

TABLE = (
    "loss", "nll", "rewards_chosen", "rewards_rejected", "margin", "accuracy", "chosen_down", "saturated", "kl",
    "zero_share", "grad_norm", "lr",
)
NOISE = 1e-5
"""What is smaller, where policy and reference are one, is rounding; a learning rate is never printed as such."""


def _print_result(out: Path, record: dict[str, Any], *, as_json: bool) -> None:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_bytes().splitlines()]
    first, last = lines[0], lines[-1]
    if as_json:
        told = {name: record[name] for name in ("steps", "tokens", "seconds", "rows", "drops")}
        held, best = out / "heldout.jsonl", out / "best" / "best.json"
        told["heldout"] = json.loads(held.read_bytes().splitlines()[-1]) if held.is_file() else None
        told["best"] = json.loads(best.read_bytes()) if best.is_file() else None
        print(json.dumps({"out": str(out), **told, "first": first, "last": last}))
        return
    _print_table("", [first, last] if len(lines) > 1 else [last])
    held = out / "heldout.jsonl"
    if held.is_file() and (seen := [json.loads(line) for line in held.read_bytes().splitlines()]):
        _print_table("held out", [seen[0], seen[-1]])
    best = out / "best" / "best.json"
    if best.is_file():
        found = json.loads(best.read_bytes())
        print(f"best: step {found['step']}, {found['metric']} {found['value']:.4g}: {best.parent}")
    if drops := record["drops"]:
        print(f"left out: {', '.join(f'{reason} {count:,}' for reason, count in drops.items())} (see drops.jsonl)")
    print(f"checkpoint: {out}")


def _print_table(title: str, shown: list[dict[str, Any]]) -> None:
    """First and last numbers, a column each."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for head in (title, *(f"step {line['step']}" for line in shown)):
        table.add_column(head, justify="right" if head.startswith("step") else "left")
    for name in TABLE:
        if shown[-1].get(name) is not None:
            table.add_row(name.replace("_", " "), *(_number(name, line.get(name)) for line in shown))
    Console(highlight=False).print(table)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return "0" if abs(value) < NOISE and name != "lr" else f"{value:.4g}"


def _complain(out: Path, record: dict[str, Any], limit: float) -> None:
    from pairgen.errors import FailedRows

    if record["failed"] > limit * record["read"]:
        raise FailedRows(f"complete, but {record['failed']:,} of {record['read']:,} rows were left out (limit "
                         f"{limit:.0%}): see {out / 'drops.jsonl'}")


def _as_if_scored(row: Any) -> Any:
    """A row of apo-auto, which training would score by likelihood: here nothing is asked."""
    from dataclasses import replace

    from pairgen.records import Preference

    if not isinstance(row, Preference) or None not in (row.chosen_score, row.policy_score):
        return row
    return replace(row, chosen_score=0.0, rejected_score=0.0, policy_score=0.0)


def _dry_run(job: Job, *, as_json: bool) -> None:
    from pairgen.cli.preview import print_preview
    from pairgen.cli.terminal import only_ours
    from pairgen.train.preview import preview

    rows = map(_as_if_scored, job.rows) if job.chooses else job.rows
    with only_ours(Path(os.devnull)):
        found = preview(job.chosen.config, rows, job.init, job.reference)
    drops = Counter(found.drops) + Counter(counted(job.rows.drops))
    if as_json:
        print(json.dumps({"said": job.said(), **found.to_json(), "drops": drops}))
        return
    print_preview(job.said(), found, drops, job.chosen.config)
