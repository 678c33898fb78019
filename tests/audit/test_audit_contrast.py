"""The contrast of a pair, held to textbook algorithms on every kind of text and to numbers from elsewhere."""

import math
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from pairgen import checks
from pairgen.audit.columns import Columns
from pairgen.audit.contrast import LABELS, contrast, levenshtein, scores
from pairgen.audit.words import overlap

NASTY = (
    "", " ", "\n\t", "\0", "a\0b", "\ud800", "\udfff\ud800 x", "e\u0301", "\u0301", "שלום עולם", "‏مرحبا‏",
    "👩‍👩‍👧‍👦 👍🏽", "🇩🇪🇫🇷", "ﬃ ß ſ", "x\u00a0y", "x\u2028y\u3000z", "\u200b", "a_b __ _", "１２３ ¼ ² Ⅷ",
    "…—–“”", "日本語。テスト", "\x1c\x1d\x1e\x1f\x85", "don't stop...!!", "\U000e0041\U0010ffff", "A a", "\xff\xfe",
)
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec=None, categories=None), max_size=40),
    st.text("ab _.!\n é👍\u0301\ud800", max_size=40),
)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8)


def chunk(pairs: list[tuple[str, str]], prompts: list[str] | None = None) -> Columns:
    n, none = len(pairs), np.full(len(pairs), np.nan)
    chosen, rejected = [a for a, _ in pairs], [b for _, b in pairs]
    return Columns(np.arange(1, n + 1), prompts or ["?"] * n, chosen, rejected, [""] * n, none, none)


def edits(left: str, right: str) -> int:
    """Wagner and Fischer's table (1974)."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


def in_order(left: list[str], right: list[str]) -> int:
    """The longest common subsequence, by the textbook's table."""
    row = [0] * (len(right) + 1)
    for a in left:
        above = 0
        for j, b in enumerate(right, 1):
            above, row[j] = row[j], above + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


def by_hand(chosen: str, rejected: str) -> dict[str, float]:
    """Every measure as its definition says it, one character or word after another."""
    left, right = re.findall(r"\w+|[^\w\s]", chosen), re.findall(r"\w+|[^\w\s]", rejected)
    either = set(left) | set(right)
    longest = max(len(chosen), len(rejected))
    same = [a == b for a, b in zip(chosen, rejected, strict=False)]
    same_back = [a == b for a, b in zip(chosen[::-1], rejected[::-1], strict=False)]
    distance, words = edits(chosen, rejected), len(left) + len(right)
    return {
        "jaccard": len(set(left) & set(right)) / len(either) if either else 1.0,
        "levenshtein": distance,
        "lev_norm": distance / longest if longest else 0.0,
        "prefix_share": [*same, False].index(False) / longest if longest else 0.0,
        "suffix_share": [*same_back, False].index(False) / longest if longest else 0.0,
        "word_diff": (words - 2 * in_order(left, right)) / words if words else 0.0,
        "len_ratio": len(rejected) / len(chosen) if chosen else math.nan,
        "len_diff": len(chosen) - len(rejected),
        "chosen_chars": len(chosen),
        "rejected_chars": len(rejected),
    }


@given(PAIRS)
@example([(a, b) for a in NASTY for b in NASTY])
def test_every_measure_is_its_definition(pairs: list[tuple[str, str]]) -> None:
    """To the last digit, on any Unicode there is, lone surrogates and null characters among it."""
    found = contrast(chunk(pairs))
    for row, (chosen, rejected) in enumerate(pairs):
        expected = by_hand(chosen, rejected)
        assert {name: found[name][row] for name in expected} == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


@given(PAIRS)
def test_audit_and_pipeline_agree(pairs: list[tuple[str, str]]) -> None:
    """The contrast that stages write beside a pair is the audit's, to the last digit."""
    found = contrast(chunk(pairs))
    for row, (chosen, rejected) in enumerate(pairs):
        stage = checks.contrast(chosen, rejected)
        assert (stage.jaccard, stage.levenshtein) == (found["jaccard"][row], found["levenshtein"][row])
        assert (stage.chosen_chars, stage.rejected_chars) == (found["chosen_chars"][row], found["rejected_chars"][row])
        assert stage.length_ratio == (found["len_ratio"][row] if chosen else 0)


