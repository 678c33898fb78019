"""Our losses against a file of other people's: every number it holds, loss or gradient, or a failure.

`python -m pairgen.train.golden FILE` reads the format of `tests/train/golden_losses.json`: values that
TRL's and the papers' own code gave on chosen log-probs. Each entry's name says the loss and its options
(`names`), its inputs are rebuilt in fp64, and our objectives run on them through OBJECTIVES, reduced as
the trainer does. A field or entry that is not understood fails, so that nothing is passed over. Where
the other code overflowed there is no number to reproduce; ours must be finite there, and is listed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pairgen.train.golden.batch import of_batches
from pairgen.train.golden.check import Entry, Number, merged
from pairgen.train.golden.other import of_authors, of_reward_models, of_tokens
from pairgen.train.golden.rows import of_rows

__all__ = ["Entry", "Number", "check"]

SECTIONS = {"_about", "rows", "batch", "reward_modelling", "token_level", "not_trl_authors_code"}


def check(golden: Mapping[str, Any]) -> list[Entry]:
    """Every entry of a file's content, compared. Raises KeyError, TypeError or ValueError where it has another form."""
    return merged(_entries(golden))


def _entries(golden: Mapping[str, Any]) -> Iterator[Entry]:
    rows, ids = {row["id"]: row for row in golden["rows"]}, golden["_about"].get("batch_rows", [])
    yield from of_rows(golden["rows"])
    yield from of_batches(golden.get("batch", {}), rows, ids)
    yield from of_reward_models(golden.get("reward_modelling", {}))
    yield from of_tokens(golden.get("token_level", {}))
    yield from of_authors(golden.get("not_trl_authors_code", {}), rows, ids)
    yield from (Entry(name, (), "no such section here") for name in golden.keys() - SECTIONS)
