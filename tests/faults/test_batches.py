"""The Batch API against a server that keeps its own ledger: nothing is submitted twice, whatever happens."""

from collections import Counter
from collections.abc import Callable

import oracle
import pytest
from lab import Lab
from tenacity.wait import wait_random_exponential

Make = Callable[..., Lab]
BATCH = {"engine": {"batch": True, "batch_size": 40, "batch_poll": 0.05}}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is closed after a tenth of a second in which nothing was added, and what failed goes into the next
    at once; a run waits two seconds, and half a second and more."""
    monkeypatch.setattr("pairgen.engines._batch.GATHER", 0.1)
    monkeypatch.setattr("pairgen.engines._call.BACKOFF", wait_random_exponential(multiplier=0.02, max=0.1))


def _once(lab: Lab, calm: Lab) -> None:
    """Every request was billed once, and the files are those of a run without batches."""
    made = Counter(line["key"] for line in lab.server.lines("batch"))
    assert made
    assert set(made.values()) == {1}, made
    assert set(Counter(line["key"] for line in lab.server.lines("billed")).values()) == {1}
    oracle.audit(lab, calm)


def test_batches_give_the_same_bytes(calm: Lab, make_lab: Make) -> None:
    """A run by batches, some of whose lines fail at first, ends with the bytes of a run by single calls."""
    lab = make_lab("batch", changes=BATCH)
    done = lab.struck(None)
    assert done.code == 0, done.out
    assert not lab.server.lines("arrived")
    _once(lab, calm)


@pytest.mark.parametrize("point", ["batch.uploaded:1:kill", "batch.made:1:kill", "batch.made:2:kill"])
def test_killed_around_the_making_of_a_batch(calm: Lab, make_lab: Make, point: str) -> None:
    """Killed before or after the provider made the batch, the next process finds it or makes it."""
    lab = make_lab("killed", changes=BATCH)
    assert lab.struck(point).code == -9
    done = lab.struck(None)
    assert done.code == 0, done.out
    _once(lab, calm)


def test_killed_while_batches_are_worked_on(calm: Lab, make_lab: Make) -> None:
    """Killed after a batch was made, the next process waits for that one."""
    lab = make_lab("waiting", changes=BATCH)
    assert lab.kill_when(lambda: bool(lab.server.lines("batch"))) is not None
    assert lab.struck(None).code == 0
    _once(lab, calm)


def test_the_answer_to_the_making_is_lost(calm: Lab, make_lab: Make) -> None:
    """When the connection is cut while a batch is made, it is looked for before another is made."""
    lab = make_lab("lost", changes=BATCH)
    lab.server.faults("lost-batch")
    done = lab.struck(None)
    assert done.code == 0, done.out
    _once(lab, calm)


def test_from_batches_to_single_calls(calm: Lab, make_lab: Make) -> None:
    """What batches brought is not asked again by a run without them."""
    lab = make_lab("moved", changes=BATCH)
    assert lab.struck(None).code == 0
    billed = lab.server.billed
    for folder in lab.run.glob("*@*"):
        (folder / "manifest.json").unlink()
    lab.changes = {}
    assert lab.struck(None).code == 0
    assert lab.server.billed == billed
    oracle.same_result(lab.run, calm.run)
