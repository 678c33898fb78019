"""`pairgen score DATA --model RM --out FILE`: what a reward model gives every answer, written beside it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairgen.cli.options import AsJson, columns_of, model_at

if TYPE_CHECKING:
    from pairgen.cli.display import Display
    from pairgen.train.annotator import RewardModel
    from pairgen.train.read import Data
    from pairgen.train.score import Tally

DATA = "A pairgen run, step or shard, a JSONL, JSON, CSV, Parquet or Arrow file, a saved dataset, a hub name."
RM = "A reward model: of pairgen train --objective bt, or any sequence classifier of one label."
COLUMNS = "Which column plays a part: prompt=question,chosen=better."
SAMPLES = "Answers of --policy per prompt; their mean score is written as policy_score."


def score(
    data: Annotated[str, typer.Argument(help=DATA)],
    model: Annotated[str, typer.Option("--model", help=RM)],
    out: Annotated[Path, typer.Option("--out", help="The file to write: .jsonl or .parquet.")],
    split: Annotated[str, typer.Option("--split", help="Split of a saved or hub dataset.")] = "train",
    columns: Annotated[str | None, typer.Option("--columns", help=COLUMNS)] = None,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", min=1, help="Tokens computed at once.")] = 8192,
    samples: Annotated[int, typer.Option("--samples", min=0, help=SAMPLES)] = 0,
    policy: Annotated[str | None, typer.Option("--policy", help="The model whose own answers are scored.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="What samples: auto, vllm, transformers.")] = "auto",
    json_: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Score both sides of preference data (or the answers of other data) with a reward model."""
    from pairgen.cli.display import display
    from pairgen.cli.terminal import only_ours
    from pairgen.errors import UsageError
    from pairgen.train.read import open_data

    _check_out(out, data)
    if bool(samples) != bool(policy):
        raise UsageError("--samples and --policy go together: how many answers, and of which model")
    opened, own = open_data(data, split=split, columns=columns_of(columns)), None
    folder = model_at(model)
    if policy:
        own = _Own(open_data(data, split=split, columns=columns_of(columns)), model_at(policy), engine, samples, out)
    with only_ours(Path(os.devnull)) as terminal, display(terminal, ["score"], quiet or json_) as shown:
        tally = _score(opened, folder, batch_tokens, own, out, shown)
    _print(tally, opened, out, as_json=json_)


def _check_out(out: Path, data: str) -> None:
    from pairgen.errors import UsageError
    from pairgen.train.score import SUFFIXES

    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: a file that ends in {' or '.join(SUFFIXES)}")
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"--out {out}: " + ("is a folder" if out.is_dir() else f"no folder {out.parent}"))
    if out.exists() and Path(data).exists() and out.samefile(data):
        raise UsageError(f"--out {out}: is the data itself; name another file")


class _Own:
    """The policy's own answers to the prompts of a data set, kept beside the output."""

    def __init__(self, data: "Data", folder: Path, engine: str, samples: int, out: Path) -> None:
        from pairgen.train.samples import Source

        self.data, self.samples = data, samples
        self.source, self.file = Source(folder, engine), out.with_suffix(".samples.jsonl")
        self.source.config().check()

    def draw(self) -> int:
        """Draw what is missing; how many."""
        from pairgen.train.samples import draw

        return draw(self._prompts(), self.source, self.samples, self.file)

    def scores(self, model: "RewardModel") -> dict[str, float]:
        """The mean score of each prompt's answers."""
        from pairgen.train.samples import read
        from pairgen.train.score import policy_scores

        return policy_scores(model, read(self.file, self.source))

    def _prompts(self) -> Iterator[Any]:
        from pairgen.errors import UsageError
        from pairgen.records import Preference

        for row in self.data.rows:
            if not isinstance(row, Preference):
                raise UsageError(f"--samples: policy_score belongs to pairs, and this is {self.data.format.name} data")
            yield row.prompt


def _score(data: "Data", folder: Path, batch_tokens: int, own: _Own | None, out: Path, shown: "Display") -> "Tally":
    from pairgen.pipeline.progress import Meter
    from pairgen.store import Usage
    from pairgen.train.annotator import RewardModel
    from pairgen.train.score import Tally, record_file, scored_records

    meter, tally = Meter("score", None, shown), Tally()
    if own:
        meter.tell(Usage(), note="the policy answers", force=True)
        shown.say(f"{own.draw():,} answers drawn, kept in {own.file}")
    meter.tell(Usage(), note="reading weights", force=True)
    model = RewardModel.load(folder, batch_tokens=batch_tokens)
    policy = own.scores(model) if own else None
    with record_file(out) as file:
        for record in scored_records(data.rows, model, tally, policy):
            file.write(record)
            meter.done += 1
            meter.tell(Usage())
    meter.total = meter.done
    way = "prompt trees" if model.trees else "plain forward passes"
    meter.tell(Usage(), "done", f"{tally.rows:,} rows scored in {way}", force=True)
    return tally


def _print(tally: "Tally", data: "Data", out: Path, *, as_json: bool) -> None:
    found = tally.to_json()
    if as_json:
        print(json.dumps({"out": str(out), **found, "drops": len(data.drops)}))
        return
    if tally.pairs:
        print(f"accuracy: {found['accuracy']:.4f} ± {found['accuracy_se']:.4f} (n = {tally.pairs:,}; "
              "share of pairs whose chosen side scores higher)")
        print(f"margin:   {found['margin']:.4g} ± {found['margin_se']:.2g}")
    elif "score" in found:
        print(f"mean score: {found['score']:.4g} (n = {tally.rows - tally.unscored.total():,})")
    if tally.unscored:
        print("unscored: " + ", ".join(f"{reason} {count:,}" for reason, count in found["unscored"].items()))
    if data.drops:
        print(f"left out: {len(data.drops):,} records that are no rows")
    print(f"written: {out} ({tally.rows:,} rows)")
