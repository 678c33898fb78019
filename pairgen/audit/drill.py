"""The drill: planted pairs with known answers go through the whole judging and pairing path, and must come out
the right way round.

A label that is swapped once, somewhere, makes a dataset that teaches the opposite, and no number shows it; a
widely used script took the first answer as chosen whatever its judge said. So the pipelines that ship
are run as they are, drivers, stages, parsers, shards, export and readers, with scripted models in place of real ones.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pairgen import fs
from pairgen.audit import planted
from pairgen.audit.planted import TASKS, Rules, scripted
from pairgen.engine import Completion
from pairgen.errors import UsageError
from pairgen.evals.items import PairItem
from pairgen.evals.judging import PairBenchmark
from pairgen.export import Wanted, export_step
from pairgen.export.write import SIDE
from pairgen.loop.config import experiment_tree, parse_experiment
from pairgen.loop.session import Session
from pairgen.parsers import read_verdict
from pairgen.records import Demonstration, Drop, Labelled, Pair, Preference
from pairgen.store import read_drops, read_rows, sealed_steps
from pairgen.train.read import open_data


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was planted: what must come out, what did, and whether that is the same."""

    name: str
    expected: str
    found: str

    @property
    def held(self) -> bool:
        """Whether it came out as it must."""
        return self.expected == self.found


def drill(folder: Path, told: Callable[[Check], None] = lambda check: None) -> list[Check]:
    """Run everything that is planted, in a folder of its own; `told` hears of each check as it is done."""
    done = []
    for part in (_on_policy, _clair, _scored, _stronger, _judgments, _benchmark, _audited):
        place = folder / part.__name__.strip("_")
        fs.make_dirs(place)
        for check in part(place):
            told(check)
            done.append(check)
    return done


# --- the parts ----------------------------------------------------------------------------------------


def _on_policy(folder: Path) -> Iterator[Check]:
    """Two answers of the policy, a judge picks."""
    knows = _run("on-policy-judge", folder / "knows", policy=[planted.BOTH], judge=[planted.KNOWS])
    pairs, same = _pairs(knows), sum(d.reason == "identical" for d in _drops(knows, "on-policy-pairs"))
    yield _all_right("a judge that finds the better answer", pairs, TASKS - same)
    yield Check("... which it was shown first and second", "both", _orders(pairs))
    yield from _exported(knows, pairs)
    swaps = "stages.on-policy-pairs.orders=both"
    for name, rules, reason in (
        ("a judge that always says the first", planted.ALWAYS_FIRST, "disagreement"),
        ("a judge that always ties", planted.TIES, "unparsed"),
        ("a judge that does not decide", planted.MUTE, "unparsed"),
    ):
        run = _run("on-policy-judge", folder / name.replace(" ", "-"), swaps, policy=[planted.BOTH], judge=[rules])
        yield _none_but(f"{name}, in both orders", run, "on-policy-pairs", {reason, "identical"})
    run = _run("on-policy-judge", folder / "same", policy=[planted.SAME], judge=[planted.KNOWS])
    yield _none_but("two equal answers", run, "on-policy-pairs", {"identical"})


def _clair(folder: Path) -> Iterator[Check]:
    """A reviser improves the policy's own answer: the revision is chosen."""
    better = _run("clair", folder / "better", policy=[planted.WORSE], reviser=[planted.REVISES])
    yield _all_right("a revision over what was revised", _pairs(better), TASKS)
    run = _run("clair", folder / "unchanged", policy=[planted.WORSE], reviser=[planted.ECHOES])
    yield _none_but("a revision that changes nothing", run, None, {"unchanged", "unchanged_answer", "identical"})


def _scored(folder: Path) -> Iterator[Check]:
    """Scored answers, the better one in every place."""
    run = _run("off-policy-judge", folder / "scored", data=planted.scored_tasks(folder))
    yield _all_right("the best scored answer over the worst", _pairs(run), TASKS)
    drops = _drops(run, "off-policy-pairs")
    yield Check("a tie, a missing score and an empty answer make no pair", str(len(planted.SPOILT)), str(len(drops)))


def _stronger(folder: Path) -> Iterator[Check]:
    run = _run("stronger-preferred", folder / "stronger", policy=[planted.WORSE], stronger=[planted.BETTER])
    yield _all_right("a stronger model's answer over the policy's", _pairs(run), TASKS)


