"""Model text made visible, word diffs, numbers in words."""

import unicodedata
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_payloads import PAYLOADS

from pairgen.report import numbers
from pairgen.report.text import DIFF_WORDS, Piece, diff_words, one_line, visible

DIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
anything = st.text(st.characters(codec=None, exclude_categories=())) | st.sampled_from(PAYLOADS)


@given(anything)
def test_nothing_is_left_that_acts_on_a_screen(text: str) -> None:
    for char in visible(text):
        assert char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs"}
        assert unicodedata.bidirectional(char) not in DIRECTIONAL
    visible(text).encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jx", "␛[2Jx"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a␍b"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("\ud800", "⟨U+D800⟩"),
        ("\x7f\x85", "␡⟨U+0085⟩"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("👩\u200d👧 é \ufffd", "👩\u200d👧 é \ufffd"),
    ],
)
def test_marks(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 20_003) == "x" * 20_000 + " … (3 more characters)"
    assert one_line("a\n  b" * 50, 10) == "a ba ba b…"


def test_a_diff_by_hand() -> None:
    found = diff_words("The second largest is =4.", "The second smallest is =1.")
    assert found.left == (
        Piece("same", "The second"),
        Piece("same", " "),
        Piece("only", "largest"),
        Piece("same", " is ="),
        Piece("only", "4"),
        Piece("same", "."),
    )
    assert [piece.text for piece in found.right if piece.kind == "only"] == ["smallest", "1"]


words = st.lists(st.sampled_from(["a", "b", " a", "\n\nb", ".", "é", " "]), max_size=30).map("".join)


@given(words, words)
def test_a_diff_loses_nothing_and_what_is_same_is_the_same(left: str, right: str) -> None:
    found = diff_words(left, right)
    assert "".join(piece.text for piece in found.left) == left
    assert "".join(piece.text for piece in found.right) == right
    same = ["".join(p.text for p in side if p.kind == "same").split() for side in (found.left, found.right)]
    assert "".join(same[0]) == "".join(same[1])
    if left == right:
        assert all(piece.kind == "same" for piece in found.left)


def test_a_long_diff_is_cut_and_stays_quick() -> None:
    """The worst case, one word again and again against another order of it."""
    start = perf_counter()
    found = diff_words("a b " * 5000, "b a a " * 5000)
    assert found.cut
    assert sum(len(piece.text.split()) for piece in found.left) == DIFF_WORDS
    assert perf_counter() - start < 5


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.number(0.97834), "0.978"),
        (numbers.number(None), "–"),
        (numbers.share(0.978), "97.8 %"),
        (numbers.count(1234567), "1,234,567"),
        (numbers.points(0.371), "+37.1"),
        (numbers.points(-0.0661), "-6.6"),
        (numbers.duration(7.14), "7.1 s"),
        (numbers.duration(125), "2 min 5 s"),
        (numbers.duration(7500), "2 h 5 min"),
        (numbers.duration(None), "–"),
        (numbers.cost(0), "–"),
        (numbers.cost(1.2345), "$1.234"),
        (numbers.estimated({"mean": 0.607, "stderr": 0.0218, "n": 500, "unscored": 0}), "0.607 ± 0.022"),
        (numbers.estimated({"mean": 154.25, "stderr": 2.04, "n": 9, "unscored": 0}), "154.2 ± 2.0"),
        (numbers.estimated({"mean": 1.0, "stderr": None, "n": 1, "unscored": 0}), "1.000"),
        (numbers.estimated({"mean": None, "stderr": None, "n": 0, "unscored": 3}), "–"),
        (numbers.estimated(None), "–"),
    ],
)
def test_numbers_in_words(shown: str, expected: str) -> None:
    assert shown == expected
