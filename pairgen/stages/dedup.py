"""Leave one of each: exact duplicates after normalising, and near ones by MinHash when asked."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from pairgen.checks import normalised
from pairgen.records import Drop, Instruction
from pairgen.stage import RowStage


class Dedup(RowStage):
    """Drop repeated instructions; the first one stays, so that adding rows at the end moves none.

    `near` is the estimated Jaccard similarity of character 5-grams from which two instructions count
    as the same (None: exact only, after case, spacing and end punctuation are normalised).
    """

    reads: ClassVar[type] = Instruction
    writes: ClassVar[type] = Instruction
    whole: ClassVar[bool] = True

    near: float | None = Field(default=None, gt=0, le=0.95)
    permutations: int = Field(default=128, ge=64)

    def run(self, rows: Iterator[Instruction]) -> Iterator[Instruction | Drop]:
        seen: dict[str, str] = {}
        index = _NearIndex(self.near, self.permutations) if self.near is not None else None
        for row in rows:
            text = "\n".join(f"{m.role}: {normalised(m.content)}" for m in row.messages)
            if text in seen:
                yield Drop(row.id, self.id, "duplicate", f"of {seen[text]}", failed=False)
                continue
            seen[text] = row.id
            words = "\n".join(normalised(m.content) for m in row.messages)
            twin = index.twin(row.id, words) if index else None
            yield row if twin is None else Drop(row.id, self.id, "near_duplicate", f"of {twin}", failed=False)


class _NearIndex:
    """MinHash LSH over character 5-grams; what it proposes is checked against the full signatures."""

    def __init__(self, threshold: float, permutations: int) -> None:
        from datasketch import MinHash, MinHashLSH

        self._minhash = MinHash
        self._permutations = permutations
        self._threshold = threshold
        # nine parts recall to one part precision: a wrong proposal costs a comparison, a missed one stays
        self._lsh = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(0.1, 0.9))
        self._hashes: dict[str, MinHash] = {}

    def twin(self, row_id: str, text: str) -> str | None:
        """The id of an earlier text this one repeats, or None, and then it is remembered."""
        grams = {text[i : i + 5].encode("utf-8", "surrogatepass") for i in range(max(1, len(text) - 4))}
        signature = self._minhash(num_perm=self._permutations, seed=1)
        signature.update_batch(sorted(grams))
        for other in sorted(self._lsh.query(signature)):
            if self._hashes[other].jaccard(signature) >= self._threshold:
                return str(other)
        self._lsh.insert(row_id, signature)
        self._hashes[row_id] = signature
        return None


STAGE = Dedup
