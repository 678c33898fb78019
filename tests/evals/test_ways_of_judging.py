"""Pairs judged in one random order, with ties, by the letter's probability and by two ratings."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.engine import Completion
from pairgen.errors import UsageError
from pairgen.evals.asking import letter_odds
from pairgen.evals.benchmark import EvalItem, EvalReply, self_check
from pairgen.evals.choosing import ChoiceBenchmark
from pairgen.evals.items import PairItem
from pairgen.evals.judging import PairBenchmark
from pairgen.evals.run import benchmark_identity
from pairgen.evals.slices import judge_metrics, length_metrics
from pairgen.evals.verdicts import vote, vote_share
from pairgen.parsers import FORMATS, RATINGS, Verdict
from pairgen.prompts import load_prompt
from pairgen.records import ORDERS, Message, gold_label
from pairgen.resources import ROOT

ITEM = PairItem("x", "g", "Which digit?", "=8", "=4")
FOUR = {"both": "rotations", "random": "random"}
"""How a judge of four answers calls it."""
JUDGES = sorted(str(p.relative_to(ROOT / "prompts")) for p in (ROOT / "prompts" / "judges").glob("*.md"))


def judge(**options: Any) -> PairBenchmark:
    return PairBenchmark.model_validate({"id": "j", "use": "pairs", **options})


def say(text: str, first: tuple[tuple[str, float], ...] | None = None, finish: str = "stop") -> Completion:
    return Completion(text, finish, 0, 5, first)


def read(benchmark: PairBenchmark, item: PairItem, *replies: Completion) -> EvalItem:
    return benchmark.read(item, [[reply] for reply in replies])


@pytest.mark.parametrize("name", ["judge.md", "judge_verdict_only.md", *JUDGES])
@pytest.mark.parametrize("orders", ["both", "random"])
def test_every_shipped_judge_checks_itself(name: str, orders: str) -> None:
    """Each prompt's own format is read right: known replies give known numbers."""
    prompt = load_prompt(name)
    if prompt.parser == "verdict-4":
        self_check(ChoiceBenchmark(id="four", use="four", prompt=name, orders=FOUR[orders]))
        return
    way = "ratings" if prompt.parser in RATINGS else "text"
    self_check(judge(prompt=name, orders=orders, verdict=way, rubric="Be right."))


def test_a_judge_that_answers_with_a_letter_checks_itself() -> None:
    self_check(judge(prompt="judges/letter.md", verdict="logits"))


def test_one_order_is_drawn_by_content() -> None:
    """Half the items are shown each way, an item always the same way, and another seed draws anew."""
    items = [PairItem(str(i), "g", "q", "good", "bad") for i in range(400)]
    drawn = [judge(orders="random").orders_of(item) for item in items]
    assert all(len(orders) == 1 for orders in drawn)
    assert 160 < sum(orders == ("chosen_first",) for orders in drawn) < 240
    assert drawn == [judge(orders="random", votes=2).orders_of(item) for item in items]
    assert drawn != [judge(orders="random", seed=1).orders_of(item) for item in items]


def test_with_one_order_nothing_is_said_of_consistency() -> None:
    benchmark = judge(orders="random")
    row = read(benchmark, ITEM, say("[[A]]"))
    found = benchmark.metrics([row])
    assert found["accuracy"].n == 1
    assert not {name for name in found if "consisten" in name}


def test_both_orders_ask_as_they_always_did() -> None:
    """The seeds are those the journal knows: options that are not used change no request."""
    plain, spelled = judge(votes=2), judge(votes=2, orders="both", verdict="text", rubric="unused")
    assert plain.ask(ITEM) == spelled.ask(ITEM)
    assert [request.seed for request in plain.ask(ITEM)] == [216882316, 1162487509, 357717307, 434724317]


def test_a_tie_is_a_verdict_where_it_is_offered() -> None:
    tied = PairItem("t", "g", "q", "one", "other", tie=True)
    offered, plain = judge(prompt="judges/mtbench_tie.md"), judge()
    rows = [read(offered, tied, say("[[C]]"), say("[[A]]")), read(offered, ITEM, say("[[A]]"), say("[[C]]"))]
    assert [(r.answer, r.gold, r.right) for row in rows for r in row.replies] == [
        ("tie", "tie", True), ("A", "tie", False), ("A", "A", True), ("tie", "B", False),
    ]
    found = offered.metrics(rows)
    assert (found["accuracy"].mean, found["accuracy_decided"].mean, found["ties"].mean) == (0.5, 0.5, 0.5)
    assert found["consistency"].mean == 0
    assert [r.answer for r in read(plain, ITEM, say("[[C]]"), say("[[A]]")).replies] == [None, "A"]


