"""Four answers at once, every rotation, and ratings with shared credit: against counting and RewardBench 2's rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.engine import Completion
from pairgen.errors import UsageError
from pairgen.evals import baselines
from pairgen.evals.benchmark import EvalItem, self_check
from pairgen.evals.choosing import ChoiceBenchmark, choice_metrics, credit
from pairgen.evals.items import ChoiceItem

ITEM = ChoiceItem("x", "g", "Which digit?", ("=8", "=4", "=1", "=3"))


def chooser(**options: Any) -> ChoiceBenchmark:
    return ChoiceBenchmark.model_validate({"id": "c", "use": "choices", **options})


def said(text: str) -> list[Completion]:
    return [Completion(text, "stop", 0, 3)]


@pytest.mark.parametrize("options", [
    {}, {"orders": "rotations"}, {"verdict": "ratings"}, {"votes": 2}, {"verdict": "ratings", "votes": 2},
    {"verdict": "logits"},
])
def test_it_checks_itself(options: dict[str, Any]) -> None:
    self_check(chooser(**options))


def test_the_right_answer_stands_in_each_slot_equally_often() -> None:
    """Over many items in one drawn order, and for one item over its rotations exactly once."""
    drawn = [chooser().orders_of(ChoiceItem(str(i), "g", "q", ("a", "b", "c", "d")))[0] for i in range(800)]
    for slot in range(4):
        assert 150 < sum(order[slot] == 0 for order in drawn) < 250
    turned = chooser(orders="rotations").orders_of(ITEM)
    assert sorted(order.index(0) for order in turned) == [0, 1, 2, 3]
    assert all(sorted(order[slot] for order in turned) == [0, 1, 2, 3] for slot in range(4))


def test_what_is_shown_is_what_the_row_says() -> None:
    benchmark = chooser(orders="rotations")
    replies = [said("[[A]]")] * 4
    row = benchmark.read(ITEM, replies)
    for request, reply in zip(benchmark.ask(ITEM), row.replies, strict=True):
        text = request.messages[-1].content
        places = [int(place) for place in reply.order.split(",")]
        shown = sorted(range(4), key=lambda place: text.index(ITEM.answers[place]))
        assert shown == places
        assert reply.gold == "ABCD"[places.index(0)]
    found = choice_metrics([row])
    assert (found["accuracy"].mean, found["consistency"].mean, found["first_slot"].mean) == (0.25, 0, 1)
    assert (found["chance"].mean, found["consistent_accuracy"].mean) == (0.25, 0)


def test_a_judge_that_reads_is_right_in_every_rotation() -> None:
    benchmark = chooser(orders="rotations")
    row = benchmark.read(ITEM, [said(f"[[{view.gold}]]") for view in benchmark.views(ITEM)])
    found = choice_metrics([row])
    assert (found["accuracy"].mean, found["consistency"].mean, found["consistent_accuracy"].mean) == (1, 1, 1)


@given(st.lists(st.integers(1, 4).map(float), min_size=2, max_size=6))
def test_joint_winners_share(scores: list[float]) -> None:
    """What drawing one of the best at random is worth."""
    best = [place for place, score in enumerate(scores) if score == max(scores)]
    assert credit(scores, 1) == (1 / len(best) if 0 in best else 0)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.integers(2, 2))
def test_several_right_answers_must_all_beat_the_others(scores: list[float], right: int) -> None:
    assert credit(scores, right) == float(all(a > b for a in scores[:right] for b in scores[right:]))


def test_ratings_are_asked_one_by_one_and_compared() -> None:
    """8, 8, 2, 1: the right one is among two winners."""
    benchmark = chooser(verdict="ratings")
    asked = benchmark.ask(ITEM)
    assert [sum(answer in request.messages[-1].content for answer in ITEM.answers) for request in asked] == [1] * 4
    row = benchmark.read(ITEM, [said("Good.\n8"), said("8"), said("It is bad. 2"), said("1/10")])
    assert row.scores == (8, 8, 2, 1)
    found = choice_metrics([row])
    assert (found["accuracy"].mean, found["ties"].mean, found["parse_rate"].mean) == (0.5, 1, 1)
    assert benchmark.score(row) == 0.5


def test_a_rating_that_cannot_be_read_is_wrong_and_counted() -> None:
    row = chooser(verdict="ratings").read(ITEM, [said("9"), said("fine"), said("2"), said("1")])
    found = choice_metrics([row])
    assert (found["accuracy"].mean, found["parse_rate"].mean) == (0, 0.75)


def test_items_with_several_right_answers_are_always_rated() -> None:
    item = ChoiceItem("t", "Ties", "Name a colour.", ("red", "blue", "stone"), right=2)
    benchmark = chooser()
    row = benchmark.read(item, [said("9"), said("8"), said("3")])
    assert choice_metrics([row])["accuracy"].mean == 1
    assert choice_metrics([row])["chance"].n == 0


def test_an_item_that_does_not_fit_the_prompt_is_named() -> None:
    three = ChoiceItem("x", "g", "q", ("a", "b", "c"))
    with pytest.raises(UsageError, match=r"c: item x has 3 answers and prompt judges/rewardbench2.md shows 4"):
        chooser().ask(three)


def test_a_scoring_model_is_scored_by_the_same_rule() -> None:
    scores = ((3, 1, 2, 0), (1, 1, 0, None))
    rows = [EvalItem("x", "", "", ("a", "b", "c", "d"), (), scores=four) for four in scores]
    found = choice_metrics(rows)
    assert (found["accuracy"].mean, found["accuracy"].n, found["accuracy"].unscored) == (1, 1, 1)
    assert "parse_rate" not in found


def test_baselines_of_choices() -> None:
    """Always the first slot is right in one rotation of four; a coin is right as often, on average."""
    items = [ChoiceItem(str(i), "g", "q", ("yes", "n", "no", "nn")) for i in range(600)]
    found = {name: choice_metrics(rows) for name, rows in baselines.rows(items).items()}
    assert found["always-first"]["accuracy"].mean == 0.25
    assert found["longer"]["accuracy"].mean == 1
    assert found["random"]["accuracy"].mean == pytest.approx(0.25, abs=0.04)
    assert baselines.rows(items)["random"] == baselines.rows(items)["random"] != baselines.rows(items, seed=1)["random"]