def _judgments(folder: Path) -> Iterator[Check]:
    """The self-taught path: pairs are judged in both orders, judgments kept, and rows made to train on."""
    writes = [planted.TAGS, planted.SIMILAR]
    sides = [planted.BETTER]
    run = _self_taught(folder / "knows", *writes, planted.KNOWS, *sides)
    yield _all_right("a similar instruction's answer is the worse one", _of(run, "pairs"), TASKS)
    yield from _taught(run)
    yield _preferred(_self_taught(folder / "wavers", *writes, planted.WAVERS, *sides))
    run = _self_taught(folder / "first", *writes, planted.ALWAYS_FIRST, *sides)
    yield _untaught("judgments of a judge that always says the first, once balanced", run, "balance")
    run = _self_taught(folder / "ties", *writes, planted.TIES, *sides)
    yield _untaught("judgments of a judge that always ties", run, "unparsed")


def _taught(run: Path) -> Iterator[Check]:
    """What is trained on names the slot of the better answer, whichever that is."""
    rows: list[Demonstration] = _of(run, "sft")
    told = [(_slot_of_better(row.messages[-2].content), read_verdict(row.messages[-1].content).winner) for row in rows]
    right = [winner for better, winner in told if better == winner]
    yield Check("judgments to train on name the better answer", f"{len(rows)} right", f"{len(right)} right")
    slots = " and ".join(sorted(set(filter(None, right))))
    even = right.count("A") == right.count("B")
    yield Check("... in slot A and in slot B, as often", "A and B", slots if even else f"{slots}, one more often")


def _preferred(run: Path) -> Check:
    """Of a right and a wrong judgment the right one is chosen."""
    rows: list[Preference] = _of(run, "dpo")
    right = [row for row in rows if _verdicts(row)[0] == _slot_of_better(row.prompt[-1].content) != _verdicts(row)[1]]
    return Check("a right judgment over a wrong one", f"{len(rows) or 'some'} right", f"{len(right)} right")


def _verdicts(row: Preference) -> tuple[str | None, str | None]:
    chosen, rejected = (read_verdict(side[-1].content).winner for side in (row.chosen, row.rejected))
    return chosen, rejected


def _untaught(name: str, run: Path, reason: str) -> Check:
    """No judgment is kept to train on, for this reason."""
    left = {drop.reason for drop in _drops(run, "kept")}
    return Check(name, f"none, dropped as {reason}", f"{len(_of(run, 'sft')) or 'none'}, dropped as {', '.join(left)}")


def _slot_of_better(shown: str) -> str:
    first, _, second = shown.partition("[The Start of Assistant B's Answer]")
    return "A" if "right" in first else "B" if "right" in second else "?"


def _benchmark(folder: Path) -> Iterator[Check]:
    """An evaluation of judges whose score is known."""
    benchmark = PairBenchmark(id="drill", use="drill")
    items = [PairItem(str(i), "drill", "Task", f"The word is right{i}.", f"The word is wrong{i}.") for i in range(4)]
    for name, rules, expected in (
        ("finds the better answer", planted.KNOWS, "accuracy 1, both orders right 1"),
        ("always says the first", planted.ALWAYS_FIRST, "accuracy 0.5, both orders right 0"),
        ("does not decide", planted.MUTE, "accuracy 0, both orders right 0"),
    ):
        rows = [benchmark.read(item, [_said(rules, request.messages[-1].content) for request in benchmark.ask(item)])
                for item in items]
        found = benchmark.metrics(rows)
        means = [found[metric].mean for metric in ("accuracy", "consistent_accuracy")]
        said = f"accuracy {means[0] or 0:g}, both orders right {means[1] or 0:g}"
        yield Check(f"the evaluation of a judge that {name}", expected, said)


def _said(rules: Rules, prompt: str) -> list[Completion]:
    import re

    text = next((rule["reply"] for rule in rules if re.search(rule["match"], prompt)), "")
    return [Completion(text, "stop", 0, 1)]


def _audited(folder: Path) -> Iterator[Check]:
    """The audit itself: one planted row for each fault."""
    from pairgen.audit.run import flagged

    found = flagged(planted.planted_pairs(folder), list(planted.FAULTS))
    for name, rows in planted.FAULTS.items():
        yield Check(f"the audit names the planted rows: {name}", f"{sorted(rows)}", f"{sorted(found[name])}")


