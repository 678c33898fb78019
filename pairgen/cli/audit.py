"""`pairgen audit DATASET...`: does preference data carry the signal its owner thinks it does?"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairgen.cli.options import AsJson, columns_of, command_line
from pairgen.errors import PairgenError

if TYPE_CHECKING:
    from pairgen.audit.contamination import Overlap
    from pairgen.audit.filter import Condition
    from pairgen.audit.gate import Gate
    from pairgen.audit.model import Models
    from pairgen.audit.read import Source
    from pairgen.audit.run import Audited, Options
    from pairgen.audit.summary import Audit
    from pairgen.cli.display import Display

DATA = "A pairgen run, step or shard, a JSONL, JSON, CSV, Parquet or Arrow file, a saved dataset, a hub name."
COLUMNS = "Which column plays a part: prompt=question,chosen=better."
CHOSEN = "Instead of DATASET: a file of better answers, joined on the prompt with those of --rejected."
TOKENIZER = "Tokens for Jaccard: words, whitespace, characters, bytes, or any Hugging Face tokenizer."
AGAINST = "A set that must not be in the data, such as a benchmark: shared runs of 13 words. As often as needed."
HTML = "Write the report as one HTML file; into a folder as audit-NAME.html. Nothing is written without it."
ROWS = "Write the numbers of every pair as Parquet; of several datasets each into FILE-NAME."
FILTER = "Keep the pairs that this is true of: 'jaccard > 0.2 and len_ratio < 2'. Needs --out."
OUT = "A new folder for kept rows, as they stood in their source, and drops.jsonl with each reason."
FAIL = "Leave with exit code 3 on findings (bad, warn, note) or on a condition: bad,duplicate_pair>0.01."
SAMPLE = "Measure so many pairs drawn at random; all rows are read and bad ones counted."
WORKERS = "Processes that measure (default: the cores there are)."
MODEL = "A policy (folder, hub name or builtin:NAME): how likely does it find both sides?"
REFERENCE = "What --model was trained from: its implicit reward margins."
JUDGE = "A judge: how often does it prefer chosen, asked in both orders?"
ADVISE = "Let --model write answers of its own and say which objective suits the pairs."
PAIRS = "Pairs that models read, drawn at random."
DRILL = "No dataset: put planted pairs through every judging and pairing path and see them come out right."


def audit(
    data: Annotated[list[str] | None, typer.Argument(metavar="DATASET...", help=DATA, show_default=False)] = None,
    columns: Annotated[str | None, typer.Option("--columns", help=COLUMNS)] = None,
    chosen: Annotated[str | None, typer.Option("--chosen", help=CHOSEN)] = None,
    rejected: Annotated[str | None, typer.Option("--rejected", help="The file of worse answers.")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a saved or hub dataset.")] = "train",
    by: Annotated[str | None, typer.Option("--by", help="Column that groups rows (default: guessed, said).")] = None,
    tokenizer: Annotated[str, typer.Option("--tokenizer", help=TOKENIZER)] = "words",
    against: Annotated[list[str] | None, typer.Option("--against", help=AGAINST)] = None,
    html: Annotated[Path | None, typer.Option("--html", help=HTML)] = None,
    json_: AsJson = False,
    rows: Annotated[Path | None, typer.Option("--rows", help=ROWS)] = None,
    filter_: Annotated[str | None, typer.Option("--filter", help=FILTER)] = None,
    out: Annotated[Path | None, typer.Option("--out", help=OUT)] = None,
    fail_on: Annotated[list[str] | None, typer.Option("--fail-on", help=FAIL)] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=2, help=SAMPLE)] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help=WORKERS)] = None,
    model: Annotated[str | None, typer.Option("--model", help=MODEL)] = None,
    reference: Annotated[str | None, typer.Option("--reference", help=REFERENCE)] = None,
    advise: Annotated[bool, typer.Option("--advise", help=ADVISE)] = False,
    judge: Annotated[str | None, typer.Option("--judge", help=JUDGE)] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="The judge's prompt (default: judge.md).")] = None,
    engine: Annotated[str, typer.Option("--engine", help="What answers: auto, vllm, transformers, openai.")] = "auto",
    base_url: Annotated[str | None, typer.Option("--base-url", help="The judge's server: https://host/v1")] = None,
    budget: Annotated[float | None, typer.Option("--budget", min=0.0, help="Most dollars for the judge.")] = None,
    pairs: Annotated[int, typer.Option("--model-pairs", min=2, help=PAIRS)] = 512,
    drill: Annotated[bool, typer.Option("--drill", help=DRILL)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Audit preference data: contrast, what labels lean on, hygiene, and what to filter. Several stand side by side."""
    from pairgen.cli.audit_models import Given, run_drill

    if drill:
        run_drill(json_)
        return
    from pairgen.audit import contamination
    from pairgen.audit.gate import parse_gate
    from pairgen.cli.display import display
    from pairgen.cli.terminal import only_ours

    began, gate = time.monotonic(), parse_gate(fail_on or [])
    models = Given(model, reference, judge, prompt, engine, base_url, advise, pairs, budget).models()
    with contamination.against(against or []) as overlap:
        options = _options(tokenizer, workers, overlap)
        condition = _condition(filter_, out, sample, options)
        sources = _Asked(columns_of(columns), split, by, sample).sources(data or [], chosen, rejected)
        wanted, names = _Wanted(sources, html, rows, out), _names(sources)
        with only_ours(Path(os.devnull)) as terminal, display(terminal, names, quiet or json_) as shown:
            done = [_audited(*one, options, models, shown) for one in zip(sources, names, strict=True)]
        found = _summary(done, time.monotonic() - began)
        try:
            written = [*wanted.write(done, condition), *wanted.report(found, quiet)]
        except (OSError, PairgenError):
            _show(found, [], as_json=json_)  # a full disk takes no numbers with it
            raise
    _show(found, written, as_json=json_)
    _judge(gate, found)


