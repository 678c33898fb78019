"""Reading model text: verdicts, tags and the similar-instruction format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.parsers import (
    CATEGORIES,
    PARSERS,
    PARTS,
    Verdict,
    final_answer,
    parse_modified,
    parse_tags,
    read_choice,
    read_verdict,
)

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
        ("choice", "so [2]"),
        ("revision", "{teacher_reasoning}: x\n{corrected_student_solution}: y"),
        ("revision-notebook", "{corrected_student_solution}: y"),
    ],
)
def test_parsers_return_the_parts_they_promise(name: str, reply: str) -> None:
    """A parser's parts are those a stage checks its prompt against."""
    parts = PARSERS[name](reply)
    assert parts is not None
    assert parts.keys() == PARTS[name]
    assert PARTS.keys() == PARSERS.keys()


REASON, SOLVED = "{teacher_reasoning}", "{corrected_student_solution}"


@pytest.mark.parametrize(
    "marker",
    [
        "{corrected_student_solution}:",
        "{corrected_student_solution}",
        "**{corrected_student_solution}:**",
        "**{corrected_student_solution}**:",
        "**{corrected_student_solution}**",
        "### {corrected_student_solution}",
        "{{corrected_student_solution}}:",
        "{Corrected_Student_Solution}:",
        "**Corrected Student Solution:**",
        "**Corrected Student Solution**:",
        "## Corrected Student Solution",
        "Corrected student solution:",
        "corrected_student_solution:",
        "> {corrected_student_solution}:",
        "{worsened_student_solution}:",
        "**Worsened Student Solution:**",
    ],
)
@pytest.mark.parametrize("gap", ["\n\n", " ", "\n"])
def test_revision_markers(marker: str, gap: str) -> None:
    """Every form of the marker splits reasoning from revision; a bold start of the revision stays bold."""
    if gap == " " and not (":" in marker or marker.startswith(("{c", "{C"))):
        pytest.skip("a heading stands on its own line")
    read = PARSERS["revision"](f"{REASON}: Say why.\n\n{marker}{gap}**Yes**, it is.\n\nReally.\n")
    assert read == {"revision": "**Yes**, it is.\n\nReally.", "rationale": "Say why."}


@pytest.mark.parametrize(
    ("text", "revision", "rationale"),
    [
        # named in the reasoning, then used: the notebook starts at the first
        (f"{REASON}: I keep {SOLVED} short.\n{SOLVED}: Yes.", "Yes.", f"I keep {SOLVED} short."),
        (f"{REASON} The {SOLVED}: shall be short.\n**{SOLVED}:** Yes.", "Yes.", f"The {SOLVED}: shall be short."),
        # a draft and then the solution: the last heading decides
        (f"{REASON}: a\n{SOLVED}:\nDraft.\n{SOLVED}:\nYes.", "Yes.", f"a\n{SOLVED}:\nDraft."),
        # named again after the revision: nothing is cut off, the leak is left for the filter
        (f"{REASON}: a\n{SOLVED}:\nYes.\n\nThis {SOLVED} is better.", f"Yes.\n\nThis {SOLVED} is better.", "a"),
        (f"{REASON}: a\nSo the {SOLVED} is Yes.", "is Yes.", "a\nSo the"),
        (f"{SOLVED}: Yes.", "Yes.", ""),
        (f"Fine.\n{SOLVED}: Yes.", "Yes.", "Fine."),
        ("**Teacher reasoning:** a\n\n**Corrected Student Solution:** Yes.", "Yes.", "a"),
        (f"{REASON}: the corrected student solution needs a verb.\n{SOLVED} Yes.", "Yes.",
         "the corrected student solution needs a verb."),
    ],
)
def test_revisions_whose_marker_repeats(text: str, revision: str, rationale: str) -> None:
    """The last marker of the clearest form after the reasoning's own decides."""
    assert PARSERS["revision"](text) == {"revision": revision, "rationale": rationale}


@pytest.mark.parametrize(
    "text",
    ["", "Yes.", f"{REASON}: a", f"{REASON}: a\n{SOLVED}:\n\n  ", f"{SOLVED}: Yes.\n{REASON}: afterwards",
     "The corrected student solution is better."],
)
def test_replies_without_a_revision(text: str) -> None:
    """No marker, nothing behind it, or a solution before its reasoning is no revision."""
    assert PARSERS["revision"](text) is None


