"""What must hold after any fault: the invariants I1 to I7, each a function that asserts one."""

import shutil
import sqlite3
import tempfile
from pathlib import Path

from fakellm import FakeLLM
from lab import CANARY, CONCURRENCY, REPLY_ID, Kill, Lab

from pairgen.store import read_drops, read_manifest, read_rows, sealed_steps, verify_step

IN_FLIGHT = 2 * CONCURRENCY  # rows at work, times the requests a judge makes for one
ONE_TO_ONE = ("answered", "judged")  # steps in which a row stays itself or is dropped


def journaled_ids(run: Path) -> set[str]:
    """The ids of all replies in a journal, read from a copy as the next process would find it."""
    with tempfile.TemporaryDirectory() as folder:
        for file in run.glob("journal.db*"):
            shutil.copy(file, folder)
        path = Path(folder) / "journal.db"
        if not path.exists():
            return set()
        connection = sqlite3.connect(path)
        try:
            raws = [raw for (raw,) in connection.execute("SELECT raw FROM replies")]
        except sqlite3.OperationalError:  # killed before the tables were made
            raws = []
        connection.close()
    return {found.decode() for raw in raws for found in REPLY_ID.findall(raw)}


def answers_are_kept(lab: Lab, kill: Kill) -> list[float]:
    """I1: all that the journal said it had kept is there; missing is at most what was in flight.

    Returns the ages of the replies that were still under way to the journal: on a machine with a core
    to spare a few milliseconds, on a starved one whatever the killed process had to wait.
    """
    kept = journaled_ids(lab.run)
    told = set(lab.acknowledged.read_text().split()) if lab.acknowledged.exists() else set()
    assert told <= kept, f"{len(told - kept)} of {len(told)} acknowledged answers lost"
    asked = {line["id"] for line in lab.server.lines("arrived") if line["t"] > kill.began}
    age = {line["id"]: kill.at - line["t"] for line in lab.server.lines("billed") if line["id"] in asked}
    lost = [age[id_] for id_ in age.keys() - kept]
    assert len(lost) <= IN_FLIGHT, f"{len(lost)} of {len(age)} answers lost"
    return lost


def only_flights_are_paid_twice(server: FakeLLM, kills: int) -> int:
    """I2: what was bought twice was in flight at one of the kills. Returns how many that were."""
    keys = [line["key"] for line in server.lines("billed")]
    twice = len(keys) - len(set(keys))
    assert twice <= kills * IN_FLIGHT, f"{twice} bought twice in {kills} kills"
    return twice


def every_row_is_accounted_for(run: Path) -> None:
    """I3: the rows a step read are the rows it wrote and the rows it dropped, by id."""
    steps = {manifest.name: (folder, manifest) for folder, manifest in sealed_steps(run)}
    for name in ONE_TO_ONE:
        folder, manifest = steps[name]
        (source,) = manifest.inputs
        before = sorted(row.id for row in read_rows(steps[source][0]))
        after = [row.id for row in read_rows(folder)] + [drop.row_id for drop in read_drops(folder)]
        assert sorted(after) == before, name


def same_result(run: Path, calm: Path) -> None:
    """I4: shards as of an undisturbed run, byte for byte, and manifests too but for their logs."""
    files = [{p.relative_to(r): p.read_bytes() for p in r.rglob("*.arrow")} for r in (run, calm)]
    assert sorted(files[0]) == sorted(files[1])
    assert files[0] == files[1]
    manifests = [dict(sealed_steps(r)) for r in (run, calm)]
    bare = [{f.name: m.model_copy(update={"log": None}) for f, m in each.items()} for each in manifests]
    assert bare[0] == bare[1]


def spending_is_told(run: Path, server: FakeLLM) -> None:
    """I5: the tokens the manifests tell are the tokens that were billed (of a run that never died)."""
    told = [m.log for _, m in sealed_steps(run)]
    billed = server.lines("billed")
    assert sum(log["requests"] for log in told) == len(billed)
    for count in ("prompt_tokens", "completion_tokens"):
        assert sum(log[count] for log in told) == sum(line[count] for line in billed), count


def checksums_hold(run: Path) -> None:
    """I6: every file a manifest names is as it was sealed."""
    for folder, _ in sealed_steps(run):
        verify_step(folder)


def no_key_in_any_file(root: Path) -> None:
    """I7: the key is in no file and no output."""
    for path in root.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def nothing_is_left_over(run: Path) -> None:
    """No temporary file and no unsealed step stays behind in a finished run."""
    assert not list(run.rglob(".*.tmp"))
    assert all(read_manifest(folder) is not None for folder in run.glob("*@*"))


def audit(lab: Lab, calm: Lab, kills: int = 0) -> int:
    """Everything that must hold of a finished run. Returns how many requests were bought twice."""
    twice = only_flights_are_paid_twice(lab.server, kills)
    every_row_is_accounted_for(lab.run)
    same_result(lab.run, calm.run)
    checksums_hold(lab.run)
    no_key_in_any_file(lab.root)
    nothing_is_left_over(lab.run)
    assert {line["key"] for line in lab.server.lines("billed")} == {
        line["key"] for line in calm.server.lines("billed")
    }
    return twice
