"""Rated answers: real prompts of Prometheus, and rows of the documented columns of the other sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from suites_lab import suite, write_rows

from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalReply
from pairgen.evals.select import selected


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Rows as a JSONL file of that name."""
    return lambda *rows, name="rows.jsonl": write_rows(tmp_path / name, *rows)


@pytest.mark.parametrize("name", ["vicuna_eval.json", "mt_bench_eval.json"])
def test_prometheus_sets(real_data: Path, name: str) -> None:
    """320 prompts ready to send, with the mean of three ratings of GPT-4; the answer is found in the prompt."""
    path = real_data / "prometheus_eval" / name
    rows = json.loads(path.read_text())
    benchmark = suite("ratings", path)
    items = benchmark.items()
    assert len(items) == len(selected(benchmark)) == 320
    for row, item in zip(rows, items, strict=True):
        assert item.gold == (pytest.approx(sum(row["gpt4_score"]) / 3),)
        assert item.answer in row["instruction"]
        assert "###" not in item.answer.splitlines()[0]
    [request] = benchmark.ask(items[0])
    assert request.messages[-1].content == rows[0]["instruction"]


def test_biggen_placeholders_are_refused(real_data: Path) -> None:
    path = real_data / "prometheus_eval" / "biggen_bench_instances.json"
    with pytest.raises(UsageError, match=r"\[planning_travel_plan_0\]: response is the sample's 'Hello World!'"):
        suite("ratings", path).items()
    with pytest.raises(UsageError, match=r"no row of it is an item of ratings \(765 were bad"):
        suite("ratings", path, on_bad_row="skip").items()


RUBRIC = {"criteria": "Is it kind?", **{f"score{n}_description": f"level {n}" for n in range(1, 6)}}


def test_rated_rows_of_every_layout(written: Callable[..., Path]) -> None:
    """FeedbackBench, BiGGen-Bench with humans and GPT-4, UltraFeedback, FLASK and rows of one's own in one file."""
    feedback = {
        "id": "f", "orig_instruction": "q", "orig_response": "a", "orig_reference_answer": "best", "orig_score": "4",
        **{f"orig_{name}": text for name, text in RUBRIC.items()},
    }
    biggen = {
        "id": "b", "capability": "safety", "system_prompt": "Be safe.", "input": "q", "reference_answer": "best",
        "score_rubric": json.dumps(RUBRIC), "response": "a", "human_score": 2, "gpt4_score": [3, 3, 4, 4, 3],
        "response_model_name": "m",
    }
    ultra = {"id": "u", "instruction": "q", "source": "evol", "completions": [
        {"response": "one", "fine-grained_score": 4.25, "overall_score": 10},
        {"response": "two", "fine-grained_score": 2},
    ]}
    flask = {
        "idx": 7, "instruction": "###Response to evaluate:\nhm\n\n###Reference Answer (Score 5):\nx",
        "gpt4_score": [1, 2], "human_score": [5, 4, 3],
    }
    own = {"id": "o", "instruction": "q", "response": "a", "score": 3, "rubric": "r"}
    items = suite("ratings", written(feedback, biggen, ultra, flask, own)).items()
    assert [item.id for item in items] == ["f", "b/m", "u/0", "u/1", "7", "o"]
    assert [item.gold for item in items] == [(4,), (2, pytest.approx(3.4)), (4.25,), (2,), (4, 1.5), (3,)]
    text = "[Is it kind?]\nScore 1: level 1\nScore 2: level 2\nScore 3: level 3\nScore 4: level 4\nScore 5: level 5"
    assert items[0].rubric == items[1].rubric == text
    assert items[1].instruction == "Be safe.\n\nq"
    assert items[2].cluster == items[3].cluster == "u"
    assert items[4].answer == "hm"


def test_agreement_with_both_labels(written: Callable[..., Path]) -> None:
    """Humans are the label; GPT-4's ratings stand beside. A judge that copies GPT-4 has r = 1 with it alone."""
    rows = [
        {"id": f"{n}", "capability": "c", "input": "q", "reference_answer": "r", "score_rubric": RUBRIC,
         "response": "a", "human_score": human, "gpt4_score": gpt4}
        for n, (human, gpt4) in enumerate([(1, 2), (2, 1), (3, 4), (4, 3), (5, 5)])
    ]
    benchmark = suite("ratings", written(*rows))
    replies = [EvalReply("greedy", "0", 0, "", f"{row['gpt4_score']}", "ok", "", 1) for row in rows]
    rated = [item.row([reply]) for item, reply in zip(benchmark.items(), replies, strict=True)]
    found = benchmark.metrics(rated)
    assert found["gpt4_pearson"].mean == pytest.approx(1)
    assert found["pearson"].mean == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "q", "response": "a", "score": 7}, "score is 7, not a number from 1 to 5"),
        ({"instruction": "q", "response": "a", "score": True}, "score is true, not a number from 1 to 5"),
        ({"instruction": "q", "response": "", "score": 3}, "response is empty"),
        ({"instruction": "just text", "gpt4_score": [3]}, "instruction is no Prometheus prompt"),
        ({"instruction": "q", "completions": [{"response": "a"}]}, "completions[0].fine-grained_score is null"),
        ({"capability": "c", "input": "q", "response": "a", "score_rubric": "{'x': 1}", "human_score": 1},
         "score_rubric is \"{'x': 1}\", not criteria and descriptions"),
    ],
)
def test_bad_rated_rows(written: Callable[..., Path], row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        suite("ratings", written(row)).items()
    assert message in str(refused.value)
