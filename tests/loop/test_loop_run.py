"""The driver: the same seed gives the same bytes, nothing done is done again, nothing bought twice."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from loop_lab import contents, instructions, launch, run, steps, tree, write

from pairgen.errors import Stopped, UsageError
from pairgen.store import read_manifest


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed: `pipeline` beside its folder `run`."""
    root = tmp_path_factory.mktemp("calm")
    run(write(root), root / "run")
    return root


def test_the_same_seed_gives_the_same_bytes(calm: Path, tmp_path: Path) -> None:
    """Shards, checkpoints and manifests (but for their log) do not depend on when or where."""
    run(write(tmp_path / "elsewhere"), tmp_path / "run")
    again = contents(tmp_path / "run")
    assert again == contents(calm / "run")
    assert sum(name.endswith(".safetensors") for name in again) == 2


def test_another_seed_gives_other_bytes(calm: Path, tmp_path: Path) -> None:
    run(write(tmp_path), tmp_path / "run", "seed=4", iters=1)
    assert steps(calm / "run", "it1-judged")[0].name != steps(tmp_path / "run", "it1-judged")[0].name


def test_hash_seeds_do_not_matter(calm: Path, tmp_path: Path) -> None:
    """Nothing rests on the order of a set or on `hash`."""
    pipeline = write(tmp_path)
    process = launch("run", pipeline, "--run-dir", tmp_path / "run", "--quiet", PYTHONHASHSEED="77")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert contents(tmp_path / "run") == contents(calm / "run")


def test_a_finished_run_is_not_run_again(calm: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (calm / "run").glob("*@*/**/*")}
    again = run(calm / "small.yaml", calm / "run")
    assert again.states == {"reused"}
    assert again.asked == 0
    assert {p: p.stat().st_mtime_ns for p in (calm / "run").glob("*@*/**/*")} == before


def test_more_iterations_go_on_from_the_last(calm: Path, tmp_path: Path) -> None:
    """A loop of one, made a loop of two, is the loop of two."""
    pipeline = write(tmp_path)
    run(pipeline, tmp_path / "run", iters=1)
    went_on = run(pipeline, tmp_path / "run", iters=2)
    assert {e.state for name, e in went_on.events.items() if not name.startswith("it2")} == {"reused"}
    assert contents(tmp_path / "run") == contents(calm / "run")


def test_more_samples_ask_only_for_the_new_ones(tmp_path: Path) -> None:
    pipeline = write(tmp_path)
    few = run(pipeline, tmp_path / "run", iters=1)
    many = run(pipeline, tmp_path / "run", "loop.stages.judged.n=8", iters=1)
    judged, before = many.events["it1-judged"].usage, few.events["it1-judged"].usage
    pairs = many.events["training-pairs"].rows
    assert (judged.reused, judged.requests) == (4 * 2 * pairs, 2 * pairs)
    assert before.requests == 2 * pairs
    assert {name for name, e in many.events.items() if e.state == "reused"} == {
        "data", "tagged", "answered", "pairs", "training-pairs", "heldout-pairs", "it0-heldout",
    }


