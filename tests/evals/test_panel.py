"""Panels: plurality in each order and over all members, against counting by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.panel import member_accuracies, panel_metrics, panel_rows
from pairgen.evals.slices import judge_metrics
from pairgen.records import ORDERS, gold_label

Said = tuple[str | None, str | None]
verdicts = st.sampled_from(["A", "B", None])


def judge(*said: Said) -> list[EvalItem]:
    """A judge's rows: what it says of item 0, 1 ... in both orders."""
    return [
        EvalItem(str(i), "g", "q", ("c", "r"), tuple(
            EvalReply("greedy", order, 0, "", answer, "ok" if answer else "none", gold_label(order), 5)
            for order, answer in zip(ORDERS, pair, strict=True)
        ))
        for i, pair in enumerate(said)
    ]


@given(st.lists(st.lists(st.tuples(verdicts, verdicts), min_size=3, max_size=3), min_size=1, max_size=8))
def test_three_judges_by_counting(items: list[list[Said]]) -> None:
    rows = panel_rows({f"j{k}": judge(*(item[k] for item in items)) for k in range(3)})
    rights, votes = [], []
    for item in items:
        for side, gold in enumerate("AB"):
            top = Counter(pair[side] for pair in item if pair[side]).most_common()
            clear = top and (len(top) == 1 or top[0][1] > top[1][1])
            rights.append(bool(clear and top[0][0] == gold))
        chosen = sum((one == "A") + (two == "B") for one, two in item)
        rejected = sum((one == "B") + (two == "A") for one, two in item)
        votes.append(0.0 if not chosen + rejected else 0.5 if chosen == rejected else float(chosen > rejected))
    found = judge_metrics(rows)
    assert found["accuracy"].mean == pytest.approx(sum(rights) / len(rights))
    assert found["vote_accuracy"].mean == pytest.approx(sum(votes) / len(votes))
    same = [len({pair[side] for pair in item}) == 1 and item[0][side] is not None for item in items for side in (0, 1)]
    assert panel_metrics(rows)["unanimous"].mean == pytest.approx(sum(same) / len(same))


def test_three_mediocre_judges_are_together_better_than_each() -> None:
    """Each is wrong on another item of three; the panel is right on all."""
    rows = panel_rows({
        "a": judge(("B", "A"), ("A", "B"), ("A", "B")),
        "b": judge(("A", "B"), ("B", "A"), ("A", "B")),
        "c": judge(("A", "B"), ("A", "B"), ("B", "A")),
    })
    assert judge_metrics(rows)["accuracy"].mean == 1
    assert [reply.answer for reply in rows[0].replies if reply.mode == "sampled"] == ["B", "A", "A", "A", "B", "B"]
    alone = member_accuracies(rows, ["a", "b", "c"])
    assert [alone[name].mean for name in "abc"] == [pytest.approx(2 / 3)] * 3


def test_a_scoring_model_can_sit_on_a_panel() -> None:
    """It says the same in both orders."""
    model = [EvalItem("0", "g", "q", ("c", "r"), (), scores=(1.0, 0.5))]
    rows = panel_rows({"slot": judge(("A", "A")), "model": model, "mute": judge((None, None))})
    found = judge_metrics(rows)
    assert found["accuracy_chosen_first"].mean == 1
    assert found["accuracy_rejected_first"].mean == 0
    assert panel_metrics(rows)["split"].mean == 0.5
    assert found["vote_accuracy"].mean == 1


def test_panels_that_cannot_decide_are_refused() -> None:
    one = judge(("A", "B"))
    with pytest.raises(UsageError, match="odd number"):
        panel_rows({"a": one, "b": one})
    with pytest.raises(UsageError, match="not asked the same: item 1"):
        panel_rows({"a": one, "b": judge(("A", "B"), ("A", "B")), "c": one})
