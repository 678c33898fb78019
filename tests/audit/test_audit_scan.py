"""Words and marks read with numpy are those that plain Python finds."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairgen.audit import scan
from pairgen.audit.scan import scanned

SINGLE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0010ffff]"
)
TEXTS = st.text(
    st.one_of(st.sampled_from(list("ab Z09\n\n\t -*+.)#`~?!'“漢ไเ😀é\u0301\0")), st.characters()), max_size=60
)


def words(text: str) -> list[str]:
    """Words as the docstring has them, one character at a time."""
    found: list[str] = []
    run = ""
    for sign in text.lower():
        alone = SINGLE.fullmatch(sign) is not None and (sign.isalnum() or ord(sign) >= 0x20000)
        if alone or not sign.isalnum():
            found += [run] if run else []
            run = ""
        found += [sign] if alone else []
        run += sign if sign.isalnum() and not alone else ""
    return found + ([run] if run else [])


def marks(text: str) -> dict[str, int]:
    """Marks by regular expressions over lines."""
    text = text.lower()
    lines = text.split("\n")

    def many(pattern: str) -> int:
        return sum(1 for line in lines if re.match(r"[ \t\xa0]{0,12}" + pattern, line))

    return {
        "chars": len(text), "letters": sum(map(len, words(text))), "newlines": text.count("\n"),
        "questions": len(re.findall("[?？؟]", text)), "exclamations": len(re.findall("[!！]", text)),
        "non_ascii": sum(ord(sign) > 127 for sign in text),
        "list_items": many(r"(?:[-*+•]|\d{1,3}[.)])[ \t\xa0]"), "headers": many(r"#{1,6}[ \t\xa0]"),
        "fences": many(r"(?:```|~~~)"),
    }


@given(st.lists(TEXTS, max_size=5))
@settings(max_examples=400)
def test_words_and_marks_are_those_of_plain_python(texts: list[str]) -> None:
    """Equal words have equal hashes, others do not, and every count is that of the slow way."""
    found = scanned(texts)
    named: dict[int, str] = {}
    for index, text in enumerate(texts):
        hashes = found.words[found.bounds[index] : found.bounds[index + 1]].tolist()
        expected = words(text)
        assert len(hashes) == len(expected)
        for number, word in zip(hashes, expected, strict=True):
            assert named.setdefault(number, word) == word
        for name, count in marks(text).items():
            assert found.marks[name][index] == count, name
    assert len(set(named.values())) == len(named)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("call 555-1234 or 1-800-555-0199", 2), ("+49 (0)30 901820", 1), ("in 2024 and 1999", 0), ("10.0.0.1", 1),
        ("version 1.2.3", 0), ("3.14159265", 1), ("1, 2, 3, 4, 5, 6, 7", 0), ("4111 1111 1111 1111", 1), ("", 0),
    ],
)
def test_runs_of_digits(text: str, runs: int) -> None:
    """A run has seven digits or three dots; commas and words end it."""
    assert scanned([text]).marks["digit_runs"].tolist() == [runs]


def test_a_text_longer_than_a_piece_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts cut into pieces keep their counts; words at the cuts alone are two."""
    text = "- one two\n" * 500
    whole = scan.scan([text, "x", text])
    monkeypatch.setattr(scan, "PIECE", 1000)
    cut = scan.scan([text, "x", text])
    assert cut.marks["list_items"].tolist() == whole.marks["list_items"].tolist() == [500, 0, 500]
    assert np.array_equal(cut.words, whole.words)
    assert cut.marks["chars"].tolist() == [5000, 1, 5000]
