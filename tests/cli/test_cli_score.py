"""`pairgen score` as a user types it: rows come back with their scores, and the file reads as training data."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

import pyarrow.parquet as pq
import torch
from loop_lab import Said, pairgen
from tiny_model import build_model, turns

from pairgen.train.annotator import RewardModel
from pairgen.train.read import read_rows

Cli = Callable[..., Said]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    return lambda *args: pairgen(capfd, *args)


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def pairs(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{i}: ?", "chosen": f"={i % 10} (A)", "rejected": "?" * (1 + i % 7)} for i in range(n)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny language model."""
    torch.set_num_threads(1)
    return build_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def rm(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model, made by the verb train."""
    from typer.testing import CliRunner

    from pairgen.cli import app

    root = tmp_path_factory.mktemp("rm")
    data = jsonl(root / "pairs.jsonl", pairs(32))
    done = CliRunner().invoke(app, [
        "train", "--data", str(data), "--model", str(model), "--out", str(root / "out"), "--objective", "bt",
        "--set", "learning_rate=5e-3", "--set", "batch_size=8", "--set", "epochs=3", "-q",
    ], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return root / "out"


def test_pairs_get_the_scores_of_the_model(cli: Cli, rm: Path, tmp_path: Path) -> None:
    data, out = jsonl(tmp_path / "pairs.jsonl", pairs(300)), tmp_path / "scored.jsonl"
    said = cli("score", data, "--model", rm, "--out", out)
    assert said.code == 0, said.err
    rows = list(read_rows(out))
    assert len(rows) == 300
    model = RewardModel.load(rm)
    for name in ("chosen", "rejected"):
        by_api = model.score([row.prompt + getattr(row, name) for row in rows])
        assert [getattr(row, f"{name}_score") for row in rows] == pytest.approx(by_api, abs=1e-6)
    wins = sum(row.chosen_score > row.rejected_score for row in rows)
    assert f"accuracy: {wins / 300:.4f} ± " in said.out
    assert "(n = 300;" in said.out
    assert wins > 290
    assert "in prompt trees" in said.err


def test_parquet_has_the_same_rows(cli: Cli, rm: Path, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "pairs.jsonl", [{**row, "gold": "!", "policy_score": 0.5} for row in pairs(5)])
    for name in ("a.jsonl", "a.parquet"):
        assert cli("score", data, "--model", rm, "--out", tmp_path / name, "-q").code == 0
    first, second = (list(read_rows(tmp_path / name)) for name in ("a.jsonl", "a.parquet"))
    assert first == second
    assert first[0].policy_score == 0.5
    assert first[0].gold is not None
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("chosen_score").type == "double"
    assert table.num_rows == 5


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_unpaired_and_chat_rows_get_one_score(cli: Cli, rm: Path, tmp_path: Path, suffix: str) -> None:
    unpaired = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}]
    chats = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    scores = RewardModel.load(rm)
    for name, records in (("unpaired", unpaired), ("chats", chats)):
        data, out = jsonl(tmp_path / f"{name}.jsonl", records), tmp_path / f"{name}-out.{suffix}"
        said = cli("score", data, "--model", rm, "--out", out, "--json")
        assert json.loads(said.out)["rows"] == len(records)
        found = ([json.loads(line) for line in out.read_text().splitlines()] if suffix == "jsonl"
                 else pq.read_table(out).to_pylist())
        rows = list(read_rows(out))
        whole = [r.messages if name == "chats" else r.prompt + r.completion for r in rows]
        assert [record["score"] for record in found] == pytest.approx(scores.score(whole), abs=1e-6)
        if name == "unpaired":
            assert [record["label"] for record in found] == [True, False]


def test_what_cannot_be_scored_is_counted_and_kept(cli: Cli, rm: Path, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "pairs.jsonl", [*pairs(2), {"prompt": "x", "chosen": "y" * 400, "rejected": "z"}])
    said = cli("score", data, "--model", rm, "--out", tmp_path / "out.jsonl")
    assert said.code == 0
    assert "unscored: too-long 1" in said.out
    assert "n = 2;" in said.out
    rows = list(read_rows(tmp_path / "out.jsonl"))
    assert rows[2].chosen_score is None
    assert rows[2].rejected_score is not None


def test_the_policys_own_answers_are_scored_and_drawn_once(cli: Cli, model: Path, rm: Path, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "pairs.jsonl", pairs(4) * 2)
    asked = ("score", data, "--model", rm, "--samples", 3, "--policy", model, "--engine", "transformers")
    said = cli(*asked, "--out", tmp_path / "out.jsonl")
    assert said.code == 0, said.err
    assert "12 answers drawn" in said.err
    kept = tmp_path / "out.samples.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    rows = list(read_rows(tmp_path / "out.jsonl"))
    scores = RewardModel.load(rm)
    for line in lines:
        whole = [a["text"] for a in line["answers"] if a["finish"] == "stop" and a["text"].strip()]
        prompt = line["prompt"][0]["content"]
        (found,) = {row.policy_score for row in rows if row.prompt[0].content == prompt}
        by_api = [s for s in scores.scores([turns(prompt, text) for text in whole]) if isinstance(s, float)]
        if by_api:
            assert found == pytest.approx(sum(by_api) / len(by_api), abs=1e-5)
        else:
            assert found is None
    again = cli(*asked, "--out", tmp_path / "out.jsonl")
    assert "0 answers drawn" in again.err


BAD = {
    "no such data": (("none.jsonl",), "none.jsonl: no such file"),
    "suffix": (("--out", "out.csv"), "ends in .jsonl or .parquet"),
    "folder": (("--out", "nowhere/out.jsonl"), "no folder nowhere"),
    "model": (("--model", "nowhere"), "no such folder here"),
    "columns": (("--columns", "prompt"), "write it as prompt=question"),
    "samples alone": (("--samples", "2"), "--samples and --policy go together"),
    "policy alone": (("--policy", "x"), "--samples and --policy go together"),
    "engine": (("--samples", "2", "--policy", "MODEL", "--engine", "vlm"), "did you mean 'vllm'?"),
    "a language model": (("--model", "MODEL"), "not a reward model but LlamaForCausalLM"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_line_and_leave_nothing(
    cli: Cli, model: Path, rm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given, says = BAD[case]
    changed = [str(model) if part == "MODEL" else part for part in given]
    data = changed.pop(0) if not changed[0].startswith("-") else str(jsonl(tmp_path / "pairs.jsonl", pairs(3)))
    options = {"--model": str(rm), "--out": "out.jsonl"}
    options |= dict(zip(changed[::2], changed[1::2], strict=True))
    before = sorted(p.name for p in tmp_path.iterdir())
    said = cli("score", data, *(part for pair in options.items() for part in pair))
    assert said.code == 2
    assert says in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_data_is_not_written_over(cli: Cli, rm: Path, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "pairs.jsonl", pairs(3))
    before = data.read_bytes()
    said = cli("score", data, "--model", rm, "--out", data)
    assert said.code == 2
    assert "is the data itself" in said.err
    assert data.read_bytes() == before


def test_a_broken_row_leaves_no_file(cli: Cli, rm: Path, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "pairs.jsonl", [*pairs(600), {"prompt": "x"}])
    said = cli("score", data, "--model", rm, "--out", tmp_path / "out.jsonl", "-q")
    assert said.code == 2
    assert "pairs.jsonl:601" in said.err
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.jsonl"]
