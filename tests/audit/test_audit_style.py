"""Style features count what their names say."""

import re

import numpy as np
import pytest
from audit_tables import columns
from hypothesis import given
from hypothesis import strategies as st

from pairgen.audit import style
from pairgen.audit.style import FEATURES, PHRASES, features

ANSWER = """# Plan

I'm happy to help! Perhaps **two things**:

- one
* two
  3. three
```python
x = 2**3**4
```
See [this](https://x.org/a) or [that](#part). Thanks, I think? 😀"""


def test_an_answer_by_hand() -> None:
    """Each feature of one answer, counted by eye."""
    found = {name: values.item() for name, values in features([ANSWER]).items()}
    assert found.keys() == FEATURES.keys()
    expected = {
        "list_items": 3, "headers": 1, "bold": 1, "code_blocks": 1, "links": 2, "questions": 1, "exclamations": 1,
        "politeness": 2, "hedges": 2, "first_person": 2, "refusal": 0, "emoji": 1, "non_ascii": 1, "words": 30,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["newline_share"] == pytest.approx(ANSWER.count("\n") / len(ANSWER))
    words = re.findall(r"\w+", ANSWER)
    assert found["avg_word"] == pytest.approx(sum(map(len, words)) / len(words))


WORDS = ("please", "I", "may", "be", "think", "not", "sure", "cat", "of", "course,", "\n")


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_phrases_are_counted_as_a_regex_would(words: list[str]) -> None:
    """Words and pairs of words, in any case and across punctuation and lines."""
    text = " ".join(words)
    found = features([text])
    for name, phrases in PHRASES.items():
        many = sum(
            len(re.findall(rf"(?<!\w){phrase}(?!\w)".replace(" ", r"\W+"), text, re.IGNORECASE)) for phrase in phrases
        )
        assert found[name].item() == many


def test_pairs_of_words_do_not_run_over_from_one_text_into_the_next() -> None:
    """"of" ending a text and "course" opening the next are no courtesy."""
    assert features(["of", "course"])["politeness"].tolist() == [0, 0]


def test_texts_without_words() -> None:
    """Nothing is divided by nothing: the word length is nan, the rest 0."""
    found = features(["", "!!"])
    assert np.isnan(found["avg_word"]).all()
    assert found["newline_share"].tolist() == [0, 0]
    assert all(np.isfinite(values).all() for name, values in found.items() if name != "avg_word")


def test_both_sides_have_columns() -> None:
    """Columns are named by side."""
    found = style.style(columns([("p", "I can't help with that.", "Sure!")]))
    assert found.keys() == {f"{side}_{name}" for side in ("chosen", "rejected") for name in FEATURES}
    assert found["chosen_refusal"].tolist() == [1]
    assert found["rejected_refusal"].tolist() == [0]


@pytest.mark.parametrize(
    "text", ["**a " * 250_000, "__" * 500_000, " " * 1_000_000, "1." * 500_000, "# " * 500_000, "I am a " * 150_000]
)
def test_hostile_texts_of_a_million_characters(text: str) -> None:
    """No pattern goes back over what it has read: a megabyte of anything is counted at once."""
    assert features([text])["words"].shape == (1,)
