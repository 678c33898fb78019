"""What a step paid is told once, whatever it is called."""

import json
from pathlib import Path

from loop_lab import run

from pairgen.journal import read_spent
from pairgen.store import Manifest, sealed_steps

ROWS = 12


def pipeline(folder: Path, *names: str) -> str:
    """A pipeline that answers `ROWS` prompts in one step for each name, all of one identity."""
    (folder / "in.jsonl").write_text("".join(f'"Question {i}?"\n' for i in range(ROWS)))
    stages = [{"id": name, "use": "respond", "engine": "policy", "source": "data"} for name in names]
    engine = {"use": "scripted", "default": "It depends."}
    path = folder / "p.yaml"
    path.write_text(json.dumps({
        "name": "p", "engines": {"policy": engine}, "data": {"path": str(folder / "in.jsonl")}, "stages": stages,
    }))
    return str(path)


def logs(folder: Path) -> dict[str, Manifest]:
    return {manifest.name: manifest for _, manifest in sealed_steps(folder / "run")}


def test_a_renamed_step_tells_only_what_it_asked(tmp_path: Path) -> None:
    """The same requests under another name: all from the journal, and the sum over all steps is what was sent."""
    run(pipeline(tmp_path, "first"), tmp_path / "run")
    run(pipeline(tmp_path, "second"), tmp_path / "run")
    found = logs(tmp_path)
    assert found["first"].digest == found["second"].digest
    assert (found["first"].log["requests"], found["first"].log["reused"]) == (ROWS, 0)
    assert (found["second"].log["requests"], found["second"].log["reused"]) == (0, ROWS)
    assert read_spent(tmp_path / "run" / "journal.db").requests == ROWS


def test_two_steps_of_one_identity_share_the_bill(tmp_path: Path) -> None:
    """In one pipeline too: the first pays, the second reads."""
    run(pipeline(tmp_path, "one", "two"), tmp_path / "run")
    assert [logs(tmp_path)[name].log["requests"] for name in ("one", "two")] == [ROWS, 0]
