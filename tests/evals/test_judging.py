"""Judge metrics against a brute-force oracle, published LLMBar figures and hand-worked votes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.engine import Completion, Sampling
from pairgen.evals.benchmark import EvalItem, EvalReply, self_check
from pairgen.evals.judging import PairBenchmark, PairItem, judge_metrics, vote
from pairgen.records import ORDERS

LLMBAR = json.loads((Path(__file__).parent / "data" / "llmbar_verdicts.json").read_text())
ITEM = PairItem("x", "g", "Which digit?", "=8", "=4")
Cell = tuple[str | None, str | None]


def reply(order: str, answer: str | None, mode: str = "greedy", sample: int = 0) -> EvalReply:
    gold = "A" if order == "chosen_first" else "B"
    return EvalReply(mode, order, sample, "", answer, "ok" if answer else "none", gold, 7)


def row(key: str, *cells: Cell, mode: str = "greedy") -> EvalItem:
    """A pair with one judgment in each order for each cell."""
    replies = [
        reply(order, answer, mode, sample)
        for sample, cell in enumerate(cells)
        for order, answer in zip(ORDERS, cell, strict=True)
    ]
    return EvalItem(key, "g", "q", ("c", "r"), tuple(replies))


verdicts = st.sampled_from(["A", "B", None])


@given(st.lists(st.tuples(verdicts, verdicts), min_size=1, max_size=30))
def test_every_metric_against_counting(cells: list[Cell]) -> None:
    """Counted without any of the code under test: gold is A when chosen is first, B when it is not."""
    found = judge_metrics([row(str(i), cell) for i, cell in enumerate(cells)])
    n = len(cells)
    first = sum(one == "A" for one, _ in cells)
    second = sum(two == "B" for _, two in cells)
    said = [verdict for cell in cells for verdict in cell if verdict]
    assert found["accuracy_chosen_first"].mean == pytest.approx(first / n)
    assert found["accuracy_rejected_first"].mean == pytest.approx(second / n)
    assert found["accuracy"].mean == pytest.approx((first + second) / (2 * n))
    assert found["consistent_accuracy"].mean == pytest.approx(cells.count(("A", "B")) / n)
    assert found["consistency"].mean == pytest.approx((cells.count(("A", "B")) + cells.count(("B", "A"))) / n)
    assert found["parse_rate"].mean == pytest.approx(len(said) / (2 * n))
    assert found["accuracy"].n == n
    assert found["first_slot"].mean == (pytest.approx(said.count("A") / len(said)) if said else None)
    assert found["first_slot"].unscored == cells.count((None, None))


def llmbar_rows(run: str, sets: list[str]) -> list[EvalItem]:
    """The published winners (output 1 or 2) as verdicts: the original order shows output 1 first."""
    rows = []
    for name in sets:
        part = LLMBAR["sets"][name]
        for i, label in enumerate(part["label"]):
            shown = {"1": ("A", "B"), "2": ("B", "A"), "?": (None, None)}
            one, two = shown[part[run]["original"][i]][0], shown[part[run]["swapped"][i]][1]
            cell = (one, two) if label == "1" else (two, one)
            rows.append(row(f"{name}-{i}", cell))
    return rows


@pytest.mark.parametrize("name", list(LLMBAR["sets"]))
@pytest.mark.parametrize("run", ["GPT-4 CoT", "PaLM2 Vanilla", "ChatGPT CoT", "Falcon CoT"])
def test_published_llmbar_counts(name: str, run: str) -> None:
    """Right in the original order, in the swapped order and in both, as LLMBar's authors counted them."""
    original, swapped, both = LLMBAR["sets"][name][run]["published"]
    found = judge_metrics(llmbar_rows(run, [name]))
    n = len(LLMBAR["sets"][name]["label"])
    assert found["accuracy"].mean == pytest.approx((original + swapped) / (2 * n))
    assert found["consistent_accuracy"].mean == pytest.approx(both / n)


@pytest.mark.parametrize(
    ("run", "figures"),
    [
        (
            "GPT-4 CoT",
            {
                "accuracy": 81.3,
                "consistent_accuracy": 75.9,
                "consistency": 89.3,
                "first_slot": 52.3,
                "accuracy_chosen_first": 83.5,
                "accuracy_rejected_first": 79.0,
            },
        ),
        (
            "PaLM2 Vanilla",
            {
                "accuracy": 69.8,
                "consistent_accuracy": 56.1,
                "accuracy_chosen_first": 75.9,
                "accuracy_rejected_first": 63.7,
            },
        ),
        (
            "Falcon CoT",
            {
                "accuracy": 52.0,
                "consistent_accuracy": 8.6,
                "accuracy_chosen_first": 95.2,
                "accuracy_rejected_first": 8.8,
            },
        ),
    ],
)
def test_one_judge_under_every_rule(run: str, figures: dict[str, float]) -> None:
    """All 419 LLMBar items: position alone makes a judge look like a coin until both orders are asked."""
    found = judge_metrics(llmbar_rows(run, list(LLMBAR["sets"])))
    got = {name: found[name].mean for name in figures}
    assert got == {name: pytest.approx(value / 100, abs=0.0006) for name, value in figures.items()}


