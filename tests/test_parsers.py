"""Reading model text: verdicts, tags and the similar-instruction format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.parsers import CATEGORIES, PARSERS, PARTS, Verdict, parse_modified, parse_tags, read_verdict

VERDICTS = [
    ("A is better. [[A]]", "ok", "A"),
    ("[[B]]", "ok", "B"),
    ("I weighed [[A]] and [[B]].\nMy verdict: [[B]]", "ok", "B"),  # both in the reasoning, one at the end
    ("[[A]] at first sight.\nNo: [[B]]\nThat is all.", "ok", "B"),  # the last line that holds one decides
    ("Verdict: [[A]] [[A]]", "ok", "A"),
    ("[[a]]", "ok", "A"),
    ("**[[ B ]]**", "ok", "B"),
    ("[[A]] or [[B]]", "multiple", None),
    ("[[A]]\n[[A]] beats [[B]]", "multiple", None),
    ('say "[[A]]" if A is better, "[[B]]" if B is better', "multiple", None),
    ("[[C]]", "tie", None),
    ("[[tie]]", "tie", None),
    ("[[A]]\n[[C]]", "tie", None),
    ("A is better", "none", None),
    ("[A]", "none", None),
    ("[[AB]]", "none", None),
    ("", "none", None),
]


@pytest.mark.parametrize(("text", "status", "winner"), VERDICTS)
def test_verdicts(text: str, status: str, winner: str | None) -> None:
    """The last line with a verdict decides, when it holds one distinct verdict."""
    assert read_verdict(text) == Verdict(winner, status)


@pytest.mark.parametrize(
    ("text", "status", "winner"),
    [
        ("Let me think", "truncated", None),
        ("If it were [[A]], then I would expect more of", "truncated", None),  # still weighing
        ("[[A]]\n\nAnd now the next question:", "truncated", None),
        ("So my verdict is [[B]]", "ok", "B"),
        ("So my verdict is **[[B]]**.\n", "ok", "B"),
        ("[[A]] or [[B]]", "multiple", None),
        ("so [[A", "truncated", None),
    ],
)
def test_a_cut_reply_counts_only_when_it_ends_in_its_verdict(
    text: str, status: str, winner: str | None
) -> None:
    """A reply cut at its token limit was still weighing, unless its last word is a verdict."""
    assert read_verdict(text, "length") == Verdict(winner, status)


@given(st.text(st.sampled_from("[]ABCab tie\n.x"), max_size=40), st.sampled_from(["stop", "length"]))
def test_only_ok_carries_a_winner(text: str, finish: str) -> None:
    """Whatever the text, a winner is A or B and goes with `ok` alone, and train and eval read the same."""
    verdict = read_verdict(text, finish)
    assert (verdict.status == "ok") == (verdict.winner in {"A", "B"})
    assert verdict.status in {"ok", "tie", "multiple", "none", "truncated"}
    if finish == "stop":
        read = PARSERS["verdict"](text)
        assert (read["verdict"] if read else None) == verdict.winner


GOOD = {"category": "Coding", "complexity": "7", "length": "c"}


@pytest.mark.parametrize(
    "reply",
    [
        "Category: Coding\nComplexity: 7\nLength: c",
        "category: coding\ncomplexity: 7/10\nlength: (c) one paragraph",
        "**Category:** Coding\n**Complexity:** 7\n**Length:** (c)",
        "Sure!\n1. Category: <Coding>\n2. Complexity: 7 out of 10\n3. Length: C.\nBye",
        "Category: Coding.\r\nComplexity: 7\r\nLength: c\r\n",
    ],
)
def test_tags(reply: str) -> None:
    """The three lines are read whatever their case, numbering and emphasis."""
    assert parse_tags(reply) == GOOD


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Category: Coding",
        "Category: Cooking\nComplexity: 7\nLength: c",
        "Category: Coding\nComplexity: 0\nLength: c",
        "Category: Coding\nComplexity: 11\nLength: c",
        "Category: Coding\nComplexity: 7.5\nLength: c",
        "Category: Coding\nComplexity: high\nLength: 3",
        "Category: Coding\nComplexity: 7\nLength: a paragraph",
        "Category: Coding\nComplexity: 7\nLength: f",
        "Category:\nComplexity: 7\nLength: c",
        f"Category: Coding\nComplexity: {'9' * 6000}\nLength: c",
        "Category: <the category>\nComplexity: <a number from 1 to 10>\nLength: <the letter>",
    ],
)
def test_tags_that_cannot_be_read(reply: str) -> None:
    """A missing line, an unknown category or a value out of range is no tag at all."""
    assert parse_tags(reply) is None


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_is_read(category: str) -> None:
    """All 15 categories come back as they are written in the prompt."""
    tags = parse_tags(f"Category: {category}\nComplexity: 10\nLength: e")
    assert tags == {"category": category, "complexity": "10", "length": "e"}


START = "The start of Assistant's answer to the modified instruction"
END = "The end of Assistant's answer to the modified instruction"


@pytest.mark.parametrize(
    "text",
    [
        f"[User Question Modified]\nWhy?\n[{START}]\nBecause.\n[{END}]",
        f"User Question Modified\nWhy?\n{START}\nBecause.\n{END}",
        f"[USER QUESTION MODIFIED]: Why?\n[{START.upper()}]: Because. [{END.lower()}]\nAnything else?",
        f"Sure.\n[User Question Modified]\nWhy?\n[{START.replace(chr(39), '’')}]\nBecause.",
    ],
)
def test_modified_instructions(text: str) -> None:
    """Bracketed or bare markers, in any case, with either apostrophe, and a missing end marker are read."""
    assert parse_modified(text) == {"modified": "Why?", "answer": "Because."}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Why? Because.",
        f"[User Question Modified]\nWhy?\n[{END}]",
        f"[{START}]\nBecause.\n[{END}]",
        f"[User Question Modified]\n[{START}]\nBecause.\n[{END}]",
        f"[User Question Modified]\nWhy?\n[{START}]\n[{END}]",
    ],
)
def test_modified_instructions_that_cannot_be_read(text: str) -> None:
    """Without both parts there is no pair."""
    assert parse_modified(text) is None


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("verdict", "[[A]]"),
        ("tags", "Category: Coding\nComplexity: 7\nLength: c"),
        ("modified", f"User Question Modified\nWhy?\n{START}\nBecause."),
    ],
)
def test_parsers_return_the_parts_they_promise(name: str, reply: str) -> None:
    """A parser's parts are those a stage checks its prompt against."""
    parts = PARSERS[name](reply)
    assert parts is not None
    assert parts.keys() == PARTS[name]
    assert PARTS.keys() == PARSERS.keys()
