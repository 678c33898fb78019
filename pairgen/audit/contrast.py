"""How far apart the two sides of a pair are: shared tokens, edits, common ends, words touched, lengths.

Characters are Unicode code points. The CLAIR paper (arXiv 2408.06266, Table 1) reports mean token-level Jaccard,
times 100, and mean character-level Levenshtein, not normalised; it names no tokenizer.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein, Postfix, Prefix
from rapidfuzz.process import cpdist

from pairgen.audit.columns import Columns, Measured, Numbers
from pairgen.audit.tokens import DEFAULT, jaccard
from pairgen.audit.words import overlap

BATCH_PAIRS = 64
BATCH_CHARS = 1 << 18
PROBE, MARGIN = 32, 1.06
LONG, PIECE = 16_384, 512

Ints = NDArray[np.int64]
LABELS = {
    "jaccard": "Jaccard of tokens",
    "levenshtein": "Levenshtein, characters",
    "lev_norm": "Levenshtein, normalised",
    "prefix_share": "Common prefix",
    "suffix_share": "Common suffix",
    "word_diff": "Words that differ",
    "len_ratio": "Length, rejected by chosen",
    "len_diff": "Length, chosen minus rejected",
    "chosen_chars": "Chosen, characters",
    "rejected_chars": "Rejected, characters",
}
"""The measures that tables show, by column."""
SCORES = {"chosen_score": "Chosen, score", "rejected_score": "Rejected, score", "score_margin": "Score margin"}


def contrast(columns: Columns, tokenizer: str = DEFAULT) -> Measured:
    """The contrast columns of a chunk. Jaccard is over sets of the tokenizer's tokens, 1 for two texts without any;
    a share of two empty texts is 0; the length ratio (rejected by chosen) of an empty chosen is nan."""
    chosen, rejected = columns.chosen, columns.rejected
    left, right = lengths(chosen), lengths(rejected)
    longest = np.maximum(left, right)
    edits = levenshtein(chosen, rejected)
    words = [overlap(chosen[cut], rejected[cut]) for cut in _batches(left + right)]
    shared = _joined([w.jaccard for w in words]) if tokenizer == DEFAULT else jaccard(chosen, rejected, tokenizer)
    return {
        "jaccard": shared,
        "levenshtein": edits.astype(np.float64),
        "lev_norm": _share(edits, longest),
        "prefix_share": _share(cpdist(chosen, rejected, scorer=Prefix.similarity), longest),
        "suffix_share": _share(cpdist(chosen, rejected, scorer=Postfix.similarity), longest),
        "word_diff": _joined([w.word_diff for w in words]),
        "len_ratio": np.divide(right, left, out=np.full(len(left), np.nan), where=left > 0),
        "len_diff": (left - right).astype(np.float64),
        "chosen_chars": left.astype(np.float64),
        "rejected_chars": right.astype(np.float64),
        "prompt_chars": lengths(columns.prompts).astype(np.float64),
    }


def scores(columns: Columns) -> Measured:
    """The scores that a chunk came with, and chosen less rejected."""
    return {
        "chosen_score": columns.chosen_scores,
        "rejected_score": columns.rejected_scores,
        "score_margin": columns.chosen_scores - columns.rejected_scores,
    }


def lengths(texts: Sequence[str]) -> Ints:
    """Characters of each text."""
    return np.fromiter(map(len, texts), np.int64, len(texts))


def levenshtein(chosen: Sequence[str], rejected: Sequence[str]) -> Ints:
    """Single-character insertions, deletions and replacements that turn one text into the other, exactly.

    A limit on the distance narrows the band that has to be filled, so one is guessed from the chunk's first pairs
    (a little above what most need); the few pairs beyond theirs are measured again without.
    """
    longest = np.maximum(lengths(chosen), lengths(rejected))
    found = np.zeros(len(longest), np.int64)
    usual = np.flatnonzero(longest <= LONG)
    first = usual[:PROBE]
    found[first] = cpdist([chosen[i] for i in first], [rejected[i] for i in first], scorer=Levenshtein.distance)
    share = MARGIN * float(np.quantile(_share(found[first], longest[first]), 0.9)) if len(first) else 1.0
    for row in usual[PROBE:].tolist():
        found[row] = _within(chosen[row], rejected[row], int(longest[row] * share))
    for row in np.flatnonzero(longest > LONG).tolist():
        found[row] = _within(chosen[row], rejected[row], _bound(chosen[row], rejected[row]))
    return found


def _within(left: str, right: str, limit: int) -> int:
    found: int = Levenshtein.distance(left, right, score_cutoff=limit)
    return found if found <= limit else int(Levenshtein.distance(left, right))


def _bound(left: str, right: str) -> int:
    """No less than the distance of two long texts: the sum over their pieces, which takes a fraction of the time."""
    pieces = max(len(left), len(right)) // PIECE
    lefts, rights = (
        [text[len(text) * i // pieces:len(text) * (i + 1) // pieces] for i in range(pieces)] for text in (left, right)
    )
    return int(cpdist(lefts, rights, scorer=Levenshtein.distance).sum())


def _share(part: Ints, whole: Ints) -> Numbers:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _joined(parts: Sequence[Numbers]) -> Numbers:
    return np.concatenate(parts) if parts else np.zeros(0)


def _batches(sizes: Ints) -> Iterator[slice]:
    """Cuts of neighbouring pairs, of so many characters at most unless a single pair has more."""
    start, total = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if place > start and (place - start == BATCH_PAIRS or total + size > BATCH_CHARS):
            yield slice(start, place)
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))
