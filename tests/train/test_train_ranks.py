"""Two processes under torchrun train as one does: the same losses, gradients, weights and files."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from many_ranks import BOTH, Job, rank, run
from safetensors.torch import load_file
from tiny_model import preferences

from pairgen.errors import UsageError
from pairgen.fingerprint import folder_digest
from pairgen.train.ranks import ALONE, Ranks, Turn

HERE = Path(__file__).parent


@dataclass
class Ended:
    """The exit code of each rank, and what they printed."""

    codes: list[int]
    said: list[str]


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["many_ranks", "peft", "torch.distributed.fsdp", "torch.distributed.tensor"])


def two_ranks(folder: Path, *jobs: Job, seconds: float = 120) -> Ended:
    """Two ranks that run some jobs. They are killed, and the test fails, when they hang."""
    path = written(folder, jobs)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [FORKS.Process(target=rank, args=(number, port, str(path))) for number in range(2)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
    logs = [Path(f"{path}.{number}").read_text() for number in range(2)]
    assert not hanging, "\n".join(logs)
    return Ended([process.exitcode for process in processes], said("".join(logs)))


def torchrun(*command: str) -> "subprocess.Popen[str]":
    """Two ranks under torchrun."""
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def written(folder: Path, jobs: Sequence[Job]) -> Path:
    """The file that ranks read their jobs from."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps([asdict(job) for job in jobs]))
    return folder / "jobs.json"


def said(text: str) -> list[str]:
    """What the ranks printed, torch's own lines apart."""
    return [line for line in text.splitlines() if line.startswith("rank ")]


UNSTEADY = {"seconds", "accuracy", "chosen_down"}
"""The clock, and shares that hang on the sign of a zero at the first step."""


def lines(folder: Path, name: str = "log") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in UNSTEADY and v is not None} for line in found]


def jobs(init: Path, folder: Path) -> list[Job]:
    """Trainings of every kind: losses of single rows and of many, adapters, references, shares of no tree."""

    def job(name: str, rows: str, objective: str, heldout: bool = False, reference: str | None = None,
            **options: Any) -> Job:
        return Job(str(init), str(folder / name), rows, {"objective": objective, **options}, reference, heldout)

    following = {"epochs": 2, "moving_reference": {"every": 2, "mix": 0.6}}
    kept = {"save_every": 1, "keep_last": 1, "keep_best": "loss", "heldout_every": 1}
    return [
        job("sft", "demonstrations", "sft"),
        job("rpo", "mixed", "rpo", heldout=True),
        job("kto", "labelled", "kto"),
        job("aot", "pairs", "aot", heldout=True, weight_decay=0.1),
        job("lora", "pairs", "dpo", lora={"r": 4}),
        job("moving", "pairs", "dpo", heldout=True, **following),
        job("lora-moving", "pairs", "dpo", lora={"r": 4}, **following),
        job("reference", "pairs", "dpo", reference=str(folder.parent / "one" / "sft")),
        job("checkpointing", "pairs", "simpo", gradient_checkpointing=True, optimizer="rmsprop"),
        job("bt", "pairs", "bt"),
        job("bf16", "pairs", "dpo", precision="bf16"),
        job("trees", "trees", "dpo"),
        job("one", "one", "dpo", epochs=3),
        job("three", "three", "aot", batch_size=3, micro_tokens=1),
        job("best", "pairs", "dpo", heldout=True, **kept),
    ]


KINDS = [Path(job.out).name for job in jobs(Path(), Path())]


