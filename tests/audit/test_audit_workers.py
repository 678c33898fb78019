"""Measuring in workers: the same numbers in the same order, little in flight, a clear line when one dies."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from audit_tables import columns

from pairgen.audit.columns import Columns, Measured
from pairgen.audit.contrast import contrast
from pairgen.audit.workers import IN_FLIGHT, measured
from pairgen.errors import Stopped

CHUNKS = 9


def chunks(read: list[int] | None = None) -> Iterator[Columns]:
    for at in range(CHUNKS):
        if read is not None:
            read.append(at)
        yield columns([("?", f"the answer {at} {i}", f"an answer {i}") for i in range(at + 1)])


def slowly(chunk: Columns) -> Measured:
    """The first chunks take longest, so that they are finished last."""
    time.sleep(0.2 if len(chunk) == 1 else 0)
    return {"size": np.full(len(chunk), len(chunk), np.float64), "worker": np.full(len(chunk), os.getpid(), np.float64)}


def dies(chunk: Columns) -> Measured:
    if len(chunk) == 6:
        os._exit(9)
    return {}


def fails(chunk: Columns) -> Measured:
    raise ValueError(f"no measure of {len(chunk)} rows")


def test_workers_change_nothing() -> None:
    """One process or three: the same columns in the order of the chunks, and never many chunks at once."""
    read: list[int] = []
    here = list(measured(chunks(), (contrast, slowly), 1))
    there, ahead = [], []
    for done in measured(chunks(read), (contrast, slowly), 3):
        there.append(done)
        ahead.append(len(read) - len(there))
    assert [len(done.chunk) for done in there] == list(range(1, CHUNKS + 1))
    for one, other in zip(here, there, strict=True):
        assert one.chunk.chosen == other.chunk.chosen
        for name in one.found.keys() - {"worker"}:
            np.testing.assert_array_equal(one.found[name], other.found[name])
    assert {done.found["worker"][0] for done in here} == {os.getpid()}
    assert os.getpid() not in {done.found["worker"][0] for done in there}
    assert max(ahead) <= IN_FLIGHT * 3


def test_a_few_chunks_start_no_worker() -> None:
    """Starting processes would take longer than measuring."""
    few = [columns([("?", "a", "b")])] * 4
    assert {done.found["worker"][0] for done in measured(few, (slowly,), 8)} == {os.getpid()}


def test_a_worker_that_dies_is_one_line() -> None:
    """The rows that were being measured are named, and what to do."""
    with pytest.raises(Stopped, match=r"^a worker died near row \d+, .*fewer than 2 workers \(--workers\)$"):
        list(measured(chunks(), (dies,), 2))


def test_a_measure_that_fails_is_not_hidden() -> None:
    """Its own exception arrives, with workers as without."""
    for workers in (1, 2):
        with pytest.raises(ValueError, match="no measure of 1 rows"):
            list(measured(chunks(), (fails,), workers))


def test_two_measures_of_one_name() -> None:
    """Nothing is silently written over."""
    with pytest.raises(ValueError, match="measured twice: size, worker"):
        list(measured(chunks(), (slowly, slowly), 1))


def test_workers_end_with_their_parent() -> None:
    """A parent that is killed leaves no worker behind."""
    code = (
        "import os, signal, sys\nsys.path.insert(0, 'tests/audit')\n"
        "from test_audit_workers import chunks, slowly\nfrom pairgen.audit.workers import measured\n"
        "if __name__ == '__main__':\n"
        "    running = measured(chunks(), (slowly,), 2)\n    first = next(running)\n"
        "    print(int(first.found['worker'][0]), flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    worker = int(script.stdout)
    for _ in range(100):
        if not _runs(worker):
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} still runs")


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
