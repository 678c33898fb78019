"""`pairgen audit` with models, and its drill: what is said, and what cannot work is one line."""

import json
from pathlib import Path

import pytest
from loop_lab import pairgen

from pairgen.audit import drill as drilling
from pairgen.audit.drill import Check


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Thirty pairs of the embedded world's form."""
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"{1234 + i}: largest", "chosen": "=4", "rejected": f"={i % 4}"} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_drill_says_what_held_and_fails_with_3(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [Check("a judge", "24 right", "24 right"), Check("an export", "24 right", "0 right")]
    monkeypatch.setattr(drilling, "drill", lambda folder, hears: [hears(check) or check for check in told])
    said = pairgen(capfd, "audit", "--drill")
    assert said.code == 3
    assert said.out.splitlines() == [
        "ok    a judge", "WRONG an export: 0 right, must be 24 right", "1 of 2 planted things came out as they must",
    ]
    assert "1 of 2 checks" in said.line
    told.pop()
    said = pairgen(capfd, "audit", "--drill", "--json")
    assert said.code == 0
    assert json.loads(said.out) == [{"name": "a judge", "expected": "24 right", "found": "24 right", "held": True}]


@pytest.mark.engine
def test_a_policy_and_a_judge_read_the_pairs(
    pairs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = pairgen(capfd, "audit", pairs, "--model", "builtin:world/seed-a", "--judge", "builtin:world/seed-a",
                   "--engine", "transformers", "--prompt", "world/judge.md", "--workers", 1, "--json", "--quiet")
    assert said.code == 0, said.err
    found = json.loads(said.out)["datasets"][0]
    assert {stat["name"] for stat in found["model"]} == {
        "chosen_logp", "rejected_logp", "chosen_logp_token", "rejected_logp_token", "judge_prefers_chosen",
    }
    assert all(rate["n"] == 30 for rate in found["model_rates"])
    assert (tmp_path / "runs" / "audit").is_dir()


@pytest.mark.parametrize(("options", "said"), [
    (["--reference", "builtin:world/seed-a"], "go with --model"),
    (["--advise"], "go with --model"),
    (["--prompt", "judge.md"], "go with --judge"),
    (["--base-url", "http://127.0.0.1:9/v1"], "go with --judge"),
    (["--model", "builtin:world/seed-z"], "seed-z"),
    (["--judge", "x", "--engine", "vlm"], "vlm"),
])
def test_models_that_cannot_read_are_one_line(
    pairs: Path, options: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = pairgen(capfd, "audit", pairs, *options)
    assert found.code == 2
    assert said in found.line