def test_every_character_is_classed_as_the_regular_expression_does() -> None:
    """Words are cut by a table of classes; for each character of Unicode it says what `re` says."""
    for start in range(0, 0x110000, 4096):
        text = "".join(f"x{chr(code)}y{code:x} " for code in range(start, start + 4096))
        tokens = " ".join(checks.TOKEN.findall(text))
        found = overlap([text], [tokens])
        assert (found.jaccard[0], found.word_diff[0]) == (1, 0), hex(start)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=40, max_size=90), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_a_guessed_limit_changes_no_distance(pairs: list[tuple[str, str]], seed: int) -> None:
    """The first pairs say how far to look; pairs unlike them are still measured exactly."""
    rng = np.random.default_rng(seed)
    near = [("x" * size, "x" * size + "y") for size in rng.integers(1, 60, 40).tolist()]
    for mixed in (near + pairs, pairs + near):
        found = levenshtein([a for a, _ in mixed], [b for _, b in mixed])
        assert found.tolist() == [edits(a, b) for a, b in mixed]


@given(PAIRS, st.integers(1, 5))
def test_chunks_do_not_show(pairs: list[tuple[str, str]], size: int) -> None:
    """A row's numbers do not depend on the rows measured with it."""
    whole = contrast(chunk(pairs))
    parts = [contrast(chunk(pairs[at:at + size])) for at in range(0, len(pairs), size)]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))


def test_more_than_256_shared_words() -> None:
    """Where a byte is too small for a pair's words, whole numbers take its place."""
    words = [f"w{i}" for i in range(700)]
    left, right = " ".join(words), " ".join(words[::2] + words[1::2])
    found = contrast(chunk([(left, right), ("a b", "b a")]))
    assert found["jaccard"].tolist() == [1, 1]
    kept = in_order(words, words[::2] + words[1::2])
    assert found["word_diff"].tolist() == [(1400 - 2 * kept) / 1400, 0.5]


def test_texts_of_a_megabyte() -> None:
    """Long texts that are nearly the same are measured in no time, and exactly."""
    words = ["the", "river", "moves", "past", "a", "stone", "while", "morning", "light", "finds", "the", "hill"]
    text = " ".join(words[i * i % len(words)] for i in range(250_000))
    other = text[:500_000] + "INSERTED" + text[500_000:-3]
    found = contrast(chunk([(text, other), (text, text), ("", text)]))
    assert len(text) > 1_000_000
    assert found["levenshtein"].tolist() == [11, 0, len(text)]
    assert found["prefix_share"][1:].tolist() == found["suffix_share"][1:].tolist() == [1, 0]
    assert found["jaccard"][1:].tolist() == [1, 0]
    assert found["word_diff"][1:].tolist() == [0, 1]


def test_no_pairs() -> None:
    """A chunk without rows has columns without rows."""
    found = contrast(chunk([]))
    assert found.keys() >= LABELS.keys()
    assert all(len(values) == 0 for values in found.values())


def test_scores_and_their_margin() -> None:
    """The margin is chosen less rejected, missing where either is."""
    given_scores = chunk([("a", "b")] * 2)
    pairs = Columns(
        given_scores.rows, given_scores.prompts, given_scores.chosen, given_scores.rejected, given_scores.groups,
        np.array([4.5, np.nan]), np.array([3.0, 1.0]),
    )
    np.testing.assert_array_equal(scores(pairs)["score_margin"], [1.5, np.nan])


def test_long_texts_are_bounded_by_their_pieces() -> None:
    """The bound of long texts never cuts their distance off: unlike ones are as rapidfuzz alone measures them."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abc def"), size)) for size in (17_000, 30_000, 16_385)]
    pairs = [(a, b) for a in texts for b in texts]
    found = levenshtein([a for a, _ in pairs], [b for _, b in pairs])
    assert found.tolist() == [Levenshtein.distance(a, b) for a, b in pairs]