def test_first_slot_is_a_share_of_what_could_be_read() -> None:
    """Of all 838 Falcon judgments 93.1 % name the first slot, of the 835 readable ones a little more."""
    found = judge_metrics(llmbar_rows("Falcon CoT", list(LLMBAR["sets"])))
    first, read = found["first_slot"].mean, found["parse_rate"].mean
    assert first is not None
    assert read is not None
    assert first > first * read == pytest.approx(0.931, abs=0.0006)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([("A", "B"), ("A", "A"), ("A", "A")], 1.0),  # 4 of 6 for chosen: the slot cancels out
        ([("A", "A"), ("A", "A")], 0.5),  # a pure preference for A is a tie
        ([("B", "A"), ("A", None)], 0.0),  # 1 against 2
        ([(None, None), (None, None)], 0.0),  # no verdict at all is wrong, not a tie
        ([("A", None), (None, None)], 1.0),  # one verdict decides
    ],
)
def test_votes_by_hand(cells: list[Cell], expected: float) -> None:
    assert vote(row("x", *cells, mode="sampled")) == expected


def test_ties_are_counted_and_need_samples() -> None:
    rows = [row("1", ("A", "A"), mode="sampled"), row("2", ("A", "B"), mode="sampled")]
    found = judge_metrics(rows)
    assert (found["vote_accuracy"].mean, found["vote_ties"].mean) == (0.75, 0.5)
    assert "vote_accuracy" not in judge_metrics([row("1", ("A", "B"))])


def test_a_refused_item_is_unscored() -> None:
    found = judge_metrics([row("1", ("A", "B")), EvalItem("2", "g", "", (), (), error="too_long: 9 of 8")])
    assert (found["accuracy"].mean, found["accuracy"].n, found["accuracy"].unscored) == (1.0, 1, 1)


@given(st.lists(st.lists(st.tuples(verdicts, verdicts), min_size=3, max_size=3), min_size=2, max_size=8))
def test_sampled_metrics_pool_samples_but_count_pairs(table: list[list[Cell]]) -> None:
    found = judge_metrics([row(str(i), *cells, mode="sampled") for i, cells in enumerate(table)])
    flat = [cell for cells in table for cell in cells]
    right = sum((one == "A") + (two == "B") for one, two in flat)
    assert found["sampled_accuracy"].mean == pytest.approx(right / (2 * len(flat)))
    assert found["sampled_consistent_accuracy"].mean == pytest.approx(flat.count(("A", "B")) / len(flat))
    assert found["sampled_accuracy"].n == len(table)


@pytest.fixture
def judge() -> PairBenchmark:
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=9)
    return PairBenchmark(id="j", use="pairs", votes=3, sampling=sampling)


def test_both_orders_greedy_then_sampled(judge: PairBenchmark) -> None:
    requests = judge.ask(ITEM)
    assert [(r.sampling.temperature, r.sampling.top_p, r.n) for r in requests] == [
        (0, 1, 1),
        (0, 1, 1),
        (0.7, 0.9, 3),
        (0.7, 0.9, 3),
    ]
    texts = [r.messages[-1].content for r in requests]
    assert texts[0].index("=8") < texts[0].index("=4")
    assert texts[1].index("=4") < texts[1].index("=8")
    assert len({r.seed for r in requests}) == 4


def test_replies_are_read_into_their_order(judge: PairBenchmark) -> None:
    def say(*texts: str) -> list[Completion]:
        return [Completion(text, "stop", 0, 5) for text in texts]

    found = judge.read(
        ITEM,
        [
            say("[[A]]"),
            say("[[B]]"),
            say("[[A]]", "[[B]]", "?"),
            [Completion("I th", "length", 0, 9)] * 3,
        ],
    )
    assert [(r.mode, r.order, r.sample, r.answer, r.status) for r in found.replies] == [
        ("greedy", "chosen_first", 0, "A", "ok"),
        ("greedy", "rejected_first", 0, "B", "ok"),
        ("sampled", "chosen_first", 0, "A", "ok"),
        ("sampled", "chosen_first", 1, "B", "ok"),
        ("sampled", "chosen_first", 2, None, "none"),
        *[("sampled", "rejected_first", i, None, "truncated") for i in range(3)],
    ]
    assert judge.score(found) == 1.0
    assert found.answers == ("=8", "=4")


@pytest.mark.parametrize("votes", [0, 3])
def test_the_self_check_passes_with_and_without_votes(votes: int) -> None:
    self_check(PairBenchmark(id="j", use="pairs", votes=votes))


def test_a_prompt_with_a_strange_hole_is_refused() -> None:
    with pytest.raises(ValueError, match="modified"):
        PairBenchmark(
            id="j",
            use="pairs",
            prompt={
                "name": "own.md",
                "vars": ("modified",),
                "user": "{{modified}}",
            },
        )