@pytest.mark.parametrize(
    ("text", "revision", "rationale"),
    [
        (f"{REASON}: a\n\n{SOLVED}:\n\nYes.\n", "Yes.", "a"),
        (f"{REASON}\na\n\n{SOLVED}\nYes.", "Yes.", "a"),
        ("**Corrected Student Solution:**\nYes.", "Yes.", ""),
        ("a **Worsened Student Solution:** No.", "No.", "a"),
        ("{worsened_student_solution}: No.", "No.", ""),
        ("{worsened_student_solution} No.", "No.", ""),
        # the bold form wins wherever it stands, then the form with a colon, then the bare one
        (f"{SOLVED}: one **Corrected Student Solution:** two", "two", f"{SOLVED}: one"),
        (f"{SOLVED} one {SOLVED}: two", "two", f"{SOLVED} one"),
        (f"{{worsened_student_solution}}: one {SOLVED} two", "two", "{worsened_student_solution}: one"),
        # the trap: named again, the revision ends there, and named before, it begins there
        (f"{SOLVED}: Yes, {SOLVED}: and no.", "Yes,", ""),
        (f"{REASON}: the {SOLVED} is next.\n{SOLVED}\nYes.", "is next.", "the"),
        (f"{REASON}: a {REASON} b {SOLVED}: Yes.", "Yes.", "a"),
        (f"**{SOLVED}:** Yes.", "** Yes.", "**"),
        (f"{SOLVED}:", "", ""),
    ],
)
def test_the_notebooks_reading(text: str, revision: str, rationale: str) -> None:
    """Worked by hand through the published code: its order of markers, its truncation, its leftovers."""
    assert PARSERS["revision-notebook"](text) == {"revision": revision, "rationale": rationale}


@pytest.mark.parametrize("text", ["", "Yes.", "{Corrected_Student_Solution}: Yes.", "Corrected student solution: Yes."])
def test_what_the_notebook_cannot_read(text: str) -> None:
    """It knows six exact forms and no other."""
    assert PARSERS["revision-notebook"](text) is None


@pytest.mark.parametrize(
    ("text", "finish", "status", "winner"),
    [
        ("[1]", "stop", "ok", "A"),
        ("First [1] seems good, but\nthe answer is [2].", "stop", "ok", "B"),
        ("{student_solution_1} [1] against [2]\n\n**[1]**\nbecause.", "stop", "ok", "A"),
        ("[[2]]", "stop", "ok", "B"),
        ("[ 1 ]", "stop", "ok", "A"),
        ("[1] or [2]?", "stop", "multiple", None),
        ("[1]\nno, [2] or [1]", "stop", "multiple", None),
        ("1", "stop", "none", None),
        ("[3] [12]", "stop", "none", None),
        ("", "stop", "none", None),
        ("[1] is", "length", "truncated", None),
        ("so [1].", "length", "ok", "A"),
    ],
)
def test_choices(text: str, finish: str, status: str, winner: str | None) -> None:
    """The last line with [1] or [2] decides, when it holds one of them."""
    assert read_choice(text, finish) == Verdict(winner, status)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("x\n#### 72", "72"),
        ("#### 1\n#### 1,234,567", "1234567"),
        ("#### $1,234.50", "2469/2"),
        ("#### -3 apples.", "-3"),
        ("so \\boxed{42}.", "42"),
        ("\\boxed{1} then $\\boxed{\\frac{3}{4}}$", "3/4"),
        ("\\boxed{0.75}", "3/4"),
        ("\\boxed{18\\text{ dollars}}", "18"),
        ("\\boxed{x^{2}+1}", "x^{2}+1"),
        ("\\boxed{10:30}", "10:30"),
        ("A: 18", "18"),
        ("**Answer:** 25%", "25"),
        ("Hence the answer is 5.", "5"),
        ("It is 5.", None),
        ("", None),
        ("#### 1/0", "1/0"),
    ],
)
def test_final_answers(text: str, answer: str | None) -> None:
    """The last stated answer in one spelling: no currency, separators or units, fractions as decimals are."""
    assert final_answer(text) == answer