# --- running and reading ------------------------------------------------------------------------------


def _run(pipeline: str, folder: Path, *sets: str, data: Path | None = None, **roles: list[Rules]) -> Path:
    """A shipped pipeline with scripted models in its roles; its run folder."""
    fs.make_dirs(folder)
    edits = [f"data.path={data or planted.tasks(folder)}"]
    edits += [f"engines.{role}={json.dumps(scripted(*rules))}" for role, rules in roles.items()]
    tree = experiment_tree(pipeline, [*edits, *sets])
    return _driven(tree, folder / "run")


def _self_taught(folder: Path, *rules: Rules) -> Path:
    """The self-taught pipeline up to its training rows: the loop's stages follow the others."""
    fs.make_dirs(folder)
    tree = experiment_tree("self-taught", [
        f"data.path={planted.tasks(folder)}", f"engines.policy={json.dumps(scripted(*rules))}",
        "stages.unique.near=null",
    ])
    loop = tree.pop("loop")
    tree["stages"] = [s for s in tree["stages"] if s["id"] not in ("modified", "general", "replay")] + [
        stage for stage in loop["stages"] if stage["id"] in ("judged", "kept", "sft", "dpo")
    ]
    return _driven(tree, folder / "run")


def _driven(tree: dict[str, Any], run: Path) -> Path:
    """Run it. A run that stops because no row is left has done what it should; its drops say why."""
    with Session(run, parse_experiment(tree), config="", command="pairgen audit --drill") as session:
        try:
            asyncio.run(session.run(lambda record: None))
        except UsageError as error:
            if "no row came through" not in str(error):
                raise
    return run


def _of(run: Path, name: str) -> list[Any]:
    """The rows of a step, by its name."""
    folders = (folder for folder, m in sealed_steps(run) if m.name == name)
    return list(chain.from_iterable(map(read_rows, folders)))


def _pairs(run: Path) -> list[Pair]:
    """The pairs of the last step that writes some."""
    steps = [folder for folder, m in sealed_steps(run) if m.row_class == "Pair" and m.rows]
    last = max(steps, key=lambda folder: (folder / "manifest.json").stat().st_mtime_ns, default=None)
    return list(read_rows(last)) if last else []


def _drops(run: Path, name: str | None) -> list[Drop]:
    return [drop for folder, m in sealed_steps(run) if name in (None, m.name) for drop in read_drops(folder)]


def _all_right(name: str, pairs: Sequence[Pair], expected: int) -> Check:
    """Every pair has the better text as chosen and the worse as rejected."""
    right = sum(_is_right(pair.chosen, pair.rejected) for pair in pairs)
    found = f"{right} of {max(len(pairs), expected)} the right way round"
    return Check(name, f"{expected} of {expected} the right way round", found)


def _is_right(chosen: str, rejected: str) -> bool:
    return "right" in chosen and "wrong" in rejected


def _orders(pairs: Iterable[Pair]) -> str:
    return "both" if {pair.order for pair in pairs} >= {"chosen_first", "rejected_first"} else "one order only"


def _none_but(name: str, run: Path, step: str | None, reasons: set[str]) -> Check:
    """No pair comes out, and every row that left says why."""
    drops = _drops(run, step)
    other = sorted({drop.reason for drop in drops} - reasons)
    found = f"no pair, {len(drops)} drops" + (f", some as {', '.join(other)}" if other else "")
    return Check(name, f"no pair, {TASKS} drops", f"{len(_pairs(run))} pairs" if _pairs(run) else found)


def _exported(run: Path, pairs: Sequence[Pair]) -> Iterator[Check]:
    """Handed on in each format and read as training reads it, the sides stay where they are."""
    step = next(folder for folder, m in sealed_steps(run) if m.name == "on-policy-pairs")
    for form in ("trl", "jsonl", "parquet"):
        out = run.parent / form
        files = export_step(step, Wanted(form, out)).files
        rows = [r for name in files if not name.startswith(("README", SIDE)) for r in open_data(out / name).rows]
        right = sum(isinstance(row, Preference) and _is_right(*_sides(row)) for row in rows)
        yield Check(f"exported as {form} and read for training", f"{len(pairs)} right", f"{right} right")


def _sides(row: Preference | Demonstration | Labelled) -> tuple[str, str]:
    assert isinstance(row, Preference)
    return row.chosen[-1].content, row.rejected[-1].content
