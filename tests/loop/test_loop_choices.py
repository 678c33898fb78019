"""What the options of a loop do, seen in what a run makes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from loop_lab import REPLIES, contents, instructions, run, steps, tree, write

from pairgen.errors import UsageError
from pairgen.loop.config import load_experiment
from pairgen.loop.plan import in_short, plan_lines
from pairgen.loop.steps import program
from pairgen.resources import ROOT
from pairgen.store import read_manifest, read_rows

CRITIC = {"use": "scripted", "replies": [{"match": "^judge\n", "reply": ["so: [[A]]", "so: [[B]]"]}]}
SHIPPED = sorted(path.stem for path in (ROOT / "pipelines").glob("*.yaml"))


def texts(folder: Path) -> set[str]:
    """What the judge said in a step."""
    return {judgment.text for row in read_rows(folder) for judgment in row.judgments}


def test_first_judge_judges_once(tmp_path: Path) -> None:
    """Another engine judges iteration 1; from then on the policy does, with its new weights."""
    config = tree()
    config["engines"]["critic"] = CRITIC
    config["loop"]["first_judge"] = "critic"
    run(write(tmp_path, config), tmp_path / "run")
    first, second = (steps(tmp_path / "run", f"it{i}-judged")[0] for i in (1, 2))
    assert texts(first) == {"so: [[A]]", "so: [[B]]"}
    assert texts(second) <= set(REPLIES[2]["reply"])


def test_pairs_are_made_once_unless_asked_otherwise(tmp_path: Path) -> None:
    """Fresh pairs come from fresh answers; what is measured stays the same in every iteration."""
    config = tree()
    once = run(write(tmp_path, config), tmp_path / "once")
    assert not [name for name in once.events if name.endswith("-pairs") and name.startswith("it2")]
    config["loop"]["fresh_pairs"] = True
    config["engines"]["policy"]["replies"] = [
        *REPLIES, {"match": ": largest$", "reply": ["=1", "=2", "=3", "=4"]},
    ]
    fresh = run(write(tmp_path, config), tmp_path / "fresh")
    assert "it2-tagged" not in fresh.events
    names = ("training-pairs", "it2-training-pairs")
    old_rows, new_rows = (list(read_rows(steps(tmp_path / "fresh", name)[0])) for name in names)
    assert {p.id for p in old_rows} != {p.id for p in new_rows}
    assert {p.instruction.id for p in old_rows} == {p.instruction.id for p in new_rows}
    judged = read_manifest(steps(tmp_path / "fresh", "it2-judged")[0])
    measured = read_manifest(steps(tmp_path / "fresh", "it2-heldout")[0])
    assert judged is not None
    assert measured is not None
    assert list(judged.inputs) == ["it2-training-pairs"]
    assert list(measured.inputs) == ["heldout-pairs"]


def test_training_starts_where_init_says(tmp_path: Path) -> None:
    """From the seed both iterations' weights are one step from it; from the previous they add up."""
    pipeline = write(tmp_path)
    run(pipeline, tmp_path / "seed")
    run(pipeline, tmp_path / "previous", "loop.init=previous")
    one, other = contents(tmp_path / "seed"), contents(tmp_path / "previous")

    def weights(found: dict[str, str], iteration: int) -> str:
        return next(v for k, v in found.items() if k.startswith(f"it{iteration}-train@") and "model.saf" in k)

    assert weights(one, 1) == weights(other, 1)
    assert weights(one, 2) != weights(other, 2)


def test_the_gate_stops_a_loop_that_gains_nothing(tmp_path: Path) -> None:
    config = tree(iters=4)
    config["loop"]["gate"] = {"eval": "heldout", "min_gain": 0.01}
    ran = run(write(tmp_path, config), tmp_path / "run")
    assert [record.iteration for record in ran.outcome.iterations] == [0, 1]
    assert ran.outcome.stopped == "heldout consistent_accuracy gained +0.000, less than 0.01"
    assert not steps(tmp_path / "run", "it2-judged")


def test_a_suite_of_a_file_is_a_suite_of_the_loop(tmp_path: Path) -> None:
    """Pairs of a file are planned as they are asked, reported, and stop the loop; what two suites share is asked once.

    The scripted judge's first reply to a judgment is always A, so one order of each pair is right.
    """
    data = tmp_path / "own.jsonl"
    data.write_text("".join(
        json.dumps({"prompt": f"{i}: largest", "chosen": f"={i}", "rejected": "=0"}) + "\n" for i in range(1, 9)
    ))
    config = tree(iters=3)
    asked = {"use": "pairs", "path": str(data), "prompt": "world/judge.md"}
    config["loop"]["evals"] = [
        {"id": "few", **asked, "limit": 3, "goal": False}, {"id": "own", "title": "my pairs", **asked},
    ]
    config["loop"]["gate"] = {"eval": "own", "metric": "accuracy", "min_gain": 0.1}
    pipeline, folder = write(tmp_path, config), tmp_path / "run"
    experiment = load_experiment(str(pipeline))
    lines = {line.step: line for line in plan_lines(experiment, program(experiment), folder)}
    assert [(lines[name].samples, lines[name].exact) for name in ("it0-few", "it0-own")] == [(6, True), (16, True)]
    ran = run(pipeline, folder)
    assert ran.outcome.stopped == "own accuracy gained +0.000, less than 0.1"
    assert [ran.events[name].usage.requests for name in ("it0-few", "it1-few", "it1-own")] == [6, 6, 10]
    found = ran.outcome.iterations[1].evals
    assert (found["few"]["accuracy"]["n"], found["own"]["accuracy"]["n"]) == (3, 8)
    page = (folder / "report.html").read_text()
    assert "my pairs" in page
    assert "The loop stopped early: own accuracy gained +0.000, less than 0.1." in page


