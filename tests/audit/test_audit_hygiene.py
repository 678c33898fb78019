"""Flags and rates of what is wrong with pairs."""

import gzip
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from audit_tables import Kept, columns, measured
from hypothesis import given
from hypothesis import strategies as st

from pairgen.audit.duplicates import MEASURES as DUPLICATES
from pairgen.audit.hygiene import FLAGS, MEASURES, has_marker, has_verdict, hygiene, is_cut_off, leaks, rates, repeats
from pairgen.audit.stats import wilson
from pairgen.audit.style import MEASURES as STYLE

Pair = tuple[str, str, str]
PROSE = "The quick brown fox jumps over the lazy dog and then goes home to sleep for a while. " * 3
FLAG_CASES: list[tuple[Pair, set[str]]] = [
    (("p", "Yes.", "No."), set()),
    (("p", "Yes.", "Yes."), {"same"}),
    (("p", "Yes.", " yes"), {"near_same"}),
    (("p", PROSE + "One end.", PROSE + "Other end."), set()),
    (("p", PROSE + "One end.", "  " + PROSE.replace(" ", "\n") + "one end"), {"near_same"}),
    (("", "a", "b"), {"empty_prompt"}),
    (("p", " \n", "b"), {"empty_chosen"}),
    (("p", "a", ""), {"empty_rejected"}),
    (("p", "", ""), {"empty_chosen", "empty_rejected", "same"}),
    (("p", PROSE + "It is the", "b"), {"truncated_chosen"}),
    (("p", "b", "```python\nx = 1\n"), {"truncated_rejected"}),
    (("p", "I'm sorry, but I can't help with that.", "b"), {"refusal_chosen"}),
    (("p", "b", "I'm sorry, but I can't help with that."), set()),
    (("p", "{corrected_student_solution}: x", "b"), {"leaked_marker"}),
    (("p", "a", "Hi <|im_end|>"), {"template_token"}),
    (("<|im_start|>user p", "a", "b"), {"template_token"}),
    (("mail kathy.bates@gmail.com", "a", "b"), {"pii"}),
    (("p", "a", "AKIA" + "Q3R7T2Z5XWVY4M6N"), {"secret"}),
]


@pytest.mark.parametrize(("pair", "flags"), FLAG_CASES)
def test_flags(pair: Pair, flags: set[str]) -> None:
    """Each kind of fault sets its own flag and no other."""
    found = hygiene(columns([pair]))
    assert {name for name, values in found.items() if name in FLAGS and values[0]} == flags


@pytest.mark.parametrize(
    "ending",
    [
        "and that is because", "this was, in short,", "it (",
        "So the kinetic energy of the body in question grows with the squ",
        "\n\nAfter this it may be useful to look at how all of the other parties behave in the meant",
    ],
)
def test_cut_off(ending: str) -> None:
    """Words that nothing ends on, and long last lines without a stop."""
    assert is_cut_off(PROSE + ending)


@pytest.mark.parametrize(
    "text",
    [
        "", "Yes", "the", PROSE,
        PROSE + "See https://example.org/a/b/c for how all of this is done in the old and new http://x.org/the",
        PROSE + "\n- first\n- the", PROSE + "\n\nBest regards,\nJohn", PROSE + "\n\nSee you soon,",
        PROSE + "\n```\ncode and the\n```",
        PROSE + "\n    return begin and end and so on and more than twelve words are in here",
        PROSE + "Good luck! 😀", PROSE + "So it goes 今日は",
        "\n".join(["when I was young I had a dream of roses by the sea shore line"] * 20),
        PROSE + "Let us build a fair future for all of us here in town today #future #all",
        PROSE + "a ``` b.", PROSE + "It is \\(x + y\\)", "|a|b|\n" * 40 + "|the|and",
    ],
)
def test_not_cut_off(text: str) -> None:
    """Short answers, lists, greetings, code, poems, addresses, other scripts: they end as they like."""
    assert not is_cut_off(text)


@pytest.mark.parametrize(
    "text",
    [
        "[User Question Modified]", "[The end of Assistant's answer to the modified instruction]",
        "[The start of the good answer]",
        "**Corrected Student Solution:** x", "{teacher_reasoning}: x",
    ],
)
def test_markers(text: str) -> None:
    """Markers of our prompts and CLAIR's; no leak where the prompt has them too."""
    marked = f"Hello.\n{text}"
    assert has_marker(marked)
    assert leaks("p", marked, marked)
    assert not leaks(marked, marked, "b")


def test_verdicts() -> None:
    """A judge's verdict in one answer is a leak; on both sides or in the prompt it is the data's form."""
    first, second = "The first is clearer. [[A]]", "The second is.\n[[b]]"
    assert has_verdict(first)
    assert has_verdict(second)
    assert leaks("p", first, "b")
    assert leaks("p", "a", second)
    assert not leaks("p", first, second)
    assert not leaks("Say [[A]] or [[B]].", first, "Neither.")
    assert leaks("p", first, second + "\n{corrected_student_solution}: x")


