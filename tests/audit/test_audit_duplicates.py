"""Near duplicates by MinHash, against exact Jaccard similarities and against datasketch."""

import itertools

import numpy as np
import pytest
from audit_tables import Kept, columns, measured
from datasketch import MinHash, MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from pairgen.audit import duplicates
from pairgen.audit.duplicates import THRESHOLD, Shingles, near, shingles, sign, similarity
from pairgen.audit.hygiene import MEASURES as HYGIENE

MEASURES = (*HYGIENE, *duplicates.MEASURES)
VOCABULARY = [f"word{k}" for k in range(3000)]


def bigrams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return set(itertools.pairwise(words)) if len(words) > 1 else {tuple(words)}


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


def corpus(n: int, rng: np.random.Generator) -> list[str]:
    """Random texts of 20 to 80 words, half of them earlier ones with up to a third of the words changed."""
    texts: list[str] = []
    for _ in range(n):
        if texts and rng.random() < 0.5:
            words = texts[rng.integers(len(texts))].split()
            for _ in range(rng.integers(0, len(words) // 3 + 1)):
                words[rng.integers(len(words))] = VOCABULARY[rng.integers(3000)]
        else:
            words = [VOCABULARY[k] for k in rng.integers(3000, size=rng.integers(20, 80))]
        texts.append(" ".join(words))
    return texts


def flagged(texts: list[str]) -> np.ndarray:
    return near(measured([(text, f"a{k}", f"b{k}") for k, text in enumerate(texts)], MEASURES)).flags[
        "near_duplicate_prompt"
    ]


def test_near_duplicates_of_a_corpus_are_those_of_exact_similarities() -> None:
    """Everything clearly similar to an earlier text is flagged, nothing clearly below the threshold is."""
    texts = corpus(600, np.random.default_rng(0))
    sets = [bigrams(text) for text in texts]
    flags = flagged(texts)
    for k, text in enumerate(texts):
        best = max((jaccard(sets[k], other) for other in sets[:k]), default=0.0)
        if text in texts[:k]:
            assert flags[k] == 0  # an exact duplicate is counted as such
        elif best >= 0.9:
            assert flags[k] == 1, best
        elif best < 0.65:
            assert flags[k] == 0, best


def test_datasketch_finds_as_much() -> None:
    """Of the texts that datasketch flags with 128 permutations, nearly all are flagged, and the other way round."""
    texts = corpus(500, np.random.default_rng(1))
    lsh, theirs = MinHashLSH(threshold=THRESHOLD, num_perm=128, weights=(0.1, 0.9)), []
    known: dict[str, MinHash] = {}
    for k, text in enumerate(texts):
        mine = MinHash(num_perm=128, seed=1)
        mine.update_batch([" ".join(pair).encode() for pair in bigrams(text)])
        theirs.append(any(known[key].jaccard(mine) >= THRESHOLD for key in lsh.query(mine)))
        lsh.insert(str(k), mine)
        known[str(k)] = mine
    ours = flagged(texts) + np.array([text in texts[:k] for k, text in enumerate(texts)])
    assert sum(theirs) > 50
    assert (ours == theirs).mean() > 0.95


@pytest.mark.parametrize("bins", [64, 128])
@pytest.mark.parametrize("size", [4, 20, 100, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_similarity_is_estimated_without_bias(size: int, share: float, bins: int) -> None:
    """Over many pairs of sets the mean estimate is the exact similarity, small sets (bins borrowed) as well."""
    rng = np.random.default_rng(7)
    common = round(2 * size * share / (1 + share))
    true = common / (2 * size - common)
    n = 400
    elements = rng.integers(0, np.iinfo(np.uint64).max, size=(n, 2 * size - common), dtype=np.uint64)
    owners = np.repeat(np.arange(n), size)
    one = sign(Shingles(elements[:, :size].ravel(), owners), n, bins)
    other = sign(Shingles(elements[:, size - common:].ravel(), owners), n, bins)
    estimates = similarity(np.vstack([one, other]), np.arange(n), np.arange(n) + n)
    spread = estimates.std() / np.sqrt(n)
    assert estimates.mean() == pytest.approx(true, abs=4 * spread + 1e-3)
    if size == 1000:
        assert estimates.std() == pytest.approx(np.sqrt(true * (1 - true) / bins), abs=0.01)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=8).map(" ".join), max_size=12))
def test_signatures_depend_on_the_text_alone(texts: list[str]) -> None:
    """Equal sets of bigrams have equal signatures, in whatever chunk; only texts without words have none."""
    together = columns([(text, text, text) for text in texts])
    all_of = duplicates.signatures(together)
    for k, text in enumerate(texts):
        alone = duplicates.signatures(columns([(text, text, text)]))
        assert all(all_of[name][k] == alone[name][0] for name in alone)
        nothing = not any(values[0] for name, values in alone.items() if name.startswith("near_prompt"))
        assert nothing == (text.strip() == "")


def test_pairs_are_near_when_all_three_texts_are() -> None:
    """A changed word in a long answer is near; a pair turned round, with another prompt or another answer is not."""
    rng = np.random.default_rng(2)
    prompt, chosen, rejected, other = (" ".join(VOCABULARY[k] for k in rng.integers(3000, size=60)) for _ in range(4))
    rows = [
        (prompt, chosen, rejected), (prompt, chosen + " indeed", rejected), (prompt, rejected, chosen),
        (other, chosen, rejected), (prompt, chosen, rejected), (prompt, chosen, "no"), (prompt, chosen, "maybe"),
        (prompt + " so", "yes", "no"), (prompt, "yes", "no"), (prompt, "yes", ""), (prompt + " then", "yes", ""),
    ]
    found = near(measured(rows, MEASURES)).flags
    assert found["near_duplicate_pair"].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert found["near_duplicate_prompt"].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]


