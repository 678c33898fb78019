"""What an evaluation came to: every number again from its sealed rows, beside those of judges that do not read."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pairgen import __version__, fs
from pairgen.errors import UsageError
from pairgen.evals import baselines
from pairgen.evals.benchmark import Benchmark, Estimate, EvalItem, EvalReply
from pairgen.evals.calibration import calibration
from pairgen.evals.compare import Comparison, compare
from pairgen.evals.curves import Slice, by_confidence, by_length
from pairgen.evals.filepairs import DISAGREEMENT
from pairgen.evals.files import FromFile
from pairgen.evals.judging import PairBenchmark
from pairgen.evals.panel import member_accuracies, panel_metrics
from pairgen.evals.select import selected
from pairgen.loop.assess import Assessment
from pairgen.pipeline.config import parse_plugin
from pairgen.report.evaluation import evaluation_report
from pairgen.report.evaluation_summary import Bin, EvaluationSummary, Metrics, Said, Sample, Spent
from pairgen.store import Manifest, read_rows

RESULT = "result.json"
REPORT = "report.html"
NOTHING = Spent()
SAMPLES = 6
"""Items of each kind that the report shows."""


def conclude(
    folder: Path, assessment: Assessment, manifest: Manifest, *, command: str, config: str
) -> EvaluationSummary:
    """Write `result.json` and `report.html` of a finished evaluation, and say what is in them."""
    step = assessment.step.folder(folder)
    about = About(assessment.name, command, config, step.name, _spent(manifest), assessment.members)
    summary = summarise(assessment.benchmark, list(read_rows(step, EvalItem)), about)
    write_results(folder, summary)
    return summary


def write_results(folder: Path, summary: EvaluationSummary) -> None:
    """Write `result.json` and `report.html`."""
    fs.make_dirs(folder)
    fs.write_atomic(folder / RESULT, json.dumps(summary.to_json(), indent=1).encode() + b"\n")
    fs.write_atomic(folder / REPORT, evaluation_report(summary).encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class About:
    """What is said of an evaluation beside its numbers: who was evaluated, by which command, at what price.

    `members` are the judges of a panel.
    """

    who: str
    command: str
    config: str = ""
    step: str = ""
    spent: Spent = NOTHING
    members: tuple[str, ...] = ()


def summarise(benchmark: Benchmark[Any], rows: Sequence[EvalItem], about: About) -> EvaluationSummary:
    """The evaluation as its report wants it, from its rows alone: it can be made again at any time."""
    found = metrics_of(benchmark, rows)
    official = tuple(name for name in benchmark.official(rows) if name != DISAGREEMENT)
    together = panel_metrics(rows) if about.members else {}
    metrics = {**{name: found[name] for name in official}, **found, **_plain(together)}
    greedy = [reply for row in rows for reply in row.replies if reply.mode == "greedy"]
    refused, unread = [row for row in rows if row.error is not None], baselines_of(benchmark, rows)
    longer = by_group(benchmark, unread.get("longer", []))
    return EvaluationSummary(
        suite=benchmark.use, title=benchmark.label, who=about.who, command=about.command, config=about.config,
        code_version=__version__, step=about.step, spent=about.spent, items=len(rows), metrics=metrics,
        official=official, missing=benchmark.missing(rows), groups=by_group(benchmark, rows),
        longer={group: some["accuracy"] for group, some in longer.items() if "accuracy" in some},
        members=_plain(member_accuracies(rows, about.members)),
        baselines={name: metrics_of(benchmark, some) for name, some in unread.items()},
        lengths=tuple(_bins(by_length(rows))), calibration=tuple(_bins(by_confidence(rows))),
        samples=tuple(_samples(rows)), skipped=_skipped(benchmark),
        drawn_from=_drawn_from(benchmark, len(rows)),
        votes=max((sum(reply.mode == "sampled" for reply in row.replies) for row in rows), default=0),
        unscored_share=len(refused) / max(1, len(rows)),
        unread_share=sum(reply.answer is None for reply in greedy) / max(1, len(greedy)),
        unread=dict(Counter(reply.status for reply in greedy if reply.answer is None)),
        first_error=refused[0].error if refused else None,
    )


def compare_folders(before: Path, after: Path) -> Comparison:
    """`after` against `before`: two finished evaluations of one suite, on the items they share.

    Raises UsageError for a folder without a result, and for results of different suites.
    """
    (benchmark, old), (other, new) = (finished(folder) for folder in (before, after))
    if benchmark.use != other.use:
        raise UsageError(f"{before} is of {benchmark.use} and {after} of {other.use}: nothing to compare")
    return compare(old, new, benchmark.score)


def finished(folder: Path) -> tuple[Benchmark[Any], list[EvalItem]]:
    """The suite and the rows of the last evaluation that was finished in a folder."""
    where = f"{folder / RESULT}: eval"
    benchmark = parse_plugin("pairgen.evals.suites", "BENCHMARK", suite_tree(folder), where)
    return benchmark, list(read_rows(folder / result_in(folder)["step"], EvalItem))


def suite_tree(folder: Path) -> dict[str, Any]:
    """The options of the suite that a finished evaluation is of."""
    tree: dict[str, Any] = yaml.safe_load(result_in(folder)["config"])["eval"]
    return tree


def rewrite(folder: Path) -> Path:
    """Write result and report of a finished evaluation again, from its sealed rows; the report's path."""
    result, (benchmark, rows) = result_in(folder), finished(folder)
    about = About(
        result["who"], result["command"], result["config"], result["step"], Spent(**result["spent"]),
        tuple(result.get("members", ())),
    )
    write_results(folder, summarise(benchmark, rows, about))
    return folder / REPORT


def result_in(folder: Path) -> dict[str, Any]:
    """What `result.json` of a finished evaluation holds. Raises UsageError where there is none."""
    if not (folder / RESULT).is_file():
        raise UsageError(f"{folder}: no finished evaluation here (no {RESULT}); run pairgen eval with --out {folder}")
    result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return result


def metrics_of(benchmark: Benchmark[Any], rows: Sequence[EvalItem]) -> Metrics:
    """A benchmark's numbers as plain values, with how well confidence tells right from wrong."""
    pairs = isinstance(benchmark, PairBenchmark)
    return _plain(benchmark.metrics(rows) | (calibration(rows) if pairs else {}))


def _plain(found: Mapping[str, Estimate]) -> Metrics:
    return {
        name: {"mean": value.mean, "stderr": value.stderr, "n": value.n, "unscored": value.unscored}
        for name, value in found.items()
    }


def baselines_of(benchmark: Benchmark[Any], rows: Sequence[EvalItem]) -> dict[str, list[EvalItem]]:
    """Judges that do not read, on the items of these rows; none where a suite asks for no judgment."""
    asked = {row.id for row in rows}
    items = [item for item in selected(benchmark) if item.id in asked]
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


def _drawn_from(benchmark: Benchmark[Any], asked: int) -> int:
    """How many items the suite has, or the subsets asked for, where its limit left some of them out; else 0."""
    if benchmark.limit is None:
        return 0
    there = len(selected(benchmark.model_copy(update={"limit": None})))
    return there if there > asked else 0


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
