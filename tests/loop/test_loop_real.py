"""The loop on a real model: the shipped seed through the transformers engine, a few instructions."""

from pathlib import Path

import pytest
from loop_lab import contents, run

from pairgen.world import tasks

pytestmark = pytest.mark.engine
SMALL = (
    "engines.policy.use=transformers", "data.limit=40", "loop.train.max_steps=2", "loop.train.batch_size=8",
    "loop.stages.judged.n=2", "stages.training-pairs.share=0.2", "stages.heldout-pairs.share=0.2",
)
HELDOUT = "loop.evals=[{id: heldout, use: heldout, source: heldout-pairs, prompt: world/judge.md}]"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Sampling, training, swapping and judging with the new weights, twice."""
    for name in ("one", "two"):
        run("self-taught", tmp_path / name, *SMALL, HELDOUT, iters=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_loop_reads_no_ground_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answers of the world out of reach, an iteration judges, filters and trains all the same."""

    def refuse(*_: object) -> str:
        raise AssertionError("ground truth was read")

    for name in ("solve", "parse", "similar", "phrase", "sample_digits", "group"):
        monkeypatch.setattr(tasks, name, refuse)
    monkeypatch.setattr(tasks, "TASKS", ())
    monkeypatch.setattr(tasks, "BY_PHRASE", {})
    ran = run("self-taught", tmp_path / "run", *SMALL, HELDOUT, iters=1)
    assert ran.events["it1-train"].state == "done"
    truth = "loop.evals=[{id: other, use: world-judging, group: other, n: 4}]"
    with pytest.raises(AssertionError, match="ground truth was read"):
        run("self-taught", tmp_path / "run", *SMALL, truth, iters=1)
