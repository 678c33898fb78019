"""A power cut at any moment leaves a step that is not sealed or one that is whole."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from crashstates import Disk, Op, outcomes, recorded

from pairgen.fingerprint import digest
from pairgen.records import Drop, Instruction, Message
from pairgen.store import Manifest, StepWriter, seal


def _write_step(folder: Path) -> None:
    with StepWriter(folder, Instruction, 2) as writer:
        for i in range(3):
            writer.add(Instruction(str(i), (Message("user", f"q{i}"),), "test"))
        writer.add(Drop("x", "load", "bad"))
        done = writer.close()
    identity = {"use": "load"}
    seal(folder, Manifest(
        name="load", use="load", identity=identity, digest=digest(identity), row_class=done.row_class,
        rows=done.rows, shards=done.shards, drop_shards=done.drop_shards, drops=done.drops, code_version="1",
    ))


def _fault(disk: Disk, folder: Path, promised: bool) -> str | None:
    """What is wrong with a disk, if anything."""
    text = disk.get(str(folder / "manifest.json"))
    if text is None:
        return "sealed and gone" if promised else None
    try:
        manifest = json.loads(text)
    except ValueError:
        return "torn manifest"
    names = {str(folder / s["name"]): s["sha256"] for s in manifest["shards"]}
    names |= {str(folder / "drops" / s["name"]): s["sha256"] for s in manifest["drop_shards"]}
    for name, expected in names.items():
        if sha256(disk.get(name, b"")).hexdigest() != expected:
            return "sealed, but a shard is missing or torn"
    return None


@pytest.fixture
def ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Op]:
    """What writing a step does to the disk."""
    with recorded(monkeypatch) as found:
        _write_step(tmp_path / "step")
        found.append(Op("done"))
    return found


def _faults(ops: list[Op], folder: Path) -> tuple[int, set[str]]:
    checked = [_fault(disk, folder, promised) for promised, disk in outcomes(ops)]
    return len(checked), {fault for fault in checked if fault}


def test_no_disk_is_wrong(ops: list[Op], tmp_path: Path) -> None:
    """No disk that a power cut may leave has a torn step, and none loses a step that was sealed."""
    states, faults = _faults(ops, tmp_path / "step")
    assert not faults
    assert states > 40


def _without(kind: str) -> Callable[[list[Op]], list[Op]]:
    return lambda ops: [op for op in ops if op.kind != kind]


def _folders_last(ops: list[Op]) -> list[Op]:
    last = [op for op in ops if op.kind == "sync_dir"]
    return [*_without("sync_dir")(ops)[:-1], *last, Op("done")]


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (_without("sync"), "torn manifest"),
        (_without("sync_dir"), "sealed and gone"),
        (_folders_last, "sealed, but a shard is missing or torn"),
    ],
)
def test_the_model_sees_each_mistake(
    ops: list[Op], tmp_path: Path, harm: Callable[[list[Op]], list[Op]], fault: str
) -> None:
    """Without the fsync of files, of folders, or with folders only at the end, the model finds the fault."""
    assert fault in _faults(harm(ops), tmp_path / "step")[1]
