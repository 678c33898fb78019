"""An evaluation asked for on the command line: its parts, the terminal while it works, what is printed."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairgen.engine import EngineConfig
    from pairgen.evals.benchmark import Benchmark
    from pairgen.loop.assess import Assessment, Marking
    from pairgen.pipeline.sitting import Sitting
    from pairgen.report.evaluation_summary import EvaluationSummary
    from pairgen.store import Manifest

PACKAGE = "pairgen.evals.suites"
ENGINE = "engine"
ASKING = ("prompt", "orders", "votes", "verdict")
"""Options of a suite that only a judge hears of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: a suite with its options, who is evaluated, overrides, and the engine."""

    suite: str
    options: dict[str, Any]
    who: dict[str, Any]
    sets: Sequence[str]
    engine: dict[str, Any]

    @property
    def tree(self) -> dict[str, Any]:
        """Benchmark, who and engine as YAML would hold them, overrides included. Raises UsageError."""
        from pairgen.errors import UsageError
        from pairgen.pipeline.config import Edit, assign, parse_set

        options, who = dict(self.options), dict(self.who)
        if "classifier" in who and "prompt" in options:
            who["prompt"] = options.pop("prompt")
        if who and (unheard := [name for name in ASKING if name in options]):
            raise UsageError(f"--{unheard[0]}: is for judges; a {next(iter(who)).replace('_', ' ')} is not asked")
        tree: dict[str, Any] = {
            "eval": {"id": self.suite, "use": self.suite, **options}, "who": who, ENGINE: dict(self.engine),
        }
        for edit in map(parse_set, self.sets):
            key = edit.key if edit.key.startswith(f"{ENGINE}.") else f"eval.{edit.key}"
            section, option, *deeper = key.split(".")
            if deeper:  # a part of an option that was not given: its other parts stay as the suite has them
                tree[section].setdefault(option, self._usual(option) if section == "eval" else {})
            assign(tree, Edit(key, edit.value, edit.where))
        return tree

    def _usual(self, option: str) -> dict[str, Any]:
        """The parts that an option of the suite has by itself."""
        from pairgen.engine import Frozen
        from pairgen.registry import find

        fields = find(PACKAGE, self.suite).BENCHMARK.model_fields
        usual = fields[option].get_default(call_default_factory=True) if option in fields else None
        return usual.model_dump() if isinstance(usual, Frozen) else {}


def there(given: dict[str, Any]) -> dict[str, Any]:
    """What was given of it."""
    return {key: value for key, value in given.items() if value is not None}


def list_suites(as_json: bool) -> None:
    """Print every suite with what it is."""
    from pairgen.registry import find, names

    found = {name: (find(PACKAGE, name).__doc__ or "").split("\n")[0] for name in names(PACKAGE)}
    if as_json:
        print(json.dumps(found))
        return
    width = max(map(len, found))
    for name, what in found.items():
        print(f"{name:<{width}}  {what}")


@dataclass(frozen=True, slots=True)
class Answering:
    """How a command that evaluates was given: as it was typed, what it may cost, how it is to be answered."""

    command: str
    budget: float | None = None
    max_failed: float = 0.5
    quiet: bool = False
    as_json: bool = False


def run_asked(asked: Asked, out: Path | None, how: Answering) -> None:
    """Evaluate, write the result and the report, print. Raises FailedRows when too much could not be read."""
    from pairgen.cli.subjects import subject

    tree = asked.tree
    settle(tree, parse_suite(tree["eval"]), subject(tree["who"], tree[ENGINE]), out, how)


def settle(
    tree: dict[str, Any], benchmark: "Benchmark[Any]", who: "EngineConfig | Marking", out: Path | None, how: Answering
) -> None:
    """Evaluate `who` in a folder that keeps every reply, with the numbers and the report of it; print."""
    import yaml

    from pairgen.loop.assess import Assessment
    from pairgen.loop.assessed import conclude
    from pairgen.pipeline.sitting import Sitting

    assessment = Assessment(benchmark, who, how.max_failed)
    assessment.check()
    folder = out or Path("runs") / "eval" / _slug(f"{benchmark.use}-{assessment.name}")
    steps = {assessment.step.name: assessment.step}
    config = yaml.safe_dump(tree, sort_keys=False)
    with Sitting(
        folder, assessment.setup, steps, config=config, command=how.command, budget=how.budget
    ) as sitting:
        manifest = _work(sitting, assessment, quiet=how.quiet or how.as_json)
        summary = conclude(folder, assessment, manifest, command=how.command, config=config)
    _print(summary, folder, as_json=how.as_json)
    _complain(summary, how.max_failed, folder)


def parse_suite(tree: dict[str, Any]) -> "Benchmark[Any]":
    """A suite with its options. Raises UsageError naming the nearest suite or option."""
    from pairgen.pipeline.config import parse_as
    from pairgen.registry import find

    name = str(tree["use"])
    found: Benchmark[Any] = parse_as(find(PACKAGE, name).BENCHMARK, {**tree, "use": name.replace("_", "-")}, name)
    return found


def _slug(name: str) -> str:
    """A folder's name: the last part of a path or hub name, and nothing but letters, digits, `.`, `-`, `_`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "evaluation"