def test_the_gate_is_patient(tmp_path: Path) -> None:
    config = tree(iters=4)
    config["loop"]["gate"] = {"eval": "heldout", "min_gain": 0.01, "patience": 2}
    ran = run(write(tmp_path, config), tmp_path / "run")
    assert [record.iteration for record in ran.outcome.iterations] == [0, 1, 2]


def test_a_gate_on_nothing_is_a_mistake(tmp_path: Path) -> None:
    config = tree(iters=1)
    config["loop"]["gate"] = {"eval": "held-out"}
    with pytest.raises(UsageError, match=r"no evaluation 'held-out' in loop.evals: did you mean 'heldout'\?"):
        run(write(tmp_path, config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config["loop"]["gate"] = {"eval": "heldout", "metric": "consistent_acuracy"}
    with pytest.raises(UsageError, match=r"gave no 'consistent_acuracy': did you mean 'consistent_accuracy'\?"):
        run(write(tmp_path, config), tmp_path / "run")


def test_overrides_are_recorded(tmp_path: Path) -> None:
    run(write(tmp_path), tmp_path / "run", "loop.stages.judged.n=2", "loop.train.max_steps=1", iters=1)
    recorded = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert recorded["loop"]["iters"] == 1
    assert recorded["loop"]["train"]["max_steps"] == 1
    assert recorded["loop"]["stages"][0]["n"] == 2


def test_the_record_of_an_iteration(tmp_path: Path) -> None:
    """Everything a loop is explained by, one line an iteration, as plain JSON."""
    ran = run(write(tmp_path), tmp_path / "run")
    lines = (tmp_path / "run" / "iterations.jsonl").read_text().splitlines()
    seed, first, second = map(json.loads, lines)
    assert seed["data"] is None
    assert seed["change"] == {}
    data = first["data"]
    pairs = ran.events["training-pairs"].rows
    assert (data["pairs"], data["judgments"]) == (pairs, 8 * pairs)
    assert set(data["agreement"]) == {"chosen_first", "rejected_first"}
    assert 0 < data["parse_rate"] < 1
    assert data["kept_judgments"] == sum(data["labels_after"].values())
    assert data["dropped_for_balance"] == ran.events["it1-kept"].drops
    assert isinstance(data["length_gap"], float)
    assert set(first["change"]["heldout"]) == {"diff", "low", "high", "n"}
    assert second["change"]["heldout"]["diff"] == 0.0
    assert set(first["tokens"]) == {"it1-judged", "it1-heldout"}
    assert {"it1-judged", "it1-train", "it1-heldout"} <= set(first["seconds"])
    assert first["training"]["steps"] == 2


def by_step(pipeline: Path, folder: Path, *sets: str, iters: int | None = None) -> dict[str, Any]:
    """The plan, line by line."""
    experiment = load_experiment(str(pipeline), sets, iters)
    return {line.step: line for line in plan_lines(experiment, program(experiment), folder)}


def test_the_plan_counts_what_the_journal_has(tmp_path: Path) -> None:
    """Exact where inputs and weights are known; an estimate, marked, where they are not."""
    pipeline, folder = write(tmp_path), tmp_path / "run"
    new = by_step(pipeline, folder, iters=1)
    assert (new["tagged"].samples, new["tagged"].exact) == (20, False)
    ran = run(pipeline, folder, iters=1)
    pairs = ran.events["training-pairs"].rows
    assert {line.state for line in by_step(pipeline, folder, iters=1).values()} == {"done"}
    more = by_step(pipeline, folder, "loop.stages.judged.n=6", iters=1)
    judged = more["it1-judged"]
    assert (judged.state, judged.exact) == ("changed", True)
    assert (judged.samples, judged.answered, judged.to_ask) == (12 * pairs, 8 * pairs, 4 * pairs)
    assert judged.why == ("options.n: 4 -> 6",)
    assert more["it1-kept"].why == ("other inputs",)
    assert not more["it1-heldout"].exact
    second = by_step(pipeline, folder, iters=2)
    assert (second["it2-judged"].answered, second["it2-judged"].exact) == (0, True)


def test_the_plan_in_short(tmp_path: Path) -> None:
    pipeline, folder = write(tmp_path), tmp_path / "run"
    assert in_short(by_step(pipeline, folder, iters=1).values()).startswith("0 of 13 steps are done; ~")
    run(pipeline, folder, iters=1)
    assert in_short(by_step(pipeline, folder, iters=1).values()) == "13 of 13 steps are done; nothing to do"


def test_the_plan_of_a_lost_manifest_asks_nothing(tmp_path: Path) -> None:
    """An unsealed step whose answers are all in the journal costs no request."""
    pipeline, folder = write(tmp_path), tmp_path / "run"
    run(pipeline, folder, iters=1)
    (steps(folder, "it1-judged")[0] / "manifest.json").unlink()
    judged = by_step(pipeline, folder, iters=1)["it1-judged"]
    assert (judged.state, judged.to_ask) == ("new", 0)
    assert run(pipeline, folder, iters=1).asked == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_pipeline_is_planned(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, on a small file, before any model or server is there."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("planning opened a connection"))
    data = tmp_path / "mine.jsonl"
    more = {"answer": "#### 1", "completions": ["a", "b"]}  # what some pipelines read beside the instruction
    data.write_text("".join(json.dumps({**row, **more}) + "\n" for row in instructions(3)))
    lines = by_step(Path(name), tmp_path / "run", f"data.path={data}")
    assert lines["data"].rows == 3
    assert list(lines.values())[-1].state == "new"
