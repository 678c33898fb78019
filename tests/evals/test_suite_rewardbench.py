"""RewardBench 1 and 2: real and made rows, sections and overall numbers, Ties."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from suites_lab import judged, means, suite, write_rows

from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalReply, said
from pairgen.evals.leaderboard import COUNTS, PRIOR, SECTIONS, V2_COUNTS
from pairgen.evals.select import selected


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Rows as a JSONL file of that name."""
    return lambda *rows, name="rows.jsonl": write_rows(tmp_path / name, *rows)


def test_rewardbench_partial(real_data: Path) -> None:
    """1,403 of 2,985 rows, 11 of 23 subsets with the paper's sizes; no overall, and the missing subsets named."""
    benchmark = suite("rewardbench", real_data / "rewardbench_partial" / "filtered_llmbar_hep.jsonl")
    items = selected(benchmark)
    found = Counter(item.group for item in items)
    assert found == {name: count for name, count in COUNTS.items() if name.startswith(("llmbar", "hep"))}
    assert (items[0].id, items[0].group) == ("2533", "llmbar-natural")
    rows = [judged(item, "chosen", "chosen") for item in items]
    assert benchmark.missing(rows) == tuple(name for name in COUNTS if not name.startswith(("llmbar", "hep")))
    assert not any("overall" in name or "chat" in name or "reasoning" in name for name in means(benchmark, rows))
    assert means(benchmark, rows)["rewardbench_hep-rust"] == 1


