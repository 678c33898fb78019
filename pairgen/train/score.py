"""Rows with what a reward model gives them, streamed: the same rows, two more numbers, and a tally.

The records are TRL's conversational format, which training reads again as it is. A conversation that
cannot be scored (too long, no answer) keeps its row with an empty score, and is counted with the reason.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pairgen.errors import UsageError
from pairgen.fs import atomic_file
from pairgen.records import Demonstration, Labelled, Messages, Preference, messages_id
from pairgen.schema import schema_of
from pairgen.train.annotator import RewardModel
from pairgen.train.example import TrainRow
from pairgen.train.render import Unfit
from pairgen.train.samples import Sampled

CHUNK = 256
SUFFIXES = (".jsonl", ".parquet")


@dataclass(slots=True)
class Tally:
    """What was scored. `margin` and `square` are sums over pairs of chosen less rejected, and of its square."""

    rows: int = 0
    pairs: int = 0
    wins: int = 0
    margin: float = 0.0
    square: float = 0.0
    score: float = 0.0
    unscored: Counter[str] = field(default_factory=Counter)

    def pair(self, chosen: float, rejected: float) -> None:
        """Count a pair."""
        self.pairs += 1
        self.wins += chosen > rejected
        self.margin += chosen - rejected
        self.square += (chosen - rejected) ** 2

    def to_json(self) -> dict[str, Any]:
        """Rows, and over scored pairs accuracy and mean margin, each with its standard error."""
        found: dict[str, Any] = {"rows": self.rows, "unscored": dict(sorted(self.unscored.items()))}
        if n := self.pairs:
            share, mean = self.wins / n, self.margin / n
            spread = math.sqrt(max(0.0, self.square / n - mean**2) / n)
            found |= {"pairs": n, "accuracy": share, "accuracy_se": math.sqrt(share * (1 - share) / n),
                      "margin": mean, "margin_se": spread}
        elif alone := self.rows - sum(self.unscored.values()):
            found["score"] = self.score / alone
        return found


def policy_scores(model: RewardModel, sampled: Iterable[Sampled]) -> dict[str, float]:
    """The mean score of the policy's own answers, by prompt id; answers that were cut off do not count."""
    found: dict[str, float] = {}
    source = iter(sampled)
    while chunk := list(islice(source, CHUNK)):
        answers = [s.prompt + _assistant(text) for s in chunk for text in s.whole]
        scores = iter(list(model.scores(answers)))
        for s in chunk:
            numbers = [x for x in islice(scores, len(s.whole)) if not isinstance(x, Unfit)]
            if numbers:
                found[s.id] = sum(numbers) / len(numbers)
    return found


def scored_records(rows: Iterable[TrainRow], model: RewardModel, tally: Tally,
                   policy: Mapping[str, float] | None = None) -> Iterator[dict[str, Any]]:
    """Each row as a record with its scores, counted in `tally`. `policy` fills policy_score by prompt."""
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        sides = [_conversations(row) for row in chunk]
        scores = iter(list(model.scores([c for side in sides for c in side])))
        for row, side in zip(chunk, sides, strict=True):
            found = list(islice(scores, len(side)))
            _count(tally, found)
            yield _record(row, [None if isinstance(s, Unfit) else s for s in found], policy)


def _conversations(row: TrainRow) -> tuple[Messages, ...]:
    if isinstance(row, Preference):
        return row.prompt + row.chosen, row.prompt + row.rejected
    return (row.messages if isinstance(row, Demonstration) else row.prompt + row.completion,)


def _count(tally: Tally, found: Sequence[float | Unfit]) -> None:
    tally.rows += 1
    bad = [s for s in found if isinstance(s, Unfit)]
    numbers = [s for s in found if not isinstance(s, Unfit)]
    if bad:
        tally.unscored[str(bad[0].args[0])] += 1
    elif len(numbers) == 2:
        tally.pair(*numbers)
    else:
        tally.score += numbers[0]


def _record(row: TrainRow, scores: Sequence[float | None], policy: Mapping[str, float] | None) -> dict[str, Any]:
    cells = asdict(row)
    if isinstance(row, Preference):
        cells |= {"chosen_score": scores[0], "rejected_score": scores[1]}
        if policy is not None:
            cells["policy_score"] = policy.get(messages_id(row.prompt))
        return cells
    if isinstance(row, Labelled):
        cells["label"] = cells.pop("desirable")
    return cells | {"score": scores[0]}


def _assistant(text: str) -> Messages:
    from pairgen.records import Message

    return (Message("assistant", text),)


# --- the file -----------------------------------------------------------------------------------------


class Writer(Protocol):
    """Takes records one at a time."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a record."""


@contextmanager
def record_file(path: Path) -> Iterator[Writer]:
    """A .jsonl or .parquet file that is there whole when the block ends well, and else not at all."""
    with atomic_file(path) as file:
        writer = _Lines(file) if path.suffix == ".jsonl" else _Table(file)
        yield writer
        writer.close()


class _Lines:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, record: Mapping[str, Any]) -> None:
        kept = {k: v for k, v in record.items() if v is not None or k in {"chosen_score", "rejected_score", "score"}}
        self._file.write(json.dumps(kept).encode() + b"\n")

    def close(self) -> None:
        """Nothing is left to write."""


class _Table:
    """Row groups of CHUNK records; the columns are those of the first record's kind."""

    def __init__(self, file: Any) -> None:
        self._file, self._rows, self._writer = file, [], None  # type: tuple[Any, list[Any], Any]

    def write(self, record: Mapping[str, Any]) -> None:
        self._rows.append(record)
        if len(self._rows) == CHUNK:
            self._flush()

    def close(self) -> None:
        """The last records, and the file's foot."""
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow.parquet as pq

        if not self._rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, _schema(self._rows[0]))
        names = set(self._writer.schema.names)
        if odd := next((row for row in self._rows if set(row) != names), None):
            raise UsageError(f"row {odd['id']} has other columns than the first row, which a table cannot hold: "
                             "write a .jsonl file")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows = []


def _schema(record: Mapping[str, Any]) -> pa.Schema:
    kind = Preference if "chosen" in record else Labelled if "label" in record else Demonstration
    schema = schema_of(kind)
    if kind is Labelled:
        schema = schema.set(schema.get_field_index("desirable"), pa.field("label", pa.bool_()))
    return schema if kind is Preference else schema.append(pa.field("score", pa.float64()))