def test_no_markers() -> None:
    """Words that markers are made of are none."""
    text = "The student and the teacher found the solution, [the] assistant said: [[a], [b]]."
    assert not has_marker(text)
    assert not has_verdict(text)


@given(st.lists(st.tuples(*[st.sampled_from("pq")], *[st.sampled_from("abc")] * 2), max_size=12))
def test_repeats_and_contradictions(pairs: list[Pair]) -> None:
    """Against all pairs of rows, one by one."""
    found = repeats(measured(pairs, MEASURES))
    for i, (prompt, chosen, rejected) in enumerate(pairs):
        assert found["duplicate_prompt"][i] == (prompt in [p for p, _, _ in pairs[:i]])
        assert found["duplicate_pair"][i] == (pairs[i] in pairs[:i])
        against = any(
            p == prompt and c == rejected and r == chosen and c != r for p, c, r in pairs
        )
        assert found["contradiction"][i] == against


@given(st.lists(st.tuples(*[st.text(max_size=40)] * 3), max_size=4))
def test_any_texts_can_be_measured(pairs: list[Pair]) -> None:
    """Whatever the texts are, every measure of form gives a finite number or nan for each row."""
    chunk = columns(pairs)
    for measure in (*MEASURES, *STYLE, *DUPLICATES):
        for name, values in measure(chunk).items():
            assert len(values) == len(pairs), name
            assert values.dtype in (np.float64, np.uint64)


def test_rates_count_name_rows_and_have_intervals() -> None:
    """Wilson's, and the first rows of each, as numbered in the source; flags a table lacks are left out."""
    pairs = [("p", "x", "x"), ("q", "a", "b"), ("r", "", "b"), ("s", "y", "y")]
    table = measured(pairs, MEASURES)
    found = {rate.name: rate for rate in rates(table)}
    assert (found["same"].count, found["same"].n, found["same"].rows) == (2, 4, (1, 4))
    interval = wilson(2, 4)
    assert (found["same"].low, found["same"].high) == (interval.low, interval.high)
    assert found["empty_chosen"].rows == (3,)
    assert "duplicate_pair" not in found
    assert [rate.name for rate in rates(table)] == [name for name in FLAGS if name in found]


def test_rows_not_looked_at_do_not_count() -> None:
    """nan is no answer: it is neither a hit nor in n."""
    table = Kept({"row": np.arange(1, 4), "contaminated": np.array([1.0, np.nan, 0.0])})
    (rate,) = rates(table)
    assert (rate.count, rate.n, rate.rows) == (1, 2, (1,))


def test_hashes_tell_texts_apart_and_hold_over_chunks() -> None:
    """The same text has the same hash wherever it stands; lone surrogates and null characters are texts too."""
    texts = ["a", "b", "", "\0", "\ud800", "a "]
    one = hygiene(columns([(t, c, "x") for t, c in product(texts, texts)]))
    assert len(np.unique(one["prompt_hash"])) == len(texts)
    assert set(one["prompt_hash"].tolist()) == set(one["chosen_hash"].tolist())
    assert one["prompt_hash"].dtype == np.uint64


HOSTILE = ["```", "```\n", "a ", "student ", "[The ", "[[a", "\n", ",", "corrected student solution", "**{"]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_texts_of_a_million_characters(unit: str) -> None:
    """No check goes back over what it has read."""
    text = unit * (1_000_000 // len(unit))
    assert hygiene(columns([(text, text + "a", text)]))["same"].tolist() == [0]


def test_harmless_transcripts(real_data: Path) -> None:
    """Recorded on HH harmless (test): few empty sides and repeats; 28 pairs with a speaker's mark left in an answer."""
    with gzip.open(real_data / "hh_rlhf" / "harmless_base_test.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = []
    for row in rows:
        prompt, chosen = row["chosen"].rsplit("\n\nAssistant:", 1)
        pairs.append((prompt, chosen, row["rejected"].rsplit("\n\nAssistant:", 1)[1]))
    table = measured(pairs, MEASURES)
    table.named |= repeats(table)
    counts = {rate.name: rate.count for rate in rates(table)}
    plain = {"empty_chosen": 4, "same": 0, "duplicate_pair": 0, "duplicate_prompt": 2, "secret": 0}
    assert {name: counts[name] for name in plain} == plain
    marked = sum(any(re.match(r"\s*(?:Human|Assistant):", text) for text in pair[1:]) for pair in pairs)
    assert counts["template_token"] == marked == 28
    assert 10 < counts["truncated_chosen"] < 25
    assert counts["refusal_chosen"] == 26