def test_kappa_by_hand() -> None:
    """Labels A, B, A, B, tie, tie against A, B, B, B, tie, A: agreement 4/6, by chance 2*2/36 + 2*3/36 + 2*1/36."""
    rows = [
        EvalItem(str(i), "g", "q", ("c", "r"), tuple(
            EvalReply("greedy", order, 0, "", answer, "ok", "tie" if right == 0 else gold_label(order), 1)
            for order, answer in zip(ORDERS, pair, strict=True)
        ), right=right)
        for i, (right, pair) in enumerate([(1, ("A", "B")), (1, ("B", "B")), (0, ("tie", "A"))])
    ]
    chance = (2 * 2 + 2 * 3 + 2 * 1) / 36
    assert judge_metrics(rows)["kappa"].mean == pytest.approx((4 / 6 - chance) / (1 - chance))


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "tie"]), st.sampled_from(["A", "B", "tie"])), min_size=2))
def test_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rows = [
        EvalItem(str(i), "g", "q", ("c", "r"), (EvalReply(
            "greedy", "chosen_first" if gold != "B" else "rejected_first", 0, "", answer, "ok", gold, 1
        ),), right=int(gold != "tie"))
        for i, (gold, answer) in enumerate(pairs)
    ]
    found = judge_metrics(rows).get("kappa")
    golds, answers = zip(*pairs, strict=True)
    if found is not None and found.mean is not None:
        assert found.mean == pytest.approx(metrics.cohen_kappa_score(golds, answers), abs=1e-9)


@given(
    st.sampled_from(["chosen", "tie"]),
    st.lists(st.tuples(st.sampled_from(ORDERS), st.sampled_from(["A", "B", "tie", None])), min_size=1, max_size=9),
)
def test_a_vote_is_what_drawing_one_of_the_leaders_is_worth(gold: str, said: list[tuple[str, str | None]]) -> None:
    """Votes of both orders are pooled by the answer they name; those that cannot be read are no votes."""
    replies = tuple(EvalReply("sampled", order, i, "", answer, "", "", 0) for i, (order, answer) in enumerate(said))
    row = EvalItem("x", "g", "q", ("c", "r"), replies, right=int(gold == "chosen"))
    named = [
        answer if answer == "tie" else "chosen" if gold_label(order) == answer else "rejected"
        for order, answer in said if answer
    ]
    leaders = {name for name in named if named.count(name) == max(map(named.count, named))}
    assert vote(row) == (1 / len(leaders) if gold in leaders else 0)
    assert vote_share(row) == (max(map(named.count, named)) / len(named) if named else None)


def test_the_letter_is_asked_for_and_its_probability_read() -> None:
    """Blanks and brackets around a letter are the same letter; what is no letter does not count."""
    benchmark = judge(prompt="judges/letter.md", verdict="logits", opening="[[")
    first, _ = benchmark.ask(ITEM)
    assert (first.sampling.max_tokens, first.logprobs, first.n) == (1, 20, 1)
    assert first.messages[-1] == Message("assistant", "[[")
    top = (("A", math.log(0.3)), (" A", math.log(0.3)), ("[[B", math.log(0.2)), ("The", math.log(0.2)))
    row = read(benchmark, ITEM, say("A", top, "length"), say("B", (("b", 0.0),), "length"))
    assert [(r.answer, r.status) for r in row.replies] == [("A", "ok"), (None, "elsewhere")]
    assert row.replies[0].confidence == pytest.approx(0.75)
    assert benchmark.metrics([row])["logit_accuracy"].mean == 0


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_both_orders_probabilities_are_averaged(one: float, two: float) -> None:
    """Whether the average of P(chosen) over the orders is above one half, whatever each order alone says."""
    benchmark = judge(prompt="judges/letter.md", verdict="logits")

    def letters(p: float) -> tuple[tuple[str, float], ...]:
        return (("A", math.log(p)), ("B", math.log(1 - p)))

    row = read(benchmark, ITEM, say("", letters(one)), say("", letters(1 - two)))
    expected = (one + two) / 2
    if abs(expected - 0.5) > 1e-9:
        assert benchmark.metrics([row])["logit_accuracy"].mean == float(expected > 0.5)