def every_subset(prior: bool) -> list[dict[str, Any]]:
    """Two rows of each subset; prior prompts are chat turns."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    rows = [{"prompt": "p", "chosen": "c", "rejected": "r", "subset": name, "id": f"{name}{n}"}
            for name in COUNTS for n in range(2)]
    return rows + [{"prompt": turns, "chosen": "c", "rejected": "r", "subset": name} for name in PRIOR if prior]


def test_rewardbench_as_a_whole(written: Callable[..., Path]) -> None:
    """Right on the first row of a subset in both orders, on the second in one: 0.75 of each, unread ones 0.5."""
    benchmark = suite("rewardbench", written(*every_subset(prior=True)))
    items = benchmark.items()
    assert benchmark.missing([judged(item, None, None) for item in items]) == ()
    rows = [judged(item, "chosen", "rejected" if place % 2 else "chosen") for place, item in enumerate(items[:46])]
    found = means(benchmark, rows)
    assert found["rewardbench_overall"] == pytest.approx(0.75)
    assert "rewardbench_overall_paper" not in found
    rows += [judged(item, None, None) for item in items[46:]]
    found = means(benchmark, rows)
    assert found["rewardbench_prior_sets"] == 0.5
    assert found["rewardbench_overall_paper"] == pytest.approx((8 * 0.75 + 0.5) / 9)
    assert found["rewardbench_overall_launch"] == pytest.approx((4 * 0.75 + 0.5) / 5)
    assert {f"rewardbench_{name.lower().replace(' ', '_')}" for name in SECTIONS} <= set(found)
    assert [message.role for message in items[-1].messages] == ["user", "assistant", "user"]
    assert items[-1].instruction == "c"


def test_a_reward_model_that_ties_loses_in_rewardbench(written: Callable[..., Path]) -> None:
    rows = [{"prompt": "p", "chosen": "c", "rejected": "r", "subset": "hep-go", "id": n} for n in range(4)]
    benchmark = suite("rewardbench", written(*rows))
    scored = zip(benchmark.items(), ((2, 1), (1, 1), (0, 1), (None, 1)), strict=True)
    found = benchmark.official([item.row(scores=scores) for item, scores in scored])["rewardbench_hep-go"]
    assert (found.mean, found.n, found.unscored) == (pytest.approx(1 / 3), 3, 1)


def v2_row(n: int, subset: str, right: int = 1, **more: Any) -> dict[str, Any]:
    chosen = [f"right {k}" for k in range(right)]
    return {"id": f"{n}", "prompt": "q", "chosen": chosen, "rejected": ["x", "y", "z"], "num_correct": right,
            "subset": subset, **more}


def test_rewardbench_2(written: Callable[..., Path]) -> None:
    """Four domains right, one with a tie of two at the top, Ties perfect: the plain mean of six."""
    rows = [v2_row(n, subset) for n, subset in enumerate(V2_COUNTS) if subset != "Ties"]
    rows += [v2_row(0, "Ties", 2, id="tied:0"), v2_row(0, "Ties", 1, id="ref:0")]
    benchmark = suite("rewardbench2", written(*rows))
    items = benchmark.items()
    assert [item.right for item in items] == [1, 1, 1, 1, 1, 2, 1]
    assert items[5].cluster == items[6].cluster == "Ties:0"
    scores = [(3.0, 1, 1, 1)] * 4 + [(3.0, 3, 1, 1), (5.0, 5, 1, 1, 1), (4.0, 1, 1, 1)]
    scored = [item.row(scores=values) for item, values in zip(items, scores, strict=True)]
    found = means(benchmark, scored)
    assert found["rewardbench2_focus"] == 0.5
    assert found["rewardbench2_ties"] == pytest.approx(1.01)  # no spread: tanh of infinity
    assert found["rewardbench2_overall"] == pytest.approx((4 + 0.5 + 1.01) / 6)
    assert "rewardbench2_overall" not in means(benchmark, scored[:5])
    assert benchmark.missing(scored[:5]) == ("Ties",)


def test_a_choice_that_cannot_be_read_is_a_quarter_in_rewardbench_2(written: Callable[..., Path]) -> None:
    benchmark = suite("rewardbench2", written(v2_row(0, "Math"), v2_row(1, "Math")))
    replies = [EvalReply("greedy", "0,1,2,3", 0, "", answer, "ok", "A", 1) for answer in ("A", None)]
    rows = [item.row([reply]) for item, reply in zip(benchmark.items(), replies, strict=True)]
    assert means(benchmark, rows)["rewardbench2_math"] == (1 + 0.25) / 2


def test_ties_are_rated_one_answer_at_a_time_and_the_others_chosen(written: Callable[..., Path]) -> None:
    """Four answers in one request; five answers of Ties in five, by its own prompt; a failed rating is -1."""
    path = written(v2_row(0, "Math"), v2_row(0, "Ties", 2, id="tied:0"), v2_row(0, "Ties", 1, id="ref:0"))
    benchmark = suite("rewardbench2", path)
    choice, tied, reference = benchmark.items()
    assert [len(benchmark.ask(item)) for item in (choice, tied, reference)] == [1, 5, 4]
    assert "need not consider depth" in benchmark.ask(tied)[0].messages[-1].content
    rows = [
        benchmark.read(item, [[said(text)] for text in texts])
        for item, texts in (
            (choice, ["no idea"]), (tied, ["9", "9", "3", "so 4", "mute"]), (reference, ["8", "2", "2", "2"]),
        )
    ]
    assert rows[1].scores == (9, 9, 3, 4, None)
    found = means(benchmark, rows)
    assert found["rewardbench2_math"] == 0.25
    assert found["rewardbench2_ties"] == pytest.approx(1.01)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (v2_row(0, "Maths"), "no subset 'Maths': did you mean 'Math'"),
        (v2_row(0, "Ties", 2), "id of a Ties row is '0'; it must be ref:N or tied:N"),
        (v2_row(0, "Math", 2), "2 chosen answers; Math has one"),
        (v2_row(0, "Math", num_correct=3), "num_correct is 3 and chosen has 1 answers"),
        (v2_row(0, "Math", rejected=["x", ""]), "rejected[1] is '', not text"),
    ],
)
def test_bad_rows_of_rewardbench_2(written: Callable[..., Path], row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        suite("rewardbench2", written(row)).items()
    assert message in str(refused.value)