def test_one_more_instruction_asks_only_for_it(tmp_path: Path) -> None:
    pipeline = write(tmp_path)
    run(pipeline, tmp_path / "run", iters=1)
    with (tmp_path / "instructions.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in instructions(1, first=20))
    more = run(pipeline, tmp_path / "run", iters=1)
    assert [more.events[name].usage.requests for name in ("tagged", "answered", "pairs")] == [1, 1, 1]
    assert more.events["it1-judged"].usage.requests in (0, 2)  # none where the new pair is held out


def test_the_folder_and_the_model_may_be_moved(calm: Path, tmp_path: Path) -> None:
    """A model is known by its files and a run by its content: another place changes nothing."""
    from pairgen.resources import resolve

    copy = tmp_path / "another-name"
    copy.mkdir()
    for file in resolve("builtin:world/seed-a").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    run(write(tmp_path / "a"), tmp_path / "first", iters=1)
    (tmp_path / "first").rename(tmp_path / "second")
    moved = run(tmp_path / "a" / "small.yaml", tmp_path / "second", f"engines.policy.model={copy}", iters=1)
    assert moved.states == {"reused"}


@pytest.mark.faults
@pytest.mark.parametrize("point", ["journal.committed:4", "file.rename:8", "file.write:25"])
def test_a_killed_run_ends_with_the_same_bytes(calm: Path, tmp_path: Path, point: str) -> None:
    """`kill -9` in a stage, at the journal, before a seal: the same command gives the undisturbed run."""
    pipeline, folder = write(tmp_path), tmp_path / "run"
    killed = launch("run", pipeline, "--run-dir", folder, "--quiet", PAIRGEN_FAILPOINT=point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    run(pipeline, folder)
    assert contents(folder) == contents(calm / "run")


@pytest.mark.faults
def test_a_run_killed_in_training_goes_on_from_its_state(tmp_path: Path) -> None:
    """The steps done are not taken again, and the weights are those of the undisturbed run."""
    config = tree(iters=1)
    config["loop"]["train"] |= {"max_steps": 12, "epochs": 12, "checkpoint_every": 3}
    pipeline = write(tmp_path / "calm", config)
    run(pipeline, tmp_path / "undisturbed")
    point = "log.append:8"
    killed = launch("run", pipeline, "--run-dir", tmp_path / "run", "--quiet", PAIRGEN_FAILPOINT=point)
    killed.communicate(timeout=60)
    (training,) = steps(tmp_path / "run", "it1-train")
    assert (training / "resume-6").is_dir()
    went_on = run(pipeline, tmp_path / "run")
    assert went_on.events["it1-train"].done == 12
    assert [json.loads(line)["step"] for line in (training / "log.jsonl").open()] == list(range(1, 13))
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")


@pytest.mark.faults
@pytest.mark.parametrize(("signaled", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_stop_keeps_what_was_answered(tmp_path: Path, signaled: signal.Signals, code: int) -> None:
    """One line, the right code, within ten seconds; the same command completes."""
    config = tree(iters=1, latency=0.2, concurrency=2)
    pipeline, folder = write(tmp_path, config), tmp_path / "run"
    process = launch("run", pipeline, "--run-dir", folder)
    _wait_for(folder / "journal.db", process, steps_sealed=2)
    began = time.monotonic()
    process.send_signal(signaled)
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode == code, err
    assert [line for line in err.splitlines() if "stopped" in line] == [
        "pairgen: stopped: every answer received is kept; the same command goes on"
    ]
    assert "Traceback" not in err
    run(pipeline, folder, "engines.policy.latency=0")


@pytest.mark.faults
def test_a_stop_in_training_stores_the_state_first(tmp_path: Path) -> None:
    config = tree(iters=1)
    config["loop"]["train"] |= {"max_steps": None, "epochs": 5000, "checkpoint_every": 0}
    pipeline, folder = write(tmp_path, config), tmp_path / "run"
    process = launch("run", pipeline, "--run-dir", folder)
    log = None
    while process.poll() is None and not (log and log.read_bytes().count(b"\n") > 3):
        log = next(folder.glob("it1-train@*/log.jsonl"), None) if folder.exists() else None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert (process.returncode, time.monotonic() - began < 10) == (130, True), err
    (state,) = folder.glob("it1-train@*/resume-*")
    assert (state / "COMPLETE").is_file()


def test_a_folder_in_use_is_refused_at_once(tmp_path: Path) -> None:
    """The second launch names the first and leaves everything alone."""
    pipeline, folder = write(tmp_path, tree(iters=1, latency=5.0)), tmp_path / "run"
    first = launch("run", pipeline, "--run-dir", folder)
    try:
        _wait_for(folder / "journal.db", first, steps_sealed=1)
        before = (folder / "config.yaml").read_bytes()
        began = time.monotonic()
        with pytest.raises(Stopped, match=f"in use by process {first.pid} "):
            run(pipeline, folder, "seed=9")
        assert time.monotonic() - began < 1
        assert (folder / "config.yaml").read_bytes() == before
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()


def test_a_model_without_verdicts_trains_nothing(tmp_path: Path) -> None:
    """One line names the step and the reason; no training step exists."""
    config = tree()
    config["engines"]["policy"]["replies"][2] = {"match": "^judge\n", "reply": "I could not say."}
    with pytest.raises(UsageError, match=r"it1-kept: no row came through \(unparsed \d+\)") as stopped:
        run(write(tmp_path, config), tmp_path / "run")
    assert "\n" not in str(stopped.value)
    assert stopped.value.exit_code == 2
    assert not steps(tmp_path / "run", "it1-train")


def test_an_export_nobody_reads_may_be_empty(tmp_path: Path) -> None:
    """A perfect judge leaves no wrong judgment for DPO rows, which is no reason to stop SFT."""
    config = tree(iters=1)
    config["engines"]["policy"]["replies"][2] = {"match": r"^judge\n.*\n=1 \(A\)", "reply": "[[A]]"}
    config["engines"]["policy"]["default"] = "=1"
    config["engines"]["policy"]["replies"].append({"match": "^judge\n", "reply": "[[B]]"})
    run(write(tmp_path, config), tmp_path / "run")
    (dpo,) = steps(tmp_path / "run", "it1-dpo")
    manifest = read_manifest(dpo)
    assert manifest is not None
    assert manifest.rows == 0


def _wait_for(path: Path, process: "subprocess.Popen[str]", steps_sealed: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and len(list(path.parent.glob("*/manifest.json"))) >= steps_sealed:
            return
        time.sleep(0.02)
    raise AssertionError(f"never got so far: {process.communicate()}")