def test_an_engine_without_probabilities_is_named() -> None:
    with pytest.raises(UsageError, match="gave no log-probabilities"):
        read(judge(prompt="judges/letter.md", verdict="logits"), ITEM, say("A"), say("B"))


def test_letters_share_what_there_is() -> None:
    assert letter_odds([("The", -1.0)]) == {}
    assert letter_odds([("A", math.log(0.06)), ("B", math.log(0.03)), ("The", math.log(0.9))]) == {}
    assert letter_odds([("A", math.log(0.08)), ("B", math.log(0.04))]) == pytest.approx({"A": 2 / 3, "B": 1 / 3})
    assert letter_odds([("A", -1.0), ("(B)", -1.0)]) == {"A": 0.5, "B": 0.5}


@pytest.mark.parametrize(
    ("ratings", "accuracy", "ties"),
    [(("9", "3"), 1, 0), (("4", "4"), 0.5, 1), (("2", "7"), 0, 0), (("9", "?"), 0, None)],
)
def test_two_ratings_make_a_verdict(ratings: tuple[str, str], accuracy: float, ties: float | None) -> None:
    """Each answer is shown alone; the strictly higher rating wins and equal ones have half each."""
    benchmark = judge(prompt="judges/mtbench_rating.md", verdict="ratings")
    asked = [request.messages[-1].content for request in benchmark.ask(ITEM)]
    assert ["=8" in asked[0], "=4" in asked[0], "=8" in asked[1], "=4" in asked[1]] == [True, False, False, True]
    row = read(benchmark, ITEM, *(say(f"Rating: [[{rating}]]") for rating in ratings))
    found = benchmark.metrics([row])
    assert found["accuracy"].mean == accuracy
    assert found["ties"].mean == ties
    assert "consistency" not in found
    assert found["parse_rate"].mean == (1 if ties is not None else 0.5)


def test_a_rating_off_the_scale_is_none() -> None:
    row = read(judge(prompt="judges/mtbench_rating.md", verdict="ratings"), ITEM, say("[[11]]"), say("[[10]]"))
    assert [(r.answer, r.status) for r in row.replies] == [(None, "off-scale"), ("10", "ok")]
    assert row.scores == (None, 10.0)


def test_a_scoring_model_that_scored_nothing_is_unscored_not_wrong() -> None:
    rows = [EvalItem(key, "", "", ("a", "b"), (), scores=scores) for key, scores in (("x", (None, 1.0)), ("y", (2, 1)))]
    found = judge_metrics(rows)
    assert (found["accuracy"].mean, found["accuracy"].n, found["accuracy"].unscored) == (1, 1, 1)
    assert not {"parse_rate", "tokens", "consistency", "first_slot"} & found.keys()


def test_what_a_prompt_shows_must_be_there() -> None:
    benchmark = judge(prompt="judges/prometheus_relative_reference.md")
    with pytest.raises(UsageError, match=r"j: item x: prompt .*_relative_reference.md shows a reference"):
        benchmark.ask(ITEM)
    text = judge(prompt="judges/prometheus_relative.md", rubric="Is it right?").ask(ITEM)[0].messages[-1].content
    assert "###Score Rubric:\nIs it right?" in text


def test_a_longer_conversation_is_shown_by_its_turns() -> None:
    turns = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Which digit?"))
    item = PairItem("x", "g", "Which digit?", "=8", "=4", messages=turns)
    text = judge().ask(item)[0].messages[-1].content
    assert "### User:\nHi\n\n### Assistant:\nHello\n\n### User:\nWhich digit?" in text


