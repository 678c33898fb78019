"""The real command, killed, starved and lied to: nothing paid for is lost, nothing is paid for twice.

`--fault-kills N --fault-seed S --fault-sweep N` make it longer; every failure prints its seed.
"""

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import oracle
import pytest
from lab import CONCURRENCY, Lab

from pairgen.store import sealed_steps

Make = Callable[..., Lab]
Option = Callable[[str, int], int]


def _keys(lab: Lab) -> Counter[str]:
    return Counter(line["key"] for line in lab.server.lines("billed"))


def _step(lab: Lab, name: str) -> Path:
    return next(folder for folder, manifest in sealed_steps(lab.run) if manifest.name == name)


# --- nothing wrong


def test_undisturbed(calm: Lab) -> None:
    """A run that nothing disturbs pays for each request once and tells its spending to the token."""
    assert set(_keys(calm).values()) == {1}
    oracle.spending_is_told(calm.run, calm.server)
    assert oracle.audit(calm, calm) == 0


def test_again_costs_nothing(calm: Lab) -> None:
    """A finished run that is run again, or whose shards are deleted, asks for nothing."""
    before = calm.server.billed
    calm.struck(None)
    for folder, _ in sealed_steps(calm.run):
        shutil.rmtree(folder)
    assert calm.struck(None).code == 0
    assert calm.server.billed == before
    oracle.checksums_hold(calm.run)


@pytest.mark.parametrize("concurrency", [1, 64])
def test_same_bytes_at_any_speed(calm: Lab, make_lab: Make, concurrency: int) -> None:
    """Concurrency and latency change nothing in any shard."""
    lab = make_lab("other", latency=(0.0, 0.01), changes={"engine": {"concurrency": concurrency}})
    assert lab.struck(None).code == 0
    oracle.audit(lab, calm)


# --- killed


def test_kills_at_random(calm: Lab, make_lab: Make, option: Option, rng: random.Random) -> None:
    """SIGKILL of the process group at random moments loses no kept answer and changes no byte."""
    wanted = option("kills", 6)
    total = twice = 0
    under_way: list[float] = []
    while total < wanted:
        lab, kills = make_lab(f"after-{total}"), 0
        for at in sorted(rng.sample(range(1, 110), min(wanted - total, 6))):
            kill = lab.kill_at(at)
            if kill is not None:
                kills += 1
                under_way += oracle.answers_are_kept(lab, kill)
        assert lab.struck(None).code == 0
        twice += oracle.audit(lab, calm, kills)
        total += kills
        lab.server.close()
    slow = sum(age > 0.05 for age in under_way)
    print(f"{total} kills: 0 kept answers lost, {twice} requests bought twice, {slow} replies over 50 ms under way")


KILL_POINTS = [
    "dir.make", "file.create", "file.write", "file.fsync", "file.rename", "file.dirsync", "file.done",
    "journal.create", "journal.begin", "journal.commit", "journal.committed", "loose.write",
    "shard.start", "shard.done", "manifest.write", "manifest.done",
]


def test_kill_at_every_named_point(calm: Lab, make_lab: Make, rng: random.Random) -> None:
    """Struck down at each named point in turn, one run folder survives them all."""
    lab, kills = make_lab("points"), 0
    for point in KILL_POINTS:
        done = lab.struck(f"{point}:{rng.randint(1, 3)}:kill")
        assert done.code in (0, -signal.SIGKILL), done.out
        kills += done.code != 0
        if done.code == 0:
            for folder in lab.run.glob("judged@*"):
                shutil.rmtree(folder)
    assert lab.struck(None).code == 0
    assert kills >= 10
    oracle.audit(lab, calm, kills)


def test_ctrl_c(calm: Lab, make_lab: Make) -> None:
    """Ctrl-C lets what is in flight come home, leaves with exit code 130, and nothing is bought twice."""
    lab = make_lab("interrupted", latency=(0.1, 0.4))
    for at in (10, 45, 70):
        running = lab.launch()
        while lab.server.billed < at:
            time.sleep(0.01)
        began = time.monotonic()
        running.signal(signal.SIGINT)
        done = running.wait()
        assert done.code == 130, done.out
        assert time.monotonic() - began < 5
        assert "same command goes on" in done.out
    assert lab.struck(None).code == 0
    assert oracle.audit(lab, calm) == 0


# --- started twice


def test_started_five_times(calm: Lab, make_lab: Make) -> None:
    """Of five launches one works; the others leave with code 75 naming it; nothing is bought twice."""
    lab = make_lab("double", latency=(0.1, 0.4))
    launches = []
    for gap in (0, 0.1, 0.3, 0.8, 1.0):
        time.sleep(gap)
        launches.append(lab.launch())
    ends = {launch.process.pid: launch.wait() for launch in launches}
    assert sorted(done.code for done in ends.values()) == [0, 75, 75, 75, 75]
    (winner,) = [pid for pid, done in ends.items() if done.code == 0]
    for pid, done in ends.items():
        assert pid == winner or f"in use by process {winner} " in done.out
    assert oracle.audit(lab, calm) == 0