def _options(tokenizer: str, workers: int | None, overlap: "Overlap") -> "Options":
    from pairgen.audit.run import Options

    return Options(tokenizer, workers=workers, against=overlap if overlap.references else None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """How the datasets are to be read."""

    columns: dict[str, str]
    split: str
    by: str | None
    sample: int | None

    def sources(self, data: Sequence[str], chosen: str | None, rejected: str | None) -> "list[Source]":
        """Everything named, opened. Raises UsageError when nothing is."""
        from pairgen.audit.read import open_joined, open_source
        from pairgen.errors import UsageError

        if bool(chosen) != bool(rejected):
            raise UsageError("--chosen and --rejected go together: files of better and of worse answers")
        found = [open_source(path, split=self.split, columns=self.columns, by=self.by) for path in data]
        if chosen and rejected:
            found.append(open_joined(chosen, rejected, split=self.split, columns=self.columns, by=self.by))
        if not found:
            raise UsageError("name a dataset: a file, a run, a saved folder or a hub name, such as data/pairs.jsonl")
        for source in found:
            source.sample = self.sample
        return found


class _Wanted:
    """The files that were asked for, checked before any work: what exists is not written over but by reports."""

    def __init__(self, sources: "Sequence[Source]", html: Path | None, rows: Path | None, out: Path | None) -> None:
        from pairgen.audit.write import check_out
        from pairgen.errors import UsageError

        self._sources, names = sources, _names(sources)
        self._html, self._rows, self._out = _html_file(html, names), _each(rows, names), out
        for option, path in [("--html", self._html), *(("--rows", path) for path in self._rows)]:
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                why = "is a folder" if path.is_dir() else f"no folder {path.parent}"
                raise UsageError(f"{option} {path}: {why}")
            if path is not None and any(path.exists() and path.samefile(file) for file in _files(sources)):
                raise UsageError(f"{option} {path}: is the data itself; name another file")
        if out is not None:
            check_out(out)

    def write(self, done: "Sequence[Audited]", condition: "Condition | None") -> list[str]:
        """Numbers of rows, and filtered data; a line on each."""
        from pairgen.audit.write import write_filtered

        said = []
        for path, audited in zip(self._rows, done, strict=False):
            audited.table.keep(path)
            said.append(f"{audited.summary.name}: the numbers of {audited.summary.pairs:,} pairs are in {path}")
        for source, name, audited in zip(self._sources, _names(self._sources), done, strict=True):
            if condition is not None and self._out is not None:
                folder = self._out if len(done) == 1 else self._out / name
                said.append(f"{name}: {write_filtered(source, audited.table.columns, condition, folder)}")
        return said

    def report(self, found: "Audit", quiet: bool) -> list[str]:
        """The HTML file, where one was asked for, and where it is, or how to get one."""
        if self._html is None:
            return [] if quiet else ["no report was written: --html audit.html writes one"]
        from pairgen.fs import write_atomic
        from pairgen.report.audit import audit_report

        write_atomic(self._html, audit_report(found).encode("utf-8", "replace"))
        return [f"report: {self._html}"]


def _condition(text: str | None, out: Path | None, sample: int | None, options: "Options") -> "Condition | None":
    """The filter, its names checked against what will be measured. Raises UsageError."""
    from pairgen.audit.filter import parse
    from pairgen.audit.write import filter_names
    from pairgen.errors import UsageError

    if (text is None) != (out is None):
        raise UsageError("--filter and --out go together: which pairs to keep, and the folder to write")
    if text is None:
        return None
    if sample is not None:
        raise UsageError("--filter measures every pair: leave out --sample")
    condition = parse(text)
    condition.check(filter_names(options))
    return condition


def _audited(
    source: "Source", name: str, options: "Options", models: "Models | None", shown: "Display"
) -> "Audited":
    from dataclasses import replace

    from pairgen.audit.run import audit as audited
    from pairgen.pipeline.progress import Meter
    from pairgen.store import Usage

    meter = Meter(name, None, shown)

    def told(rows: int) -> None:
        meter.done = rows
        meter.tell(Usage())

    meter.tell(Usage(), note="opening", force=True)
    found = audited(source, options, told)
    if models is not None:
        from pairgen.audit.model import under_models

        read = under_models(found.summary, source, found.table, models, lambda line: meter.tell(Usage(), note=line))
        found = replace(found, summary=read)
    meter.done = meter.total = meter.rows = found.summary.rows
    meter.tell(Usage(), "done", f"{found.summary.pairs:,} pairs", force=True)
    return found


def _summary(done: "Sequence[Audited]", seconds: float) -> "Audit":
    from pairgen import __version__
    from pairgen.audit.summary import Audit

    return Audit(tuple(one.summary for one in done), command_line(), __version__, seconds)


def _show(found: "Audit", said: list[str], *, as_json: bool) -> None:
    """The audit on stdout; what was written below it, or on stderr beside JSON."""
    if as_json:
        from pairgen.report.audit_json import audit_json

        print(audit_json(found))
        for line in said:
            typer.echo(line, err=True)
        return
    from rich.console import Console

    from pairgen.report.audit_terminal import AuditView
    from pairgen.report.text import visible

    console = Console(highlight=False, emoji=False, markup=False)
    console.print(AuditView(found))
    for line in said:
        console.print(visible(line), soft_wrap=True)


def _judge(gate: "Gate", found: "Audit") -> None:
    """Leave with exit code 3 when something is so that must not be."""
    from pairgen.errors import FailedRows

    failed = [f"{one.name}: {what}" for one in found.datasets for what in gate.failures(one)]
    if failed:
        raise FailedRows(f"--fail-on: {'; '.join(failed)}")


# --- names of files -----------------------------------------------------------------------------------


def _names(sources: "Sequence[Source]") -> list[str]:
    """A name for each that can name a file: equal ones are numbered."""
    plain = ["".join(c if c.isalnum() or c in "-_." else "-" for c in source.name).strip("-.") for source in sources]
    return [name if plain.count(name) == 1 else f"{name}-{plain[: i + 1].count(name)}" for i, name in enumerate(plain)]


def _files(sources: "Sequence[Source]") -> Iterator[Path]:
    return (file for source in sources for file in source.place.files)


def _html_file(given: Path | None, names: list[str]) -> Path | None:
    if given is None or not given.is_dir():
        return given
    return given / f"audit-{names[0]}{f'-and-{len(names) - 1}-more' if len(names) > 1 else ''}.html"


def _each(given: Path | None, names: list[str]) -> list[Path]:
    """One file a dataset: the one given, or with its name in it."""
    if given is None:
        return []
    return [given] if len(names) == 1 else [given.with_name(f"{given.stem}-{name}{given.suffix}") for name in names]
