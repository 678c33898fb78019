"""Checks on model text: refusals, markers, sameness, contrast."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.checks import contrast, is_refusal, leaked_identifier, leaks_marker, normalised


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I am really sorry, but I cannot provide that.",
        "Sorry, I can’t help with that request.",
        "As an AI language model, I cannot answer this.",
        "I cannot fulfill this request.",
        "I won't be able to help with that.",
        "I'm unable to comply.",
        "Unfortunately, I can't do that.",
        "I apologize, but I cannot write this.",
        "I'm sorry, but as an AI language model, I cannot provide it.",
        "I'm not comfortable writing that.",
        "I can't in good conscience help with that.",
        "I do not feel comfortable doing so.",
        "Sorry, as an AI assistant I cannot help.",
        "I cannot and will not help.",
    ],
)
def test_refusals(text: str) -> None:
    """An answer that opens by declining is a refusal."""
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear that you are ill. Rest and drink water.",
        "I can't wait to see you! Love, Ana",
        "I cannot believe how fast time goes.",
        "As an AI engineer, you will write code.",
        "I won't lie: it was hard.",
        "As an AI language model, I have no favourites, but here are five popular films:",
        "Sorry for the late reply. The meeting is at 3.",
        "Unfortunately, I can't attend your wedding.",
        "I cannot stress enough how important sleep is.",
        "Here is the essay. I cannot help but smile.",
        "=8",
        "",
        "The reply 'I cannot help with that' is a refusal.",
    ],
)
def test_answers_that_only_sound_like_refusals(text: str) -> None:
    """An apology, or an inability that is not about the task, is an answer."""
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("as the [user question modified] says", True),
        ("The end of Assistant’s answer to the modified instruction", True),
        ("[The start of the baseline answer] 3", True),
        ("[The end of the worse answer]", True),
        ("The user asked a modified question.", False),
        ("the start of the good answer is fine", False),
    ],
)
def test_leaked_markers(text: str, leaks: bool) -> None:
    """A marker of a construction prompt left in an answer is found in any case; ordinary words are not."""
    assert leaks_marker(text) is leaks


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Here is the {corrected_student_solution}: 4", "{corrected_student_solution}"),
        ("The Corrected Student Solution is 4", "Corrected Student Solution"),
        ("teacher_reasoning: x", "teacher_reasoning"),
        ("{worsened_student_solution}", "{worsened_student_solution}"),
        ("see student_solution_2", "student_solution_2"),
        ("As a revision, it is 4", "As a revision"),
        ("This revised answer says 4", "This revised answer"),
        ("The student's answer was wrong; it is 4", "The student's answer"),
        ("the student’s original solution", "the student’s original solution"),
        ("The students answered 4.", None),
        ("Dilute the original solution twice.", None),
        ("A revision of the law passed in 1901.", None),
        ("The corrected value is 4.", None),
        ("", None),
    ],
)
def test_leaked_identifiers(text: str, name: str | None) -> None:
    """Names of the revision prompt and phrases that tell of an earlier answer are found; ordinary words are not."""
    assert leaked_identifier(text) == name
    assert leaked_identifier(text, f"Explain: {text.upper()}") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Why?", "  why ", True), ("A  b\nc.", "a b c", True), ("Why not?", "Why?", False), ("?", "!", False)],
)
def test_normalised(one: str, other: str, same: bool) -> None:
    """Case, spacing and end punctuation make no difference; nothing but punctuation is still something."""
    assert (normalised(one) == normalised(other)) is same


def test_contrast_by_hand() -> None:
    """Jaccard is over sets of words and marks, Levenshtein over characters, the ratio rejected to chosen."""
    made = contrast("The cat sat.", "The dog sat!")
    assert made.jaccard == 2 / 6  # The, sat of The, cat, dog, sat, ".", "!"
    assert made.levenshtein == 4
    assert made.length_ratio == 1.0
    assert (made.chosen_chars, made.rejected_chars) == (12, 12)


@pytest.mark.parametrize(
    ("a", "b", "jaccard", "ratio"), [("", "", 1.0, 0.0), ("", "x", 0.0, 0.0), ("x", "", 0.0, 0.0)]
)
def test_contrast_of_empty_texts(a: str, b: str, jaccard: float, ratio: float) -> None:
    """Two empty texts are alike; one empty text shares nothing."""
    assert (contrast(a, b).jaccard, contrast(a, b).length_ratio) == (jaccard, ratio)


@given(st.text(), st.text())
def test_contrast_is_bounded(a: str, b: str) -> None:
    """For any texts, surrogates included: Jaccard is symmetric in [0, 1] and no distance exceeds a length."""
    made = contrast(a, b)
    assert 0 <= made.jaccard <= 1
    assert made.jaccard == contrast(b, a).jaccard
    assert abs(len(a) - len(b)) <= made.levenshtein <= max(len(a), len(b))
    assert contrast(a, a).levenshtein == 0
