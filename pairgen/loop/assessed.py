"""What an evaluation came to: every number again from its sealed rows, beside those of judges that do not read."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pairgen import __version__, fs
from pairgen.evals import baselines
from pairgen.evals.benchmark import Benchmark, EvalItem, EvalReply
from pairgen.evals.calibration import calibration
from pairgen.evals.curves import Slice, by_confidence, by_length
from pairgen.evals.files import FromFile
from pairgen.evals.judging import PairBenchmark
from pairgen.evals.select import selected
from pairgen.loop.assess import Assessment
from pairgen.report.evaluation import evaluation_report
from pairgen.report.evaluation_summary import Bin, EvaluationSummary, Metrics, Said, Sample, Spent
from pairgen.report.numbers import Estimated
from pairgen.store import Manifest, read_rows

RESULT = "result.json"
REPORT = "report.html"
SAMPLES = 6
"""Items of each kind that the report shows."""


def conclude(
    folder: Path, assessment: Assessment, manifest: Manifest, *, command: str, config: str
) -> EvaluationSummary:
    """Write `result.json` and `report.html` of a finished evaluation, and say what is in them."""
    summary = summarise(folder, assessment, manifest, command=command, config=config)
    body = {"use": assessment.benchmark.use, **summary.to_json()}
    fs.write_atomic(folder / RESULT, json.dumps(body, indent=1).encode() + b"\n")
    fs.write_atomic(folder / REPORT, evaluation_report(summary).encode("utf-8", "replace"))
    return summary


def summarise(
    folder: Path, assessment: Assessment, manifest: Manifest, *, command: str, config: str
) -> EvaluationSummary:
    """The evaluation as its report wants it: read from its rows, so that it can be made again at any time."""
    step, benchmark = assessment.step.folder(folder), assessment.benchmark
    rows = list(read_rows(step, EvalItem))
    official, found = tuple(benchmark.official(rows)), metrics_of(benchmark, rows)
    metrics = {**{name: found[name] for name in official}, **found}
    unread = baselines_of(benchmark)
    greedy = [reply for row in rows for reply in row.replies if reply.mode == "greedy"]
    refused = [row for row in rows if row.error is not None]
    return EvaluationSummary(
        suite=benchmark.use, title=benchmark.label, who=assessment.name, command=command, config=config,
        code_version=__version__, step=step.name, items=len(rows), metrics=metrics, official=official,
        missing=benchmark.missing(rows), groups=by_group(benchmark, rows), samples=tuple(_samples(rows)),
        lengths=tuple(_bins(by_length(rows))), calibration=tuple(_bins(by_confidence(rows))),
        skipped=_skipped(benchmark), baselines={name: metrics_of(benchmark, some) for name, some in unread.items()},
        longer={group: value for group, some in by_group(benchmark, unread.get("longer", [])).items()
                if (value := some.get("accuracy")) is not None},
        unscored_share=len(refused) / max(1, len(rows)),
        unread_share=sum(reply.answer is None for reply in greedy) / max(1, len(greedy)),
        first_error=refused[0].error if refused else None, spent=_spent(manifest),
    )


def metrics_of(benchmark: Benchmark[Any], rows: Sequence[EvalItem]) -> Metrics:
    """A benchmark's numbers as plain values, with how well confidence tells right from wrong."""
    found: dict[str, Estimated] = {}
    pairs = isinstance(benchmark, PairBenchmark)
    for name, value in (benchmark.metrics(rows) | (calibration(rows) if pairs else {})).items():
        found[name] = {"mean": value.mean, "stderr": value.stderr, "n": value.n, "unscored": value.unscored}
    return found


def baselines_of(benchmark: Benchmark[Any]) -> dict[str, list[EvalItem]]:
    """The rows of judges that do not read; none where a suite asks for something else than a judgment."""
    items = selected(benchmark)
    return baselines.rows(items) if all(isinstance(item, baselines.AnyItem) for item in items) else {}


def by_group(benchmark: Benchmark[Any], rows: Sequence[EvalItem]) -> dict[str, Metrics]:
    groups: dict[str, list[EvalItem]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return {group: metrics_of(benchmark, some) for group, some in groups.items()}


def _bins(slices: Sequence[Slice]) -> Iterator[Bin]:
    for some in slices:
        if some.accuracy.mean is not None:
            yield Bin(some.at, some.accuracy.mean, some.accuracy.stderr, some.accuracy.n)


def _skipped(benchmark: Benchmark[Any]) -> dict[str, int]:
    """How many rows of the data were left out, under what was wrong with the first."""
    lines = benchmark.skipped() if isinstance(benchmark, FromFile) else ()
    return {f"the first: {lines[0]}": len(lines)} if lines else {}


def _spent(manifest: Manifest) -> Spent:
    return Spent(**{name: manifest.log[name] for name in Spent.__dataclass_fields__ if name in manifest.log})


def _samples(rows: Sequence[EvalItem]) -> Iterator[Sample]:
    """Items of each kind, spread over the rows: refused, unreadable, wrong in one order only, wrong."""
    kinds: dict[str, list[EvalItem]] = {"refused": [], "unreadable": [], "inconsistent": [], "wrong": []}
    for row in rows:
        if (kind := kind_of(row)) is not None:
            kinds[kind].append(row)
    for kind, some in kinds.items():
        stride = max(1, len(some) // SAMPLES)
        for row in some[::stride][:SAMPLES]:
            yield _sample(kind, row)


def kind_of(row: EvalItem) -> str | None:
    """What is wrong with what was said of an item, by its greedy replies or its scores; None where nothing is."""
    replies = [reply for reply in row.replies if reply.mode == "greedy"]
    if row.error is not None:
        return "refused"
    if any(reply.answer is None for reply in replies):
        return "unreadable"
    if row.scores:
        return None if _ranked(row) else "wrong"
    right = sum(reply.right for reply in replies)
    if right == len(replies):
        return None
    return "inconsistent" if right else "wrong"


def _ranked(row: EvalItem) -> bool:
    """Whether every right answer scores above every wrong one."""
    good, bad = row.scores[: row.right], row.scores[row.right :]
    return all(a is not None and b is not None and a > b for a in good for b in bad)


def _sample(kind: str, row: EvalItem) -> Sample:
    replies = tuple(_said(reply) for reply in row.replies if reply.mode == "greedy")
    return Sample(kind, row.id, row.group, row.question, row.answers, replies, row.scores, row.error)


def _said(reply: EvalReply) -> Said:
    return Said(reply.order or "", reply.answer, reply.gold, reply.status, reply.text)
