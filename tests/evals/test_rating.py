"""Ratings of single answers: what is asked and read, numbers by hand and against scipy on real GPT-4 scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from pairgen.engine import Completion
from pairgen.evals import baselines
from pairgen.evals.benchmark import EvalItem, self_check
from pairgen.evals.items import RatingItem
from pairgen.evals.rating import RatingBenchmark, rating_metrics


def rater(**options: Any) -> RatingBenchmark:
    return RatingBenchmark.model_validate({"id": "r", "use": "ratings", **options})


def item(key: str, gold: float, **fields: Any) -> RatingItem:
    return RatingItem(key, "g", "Which digit?", "=8", (gold,), rubric="Is it right?", **fields)


def rows(*pairs: tuple[str | None, float]) -> list[EvalItem]:
    """A rating said (None is a reply without one), and the one given."""
    benchmark = rater()
    return [
        benchmark.read(item(str(i), gold), [[Completion(f"Fine. [RESULT] {said}" if said else "Fine.", "stop", 0, 4)]])
        for i, (said, gold) in enumerate(pairs)
    ]


@pytest.mark.parametrize("name", [
    "prometheus_absolute", "prometheus_absolute_reference", "sfr_rating", "autoj_rating", "mtbench_rating",
    "rewardbench2_rating",
])
@pytest.mark.parametrize("votes", [0, 3])
def test_every_rater_checks_itself(name: str, votes: int) -> None:
    self_check(rater(prompt=f"judges/{name}.md", votes=votes))


def test_numbers_by_hand() -> None:
    """Said 1, 3, 3, 5 of 2, 3, 4, 5; one reply has no rating and is in no number but the parse rate."""
    found = rating_metrics(rows(("1", 2), ("3", 3), ("3", 4), ("5", 5), (None, 5)))
    assert (found["exact"].mean, found["exact"].n, found["exact"].unscored) == (0.5, 4, 1)
    assert (found["absolute_error"].mean, found["bias"].mean) == (0.5, -0.5)
    assert found["parse_rate"].mean == 0.8
    assert found["pearson"].mean == pytest.approx(6 / (8 * 5) ** 0.5)
    assert found["pearson"].unscored == 1
    assert found["tie_rate"].mean == pytest.approx(1 / 6)
    assert {name: value.mean for name, value in found.items() if name.startswith("rated_")} == {
        "rated_1": 0.25, "rated_3": 0.5, "rated_5": 0.25,
    }


def test_a_judge_of_one_grade_has_no_correlation() -> None:
    found = rating_metrics(rows(("3", 1), ("3", 5)))
    assert found["pearson"].mean is None
    assert found["tie_rate"].mean == 1


def test_samples_are_averaged() -> None:
    """4, 5, 5 and a reply nobody can read: 14/3, which rounds to 5."""
    benchmark = rater(votes=4)
    greedy, sampled = benchmark.ask(item("x", 5))
    assert (greedy.n, sampled.n) == (1, 4)
    texts = ["[RESULT] 4", "[RESULT] 5", "[RESULT] 5", "no"]
    row = benchmark.read(item("x", 5), [
        [Completion("[RESULT] 4", "stop", 0, 1)], [Completion(text, "stop", 0, 1) for text in texts],
    ])
    found = rating_metrics([row])
    assert found["absolute_error"].mean == 1
    assert found["sampled_absolute_error"].mean == pytest.approx(1 / 3)
    assert found["sampled_exact"].mean == 1
    assert found["sampled_parse_rate"].mean == 0.75


def test_the_scale_is_the_items() -> None:
    benchmark = rater()
    ten = benchmark.read(item("x", 7, low=1, high=10), [[Completion("[RESULT] 7", "stop", 0, 1)]])
    five = benchmark.read(item("x", 5), [[Completion("[RESULT] 7", "stop", 0, 1)]])
    assert [row.replies[0].answer for row in (ten, five)] == ["7", None]
    assert five.replies[0].status == "off-scale"


def test_a_prompt_that_is_ready_is_sent_as_it_is() -> None:
    """With the system turn of the prompt file."""
    ready = RatingItem("x", "g", "###Task Description: {{rubric}}", "=8", (3.0,), ready=True)
    system, user = rater().ask(ready)[0].messages
    assert user.content == "###Task Description: {{rubric}}"
    assert system.content.startswith("You are a fair judge assistant")


def test_a_scoring_models_scale_is_its_own() -> None:
    """Only correlations are told of scores: 0.1 is no rating."""
    pairs = [(0.1, 1), (9, 5)]
    given = [EvalItem(str(i), "", "", ("a",), (), scores=(x,), ratings=(y,)) for i, (x, y) in enumerate(pairs)]
    assert set(rating_metrics(given)) == {"pearson", "spearman", "kendall"}
    assert rating_metrics(given)["pearson"].mean == pytest.approx(1)


def test_the_length_of_an_answer_is_a_baseline() -> None:
    items = [RatingItem(str(i), "g", "q", "x" * i, (float(i % 5 + 1),)) for i in range(5)]
    found = baselines.rows(items)
    assert rating_metrics(found["longer"])["spearman"].mean == pytest.approx(1)
    assert "always-first" not in found


def test_one_gpt4_score_against_the_mean_of_three(real_data: Path) -> None:
    """Prometheus' Vicuna-Bench: scipy's coefficients on the published ratings."""
    stats = pytest.importorskip("scipy.stats")
    lines = json.loads(next((real_data / "prometheus_eval").glob("*vicuna*.json")).read_text())
    scores = [line["gpt4_score"] for line in lines]
    rest = [sum(score[1:]) / len(score[1:]) for score in scores]
    given = rows(*((f"{score[0]:g}", mean) for score, mean in zip(scores, rest, strict=True)))
    found = rating_metrics(given)
    one = [score[0] for score in scores]
    assert found["pearson"].n == len(lines)
    assert found["pearson"].mean == pytest.approx(stats.pearsonr(one, rest).statistic)
    assert found["spearman"].mean == pytest.approx(stats.spearmanr(one, rest).statistic)
    assert found["kendall"].mean == pytest.approx(stats.kendalltau(one, rest).statistic)