def test_stale_lock(calm: Lab, make_lab: Make) -> None:
    """The lock of a killed process, or of a copied folder, keeps nobody out."""
    lab = make_lab("stale")
    kills = int(lab.kill_at(20) is not None)
    shutil.copytree(lab.run, lab.root / "copy")
    assert lab.struck(None).code == 0
    oracle.audit(lab, calm, kills)
    lab.place = lab.root / "copy"
    assert lab.struck(None).code == 0
    oracle.checksums_hold(lab.run)


# --- the input changes


def _appended(rows: list[str]) -> list[str]:
    return [*rows, "a new question"]


def _edited(rows: list[str]) -> list[str]:
    return [*rows[:7], "question 7, put differently", *rows[8:]]


def _deleted(rows: list[str]) -> list[str]:
    return rows[:4] + rows[9:]


def _shuffled(rows: list[str]) -> list[str]:
    return random.Random(1).sample(rows, len(rows))


@pytest.mark.parametrize(
    ("change", "pays"), [(_appended, (1, 5)), (_edited, (1, 5)), (_deleted, (0, 0)), (_shuffled, (0, 0))]
)
def test_a_change_pays_for_itself(
    make_lab: Make, change: Callable[[list[str]], list[str]], pays: tuple[int, int]
) -> None:
    """After a change of the input exactly the requests that a fresh run would not share are bought."""
    lab, fresh = make_lab("changed"), make_lab("fresh")
    assert lab.struck(None).code == 0
    before = _keys(lab)
    lab.rows = fresh.rows = change(lab.rows)
    assert lab.struck(None).code == 0
    assert fresh.struck(None).code == 0
    bought = _keys(lab) - before
    assert bought == _keys(fresh) - before
    assert pays[0] <= sum(bought.values()) <= pays[1]
    for folder, manifest in sealed_steps(fresh.run):
        other = lab.run / folder.name
        assert [(other / s.name).read_bytes() for s in manifest.shards] == [
            (folder / s.name).read_bytes() for s in manifest.shards
        ]


def test_more_samples_pay_for_the_new_ones(make_lab: Make) -> None:
    """Raising the judge's n from 4 to 8 asks once per judge request for the four new samples."""
    lab = make_lab("more", changes={"judge": {"n": 4}})
    assert lab.struck(None).code == 0
    before = lab.server.billed
    asked = sum(m.log["requests"] for _, m in sealed_steps(lab.run) if m.name == "judged")
    tokens = sum(line["completion_tokens"] for line in lab.server.lines("billed")[-asked:])
    lab.changes["judge"]["n"] = 8
    assert lab.struck(None).code == 0
    assert lab.server.billed - before == asked
    new = sum(line["completion_tokens"] for line in lab.server.lines("billed")[before:])
    assert 0.8 * tokens < new < 1.25 * tokens


def test_only_the_changed_step_is_asked_again(make_lab: Make) -> None:
    """Another temperature for the judge leaves the answers and pairs before it alone."""
    lab = make_lab("judge")
    assert lab.struck(None).code == 0
    before = lab.server.billed
    asked = sum(m.log["requests"] for _, m in sealed_steps(lab.run) if m.name == "judged")
    lab.changes["judge"] = {"sampling": {"temperature": 0.1, "max_tokens": 100}}
    assert lab.struck(None).code == 0
    assert lab.server.billed - before == asked


# --- the disk


def _assert_stopped_in_time(lab: Lab, code: int, out: str) -> None:
    assert code == 74, out
    assert "cannot write" in out
    assert str(lab.run) in out
    assert "Traceback" not in out
    bought = {line["id"] for line in lab.server.lines("billed")}
    assert len(bought - oracle.journaled_ids(lab.run)) <= oracle.IN_FLIGHT


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_disk_errors_at_any_write(make_lab: Make, option: Option, rng: random.Random, action: str) -> None:
    """Refused at the k-th write and ever after, it stops buying, says why, and goes on later."""
    few = [f"question {i}" for i in range(6)]
    calm = make_lab("calm", rows=few)
    assert calm.struck(None).code == 0
    last = _writes_of_a_run(make_lab("count", rows=few))
    wanted = option("sweep", 10) or last
    points = sorted(rng.sample(range(1, last), min(wanted, last - 1)))
    stopped = 0
    for k in points:
        lab = make_lab(f"k{k}", rows=few)
        done = lab.struck(f"*:{k}+:{action}")
        if done.code != 0:
            stopped += 1
            _assert_stopped_in_time(lab, done.code, done.out)
            assert lab.struck(None).code == 0
        oracle.audit(lab, calm, kills=1)
        lab.server.close()
    print(f"{action}: stopped at {stopped} of {len(points)} points among {last}")
    assert stopped * 2 >= len(points)  # a faster run writes less often, so late points may lie past its end