@pytest.fixture(scope="module")
def done(init: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each job trained by one process in `one/` and by two in `two/`."""
    folder = tmp_path_factory.mktemp("ranks")
    for job in jobs(init, folder / "one"):
        run(job)
    process = torchrun(str(HERE / "many_ranks.py"), str(written(folder / "two", jobs(init, folder / "two"))))
    try:
        _, errors = process.communicate(timeout=240)
    finally:
        process.terminate()
    assert process.returncode == 0, errors[-3000:]
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_train_as_one_process_does(done: Path, kind: str) -> None:
    one, two = done / "one" / kind, done / "two" / kind
    assert len(lines(one)) == len(lines(two)) > 0
    assert kind in {"one", "three", "trees"} or lines(two)[0]["tokens"] > 320  # at least three micro-batches
    for a, b in zip(lines(one), lines(two), strict=True):
        assert a == pytest.approx(b, rel=0.03 if kind == "bf16" else 1e-4, abs=1e-5)
    a, b = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert {k: v.dtype for k, v in a.items()} == {k: v.dtype for k, v in b.items()}
    for name, weight in a.items():
        assert torch.allclose(weight, b[name], rtol=1e-4, atol=0.02 if kind == "bf16" else 1e-5), name
    files = [{str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} for out in (one, two)]
    assert files[0] == files[1]


@pytest.mark.parametrize("kind", ["rpo", "aot", "moving", "best"])
def test_two_ranks_see_the_same_held_out_numbers(done: Path, kind: str) -> None:
    one, two = lines(done / "one" / kind, "heldout"), lines(done / "two" / kind, "heldout")
    assert len(one) == len(two) >= 2
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)


def test_the_adapter_written_by_two_ranks_is_the_whole_one(done: Path) -> None:
    a, b = (load_file(done / n / "lora" / "adapter" / "adapter_model.safetensors") for n in ("one", "two"))
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[k], b[k], rtol=1e-4, atol=1e-5) for k in a)


def test_every_item_counts_once_and_all_ranks_take_as_many_turns() -> None:
    for size in (1, 2, 3, 5):
        for items in (["a"], ["a", "b"], [*"abcdefg"]):
            turns = [Ranks(rank, size).turns(items) for rank in range(size)]
            assert len({len(own) for own in turns}) == 1
            assert sorted(turn.item for own in turns for turn in own if turn.counts) == items
    assert Ranks(1, 2).turns(["a"]) == [Turn("a", False)]


def test_alone_nothing_is_asked_of_others() -> None:
    assert ALONE.gathered([1, 2]) == [1, 2]
    assert ALONE.map(lambda x: x + 1, [1, 2]) == [2, 3]
    assert ALONE.told(lambda: 3) == 3
    assert ALONE.agreed(None) is None


# --- ends ---------------------------------------------------------------------------------------------

DROPOUT = {"objective": "rpo", "epochs": 2, "checkpoint_every": 2, "lora": {"r": 4, "dropout": 0.2},
           "moving_reference": {"every": 4}}


@pytest.mark.faults
def test_ranks_killed_at_a_step_go_on_to_the_same_bits(init: Path, tmp_path: Path) -> None:
    """State kept every 2 of 6 steps, with dropout and a moving reference; killed after step 5, one rank after 3."""

    def job(name: str, *strike: Any) -> Job:
        return Job(str(init), str(tmp_path / name), "mixed", DROPOUT, heldout=True, strike=strike or None)

    calm, out = tmp_path / "calm", tmp_path / "killed"
    assert two_ranks(tmp_path / "a", job("calm")).codes == [0, 0]
    one_killed = two_ranks(tmp_path / "b", job("killed", "kill", 1, 3))
    assert one_killed.codes == [75, -9]
    assert "rank 0: another process of this training was ended" in one_killed.said[0]
    assert two_ranks(tmp_path / "b", job("killed", "kill", BOTH, 5)).codes == [-9, -9]
    assert [p.name for p in sorted(out.glob("resume-*/*"))] == ["COMPLETE", "progress.json", "rank-0", "rank-1"] * 2
    with pytest.raises(UsageError, match="was kept by a training of 2 processes, this one has 1"):
        run(job("killed"))
    assert two_ranks(tmp_path / "c", job("killed")).codes == [0, 0]
    assert folder_digest(out) == folder_digest(calm)
    assert lines(out) == lines(calm)
    assert lines(out, "heldout") == lines(calm, "heldout")
    assert not list(out.glob("resume-*"))


@pytest.mark.faults
@pytest.mark.parametrize("who", [0, 1, BOTH])
def test_a_stop_on_any_rank_ends_all_with_the_state_kept(init: Path, tmp_path: Path, who: int) -> None:
    out = tmp_path / "out"
    ended = two_ranks(tmp_path, Job(str(init), str(out), options={"checkpoint_every": 0}, strike=("stop", who, 2)))
    assert ended.codes == [75, 75]
    (line,) = ended.said
    assert line.endswith(": enough for now")
    assert who == BOTH or line.startswith(f"rank {who}")
    assert (out / "resume-2" / "COMPLETE").is_file()


def test_an_error_of_all_ranks_is_one_line(init: Path, tmp_path: Path) -> None:
    job = Job(str(init), str(tmp_path / "out"), options={"objective": "dpo", "lora": {"targets": ["query"]}})
    ended = two_ranks(tmp_path, job)
    assert ended.codes == [2, 2]
    (line,) = ended.said
    assert "lora.targets: no linear layer 'query'" in line


@pytest.mark.faults
def test_divergence_ends_all_ranks_with_one_line_and_good_weights(init: Path, tmp_path: Path) -> None:
    options = {"learning_rate": 1e30, "clip": 0.0, "epochs": 5}
    ended = two_ranks(tmp_path, Job(str(init), str(tmp_path / "out"), "demonstrations", options))
    assert ended.codes == [2, 2]
    (line,) = ended.said
    assert "training diverged" in line
    (kept,) = (tmp_path / "out").glob("checkpoint-*")
    assert all(torch.isfinite(weight).all() for weight in load_file(kept / "model.safetensors").values())


@pytest.mark.faults
def test_a_disk_error_of_one_rank_ends_all(init: Path, tmp_path: Path) -> None:
    """Rank 1 cannot write its slice: the other waits for it, and must not wait for ever."""
    job = Job(str(init), str(tmp_path / "out"), options={"checkpoint_every": 2}, strike=("full", 1, 1))
    ended = two_ranks(tmp_path, job)
    assert ended.codes[1] == 74
    assert ended.codes[0] != 0
    (line,) = ended.said
    assert line.startswith("rank 1: cannot write")


@pytest.mark.faults
def test_a_signal_to_torchrun_ends_the_command_on_all_ranks_with_the_state_kept(init: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps({
        "prompt": p.prompt[0].content, "chosen": p.chosen[0].content, "rejected": p.rejected[0].content,
    }) + "\n" for p in preferences(21)))
    process = torchrun("-m", "pairgen", "train", "--data", str(data), "--model", str(init), "--out", str(out),
                       "--objective", "dpo", "--set", "learning_rate=1e-4", "--set", "epochs=9999",
                       "--set", "batch_size=8")
    try:
        deadline = time.monotonic() + 120
        while not (out / "log.jsonl").is_file() or len(lines(out)) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
    found = [line for line in errors.splitlines() if line.startswith("pairgen: ")]
    assert found == ["pairgen: stopped: the state of the last step is kept; the same command goes on"]
    (kept,) = out.glob("resume-*")
    assert sorted(p.name for p in kept.iterdir()) == ["COMPLETE", "progress.json", "rank-0", "rank-1"]
    assert kept.name == f"resume-{lines(out)[-1]['step']}"
