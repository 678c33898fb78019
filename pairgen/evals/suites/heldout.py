"""Agreement with construction: held-out pairs of a run, judged as if the construction were the truth.

It says whether the judge picks the answer that was built to be the better one. Where construction is
wrong a right judge disagrees, so this is no accuracy against people.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pairgen.errors import UsageError
from pairgen.evals.items import PairItem
from pairgen.evals.judging import PairBenchmark
from pairgen.fingerprint import JSON, Runtime
from pairgen.records import Pair
from pairgen.resources import resolve
from pairgen.stage import row_seed
from pairgen.store import read_manifest, read_rows


class Heldout(PairBenchmark):
    """The pairs of a finished step: the loop's step named by `source`, or a folder of Pair rows, `path`.

    `n` takes that many, drawn by content.
    """

    version: ClassVar[int] = 1

    path: Runtime[str | None] = None
    n: int | None = Field(default=None, ge=1)

    def at(self, folders: Sequence[Path]) -> "Heldout":
        return self.model_copy(update={"path": str(folders[0])}) if folders else self

    def outside(self) -> JSON:
        manifest = None if self.path is None else read_manifest(resolve(self.path))
        return None if manifest is None else manifest.digest

    def items(self) -> Sequence[PairItem]:
        if self.path is None:
            raise UsageError(f"{self.id}: needs `source:`, a step that writes pairs, or `path:`, its folder")
        pairs = list(read_rows(resolve(self.path), Pair))
        if self.n is not None:
            pairs = sorted(pairs, key=lambda pair: row_seed(self.seed, pair.id))[: self.n]
        return [pair_item(pair) for pair in pairs]


def pair_item(pair: Pair) -> PairItem:
    """A constructed pair as something to judge; its group is the instruction's category."""
    group = pair.instruction.category or "all"
    return PairItem(pair.id, group, pair.instruction.text, pair.chosen, pair.rejected)


BENCHMARK = Heldout