def _writes_of_a_run(lab: Lab) -> int:
    """How many failpoints a whole run passes, by bisection: the least k that strikes nothing."""
    low, high = 1, 512
    while low < high:
        k = (low + high) // 2
        shutil.rmtree(lab.run, ignore_errors=True)
        if lab.struck(f"*:{k}:kill").code == 0:
            high = k
        else:
            low = k + 1
    return low


@contextmanager
def _tiny_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk(calm: Lab, make_lab: Make) -> None:
    """On a disk that really fills up it stops within what was in flight, and goes on when there is room."""
    lab = make_lab("full")
    disk = lab.root / "disk"
    with _tiny_disk(disk, "200k"):
        lab.place = disk / "run"
        done = lab.struck(None)
        _assert_stopped_in_time(lab, done.code, done.out)
        assert "free some space" in done.out
        bought = lab.server.billed
        assert bought < calm.server.billed
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert lab.struck(None).code == 0
        oracle.audit(lab, calm, kills=1)


# --- damaged files


@pytest.mark.parametrize("harm", ["cut", "flip", "delete"])
def test_damaged_shard_is_refused(make_lab: Make, harm: str) -> None:
    """A shard that is not as sealed stops the step that reads it, by name and with code 74."""
    lab = make_lab("damaged")
    assert lab.struck(None).code == 0
    before = lab.server.billed
    shard = sorted(_step(lab, "pairs").glob("*.arrow"))[0]
    data = shard.read_bytes()
    shutil.rmtree(_step(lab, "judged"))
    if harm == "delete":
        shard.unlink()
    else:
        shard.write_bytes(data[:-9] if harm == "cut" else data[:700] + bytes([data[700] ^ 4]) + data[701:])
    done = lab.struck(None)
    assert done.code == 74
    assert str(shard) in done.out
    shutil.rmtree(shard.parent)
    assert lab.struck(None).code == 0
    assert shard.read_bytes() == data
    assert lab.server.billed == before


def test_damaged_manifest_is_refused(make_lab: Make) -> None:
    """A manifest with a changed byte stops the run, by name and with code 74."""
    lab = make_lab("damaged")
    assert lab.struck(None).code == 0
    path = _step(lab, "answered") / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"rows"', b'"rowz"', 1))
    done = lab.struck(None)
    assert done.code == 74
    assert str(path) in done.out


# --- the server


@pytest.mark.parametrize(("fault", "word"), [("401", "refuses the key"), ("quota", "quota")])
@pytest.mark.parametrize("after", [0, 40])
def test_dead_key_stops_at_once(calm: Lab, make_lab: Make, fault: str, word: str, after: int) -> None:
    """A dead key or an empty account costs one round of rejected calls; with a good key it goes on."""
    lab = make_lab("key", f"{fault}:{after}")
    done = lab.struck(None)
    assert done.code == 77, done.out
    assert word in done.out
    assert len(lab.server.lines("refused")) <= CONCURRENCY
    assert all(manifest.failed == 0 for _, manifest in sealed_steps(lab.run) if manifest.name == "answered")
    lab.server.faults()
    assert lab.struck(None).code == 0
    assert oracle.audit(lab, calm) == 0


def test_bad_weather(calm: Lab, make_lab: Make) -> None:
    """Rate limits, server errors, cut connections and replies with too few choices change no byte."""
    lab = make_lab("weather", "429:0:9", "500:0:13", "503:0:17", "reset:0:19")
    done = lab.struck(None)
    assert done.code == 0, done.out
    assert len(lab.server.lines("refused")) > 10
    assert len(lab.server.lines("reset")) > 1
    assert oracle.audit(lab, calm) == 0


def test_nonsense_costs_its_row(make_lab: Make) -> None:
    """A reply that is no JSON, or holds no choice, drops its row with the reason; the run completes."""
    lab = make_lab("nonsense", "junk:0:11", "empty:0:13")
    done = lab.struck(None)
    assert done.code == 0, done.out
    oracle.every_row_is_accounted_for(lab.run)
    assert sum(manifest.failed for _, manifest in sealed_steps(lab.run)) > 3
    lost = {line["id"] for line in lab.server.lines("billed")} - oracle.journaled_ids(lab.run)
    assert len(lost) <= lab.server.billed // 11 + 1


def test_hung_server_is_left(calm: Lab, make_lab: Make) -> None:
    """A server that accepts and never answers stops the run with code 75; later it goes on."""
    impatient = {"timeout": 1.0, "retries": 1, "retry_seconds": 1.0}
    lab = make_lab("hang", "hang:20", changes={"engine": impatient})
    began = time.monotonic()
    done = lab.struck(None)
    assert done.code == 75, done.out
    assert time.monotonic() - began < 15
    lab.server.faults()
    assert lab.struck(None).code == 0
    assert oracle.audit(lab, calm) == 0


def test_server_that_is_gone(make_lab: Make) -> None:
    """A server that cannot be reached is named, with code 75."""
    lab = make_lab("gone", changes={"engine": {"retries": 1, "retry_seconds": 1.0}})
    lab.server.close()
    done = lab.struck(None)
    assert done.code == 75
    assert "127.0.0.1" in done.out