def _work(sitting: "Sitting", assessment: "Assessment", quiet: bool) -> "Manifest":
    """Evaluate with the terminal to ourselves."""
    import asyncio

    from pairgen.cli.display import display
    from pairgen.cli.signals import Signals
    from pairgen.cli.terminal import only_ours

    with (
        only_ours(sitting.folder / "output.log") as terminal,
        display(terminal, list(sitting.steps), quiet) as shown,
        Signals(sitting, shown),
    ):
        sitting.listen(shown)
        return asyncio.run(sitting.work(assessment.run))


def _print(summary: "EvaluationSummary", folder: Path | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"folder": str(folder) if folder else None, **summary.to_json()}))
        return
    from rich.console import Console

    from pairgen.report.evaluation_text import group_table, metric_table, short

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(short(summary), soft_wrap=True)
    console.print(metric_table(summary, console.width))
    if len(summary.groups) > 1:
        console.print(group_table(summary))
    if folder is not None:
        print(f"all numbers, and judgments to look at: {folder / 'report.html'}")


def _complain(summary: "EvaluationSummary", most: float, folder: Path | None) -> None:
    from pairgen.errors import FailedRows

    unscored, unread = summary.unscored_share, summary.unread_share
    report = f"See them: {folder / 'report.html'}" if folder else "--out FOLDER writes a report that shows some"
    if unscored > most:
        raise FailedRows(f"complete, but {unscored:.0%} of the items could not be scored (limit {most:.0%}); "
                         f"the first: {summary.first_error}. {report}")
    if unread > most:
        from pairgen.report.evaluation_text import what_to_do, why_unread

        raise FailedRows(f"complete, but {unread:.0%} of the replies hold no verdict that can be read (limit "
                         f"{most:.0%}; {why_unread(summary)}), and those count as wrong; "
                         f"{what_to_do(summary)}. {report}")


def compare_finished(a: Path, b: Path, *, as_json: bool) -> None:
    """Print how two finished evaluations differ on the items they share."""
    from pairgen.loop.assessed import compare_folders

    found = compare_folders(a, b)
    if as_json:
        print(json.dumps(found.to_json()))
        return
    sure = "" if found.low <= 0 <= found.high else "not "
    print(f"{a}: {found.before:.3f}\n{b}: {found.after:.3f}\n"
          f"difference {100 * found.diff:+.1f} points, 95 % interval {100 * found.low:+.1f} to "
          f"{100 * found.high:+.1f}; "
          f"zero is {sure}in it (paired bootstrap, {found.n:,} items of {found.clusters:,} prompts)\n"
          f"the second is better on {found.gained:,} items, the first on {found.lost:,}: "
          f"p = {found.p_value:.3g} (McNemar, exact)")
    if found.unmatched or found.unscored:
        print(f"left out: {found.unmatched:,} items that only one has, {found.unscored:,} that one could not score")


def rescore_file(
    options: dict[str, Any], verdicts: str, parser: str, where: Sequence[str], out: Path | None, how: Answering
) -> None:
    """Score what somebody's judge said, with no model. With `out` the rows are kept, to be compared."""
    from pairgen.evals.rescore import rescore
    from pairgen.fingerprint import digest
    from pairgen.loop.assess import Marking
    from pairgen.loop.assessed import About, summarise

    benchmark = parse_suite(options)
    chosen = dict(_chosen(item) for item in where)
    rows, who = rescore(benchmark, verdicts, parser, chosen).rows, " ".join(chosen.values()) or Path(verdicts).name
    if out is None:
        summary = summarise(benchmark, rows, About(who, how.command))
        _print(summary, None, as_json=how.as_json)
        _complain(summary, how.max_failed, None)
        return
    said = {"verdicts": verdicts, "parser": parser, "where": chosen}
    marking = Marking(who, {"verdicts": digest([asdict(row) for row in rows])}, lambda _: rows, stored=True)
    settle({"eval": options, "who": said}, benchmark, marking, out, how)


def _chosen(where: str) -> tuple[str, str]:
    """A column and the value it must have."""
    from pairgen.errors import UsageError

    column, equals, value = where.partition("=")
    if not column or not equals:
        raise UsageError(f"--where {where!r}: write it as COLUMN=VALUE")
    return column, value