def test_many_texts_of_one_template_do_not_hide_twins() -> None:
    """Where hundreds share most of their words, the one that repeats another but for a word is still found."""
    rng = np.random.default_rng(3)
    frame = [VOCABULARY[k] for k in rng.integers(3000, size=60)]
    texts = [" ".join(frame + [VOCABULARY[k] for k in rng.integers(3000, size=30)]) for _ in range(400)]
    twins = [texts[k] + " end" for k in range(0, 400, 10)]
    flags = flagged(texts + twins)
    assert flags[:400].sum() == 0
    assert flags[400:].sum() == len(twins)


def test_short_texts_are_not_taken_for_one_another() -> None:
    """Of a thousand different prompts of two words none is near another."""
    words = [VOCABULARY[k] for k in range(2000)]
    assert flagged([f"{words[k]} {words[k + 1000]}" for k in range(1000)]).sum() == 0


def test_a_text_without_words_is_no_near_duplicate() -> None:
    """Empty texts and bare punctuation are like nothing."""
    assert flagged(["", "!", "?!", "", "word"]).tolist() == [0, 0, 0, 0, 0]


def test_above_the_limit_the_first_rows_are_looked_at_and_the_note_says_so() -> None:
    """Rows beyond have no answer, which is not the same as no."""
    texts = corpus(40, np.random.default_rng(4))
    table = measured([(text, "a", "b") for text in texts], MEASURES)
    found = near(table, limit=30)
    assert np.isnan(found.flags["near_duplicate_prompt"][30:]).all()
    assert np.isfinite(found.flags["near_duplicate_prompt"][:30]).all()
    assert "the first 30 of 40 rows" in found.note
    assert "all 40 rows" in near(table).note


def test_an_empty_table() -> None:
    """Nothing to look at."""
    assert near(measured([], MEASURES)).flags["near_duplicate_pair"].tolist() == []
    assert isinstance(shingles([]).hashes, np.ndarray)
    assert len(Kept({})) == 0


def test_the_columns_of_signatures_are_named() -> None:
    """`COLUMNS` are those that the measure makes."""
    assert tuple(duplicates.signatures(columns([("p", "a", "b")]))) == duplicates.COLUMNS