def test_a_filtered_reply_says_nothing() -> None:
    row = read(judge(), ITEM, say("[[A]]", finish="content_filter"), say("[[B]]"))
    assert [(r.answer, r.status) for r in row.replies] == [(None, "content_filter"), ("B", "ok")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"verdict": "ratings"}, "reads no rating"),
        ({"prompt": "judges/mtbench_rating.md"}, "say `verdict: ratings`"),
        ({"verdict": "logits", "votes": 2}, "nothing to sample"),
        ({"opening": "[["}, "`verdict: logits` only"),
        ({"prompt": "tag.md"}, "prompt"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        judge(**options)


@pytest.mark.parametrize(
    "option",
    [{"orders": "random"}, {"verdict": "logits"}, {"rubric": "x"}, {"low": 0}, {"high": 5},
     {"verdict": "logits", "opening": "[["}],
)
def test_every_option_is_identity(option: dict[str, object]) -> None:
    base = judge(**({"verdict": "logits"} if len(option) > 1 else {}))
    assert benchmark_identity(judge(**option)) != benchmark_identity(base)


picked = st.sampled_from(["A", "B", None])
texts = st.text("ab", max_size=90)


@given(st.lists(st.tuples(texts, texts, picked, picked), min_size=1, max_size=20))
def test_lengths_by_counting(cells: list[tuple[str, str, str | None, str | None]]) -> None:
    rows = [
        EvalItem(str(i), "g", "q", (c, r), tuple(
            EvalReply("greedy", order, 0, "", answer, "ok", gold_label(order), 1)
            for order, answer in zip(ORDERS, said, strict=True)
        ))
        for i, (c, r, *said) in enumerate(cells)
    ]
    found = length_metrics(rows)

    def share(pairs: list[tuple[bool, bool]]) -> float | None:
        """(counted, true) of each verdict."""
        counted = [true for counts, true in pairs if counts]
        return sum(counted) / len(counted) if counted else None

    def rights(holds: Any) -> float | None:
        return share([(holds(c, r), right) for c, r, a, b in cells for right in (a == "A", b == "B")])

    longer, shorter = rights(lambda c, r: len(c) > len(r)), rights(lambda c, r: len(c) < len(r))
    level = rights(lambda c, r: abs(math.log((len(c) or 1) / (len(r) or 1))) < 0.1)
    prefer = share([
        (abs(len(c) - len(r)) > 30 and said is not None, (said == gold) == (len(c) > len(r)))
        for c, r, a, b in cells for said, gold in ((a, "A"), (b, "B"))
    ])
    expected = {"accuracy_gold_longer": longer, "accuracy_gold_shorter": shorter, "accuracy_length_matched": level,
                "prefer_longer": prefer, "length_gap": None if None in (longer, shorter) else longer - shorter}
    assert {name: value.mean for name, value in found.items()} == {
        name: pytest.approx(value) for name, value in expected.items() if value is not None
    }


def test_pairs_of_one_prompt_are_one_unit() -> None:
    """Four pairs of two prompts, all right in the one and wrong in the other: two units, error 1/2."""
    rows = [
        EvalItem(
            str(i), "g", "q", ("c", "r"), (EvalReply("greedy", "chosen_first", 0, "", said, "ok", "A", 1),), cluster=c
        )
        for i, (said, c) in enumerate([("A", "p"), ("A", "p"), ("B", "q"), ("B", "q")])
    ]
    found = judge_metrics(rows)["accuracy"]
    assert (found.mean, found.stderr, found.n, found.unscored) == (0.5, 0.5, 2, 0)


@pytest.mark.parametrize(
    ("text", "winner", "status"),
    [
        ("8 7\nBecause.", "A", "ok"), ("6, 7.5", "B", "ok"), ("\n9 9\n", "tie", "tie"), ("10 9", "A", "ok"),
        ("Assistant 1: 8\n8 7", None, "none"), ("8 7 6", None, "none"), ("8", None, "none"), ("", None, "none"),
    ],
)
def test_two_scores_on_the_first_line(text: str, winner: str | None, status: str) -> None:
    assert FORMATS["two-scores"].read(text, "length") == Verdict(winner, status)


@pytest.mark.parametrize("name", list(FORMATS))
def test_formats_say_and_read_the_same(name: str) -> None:
    form = FORMATS[name]
    for winner in set(form.winners.values()):
        for finish in ("stop", "length"):
            text = f"{form.say(winner)}\n\nBecause" if form.opens else f"First this.\n{form.say(winner)}"
            assert form.read(text, finish).winner == winner
    if name not in ("letter", "digit", "two-scores"):
        assert form.read(f"{form.say('A')} and {form.say('B')}").status == "multiple"
    assert form.read("no idea").status == "none"
    assert form.read("no idea", "length").status == ("none" if form.opens else "truncated")
