"""Verdicts somebody stored: what one row of a verdict file says of one item.

The documented columns, in JSONL, JSON, CSV, Parquet or Arrow:

- `id` (or `item`, `item_id`): the item's.
- `order`: chosen_first or rejected_first; or file (0, false: as the benchmark's file lists them) or exchanged
  (1, true); `both` for a verdict made of both orders. Of choices the indices as shown: 2,0,1,3.
- `verdict`: the slot that won, A or B (C, D), or tie; empty where the judge's reply could not be read. Of ratings
  the number. Or `winner`: chosen, rejected or tie; 1 or 2 for an answer by its place in the benchmark's file.
- `text` instead of a verdict: what the judge wrote, to be read by a parser. A `finish` of length says that it was
  cut at its token limit.
- `scores` instead of both: a scoring model's, one per answer in the item's order (the better answers first);
  or `score_chosen` and `score_rejected`.
- `sample`: a number, where an item was asked several times.
"""

from dataclasses import dataclass

from pairgen.evals.filerow import BadRow, Row

ORDER_NAMES = {
    "chosen_first": "chosen_first", "rejected_first": "rejected_first", "both": "both",
    "file": "file", "0": "file", "false": "file", "original": "file",
    "exchanged": "exchanged", "1": "exchanged", "true": "exchanged", "swapped": "exchanged",
}
WINNERS = {
    "chosen": "chosen", "rejected": "rejected", "1": "first", "2": "second", "first": "first", "second": "second",
    "a": "first", "b": "second", "model_a": "first", "model_b": "second", "tie": "tie", "0": "tie", "": "",
}
IDS = ("id", "item", "item_id")
TEXTS = ("text", "judgment", "generated_output")


@dataclass(frozen=True, slots=True)
class Said:
    """What a verdict file says once of one item. One of `verdict`, `winner`, `text` and `scores` is given.

    `winner` is chosen, rejected, tie, or first or second of the benchmark's file; "" in it, as in `verdict`, is a
    reply that could not be read. `note` is kept as the status of such a verdict. `optional` is of an item that
    the benchmark need not have.
    """

    where: str
    item: str
    order: str = ""
    verdict: str | None = None
    winner: str | None = None
    text: str | None = None
    scores: tuple[float | None, ...] = ()
    sample: int = 0
    note: str | None = None
    optional: bool = False
    finish: str = "stop"


def documented(row: Row) -> Said:
    """A row with the documented columns. Raises BadRow naming what is wrong."""
    key = row.key(*IDS) if any(row.has(name) for name in IDS) else str(row.given(*IDS))
    sample = int(row.as_number("sample", row.value.get("sample") or 0, 0, 1e6))
    order = _order(row)
    if scores := _scores(row):
        return Said(row.where, key, order, scores=scores, sample=sample)
    if "winner" in row.value:
        return Said(row.where, key, order, winner=winner_of(row, "winner"), sample=sample)
    if "verdict" in row.value:
        found = row.value["verdict"]
        return Said(row.where, key, order, verdict="" if found is None else str(found).strip(), sample=sample)
    finish = row.text("finish") if row.has("finish") else "stop"
    return Said(row.where, key, order, text=row.text(*TEXTS, empty=True), sample=sample, finish=finish)


def winner_of(row: Row, column: str) -> str:
    """A winner as one of chosen, rejected, first, second, tie and "". Raises BadRow."""
    found = row.given(column)
    name = "" if found is None else str(found).strip().lower()
    if name not in WINNERS:
        wanted = ", ".join(filter(None, WINNERS))
        raise BadRow(f"{row.where}: {column} is {found!r}; it must be one of {wanted}, or empty")
    return WINNERS[name]


def _order(row: Row) -> str:
    found = next((row.value[name] for name in ("order", "is_shuffled") if row.has(name)), "")
    name = str(found).strip().lower()
    if not name or name in ORDER_NAMES or ("," in name and name.replace(",", "").isdecimal()):
        return ORDER_NAMES.get(name, name)
    raise BadRow(
        f"{row.where}: order is {found!r}; it must be chosen_first, rejected_first, file, exchanged or both, "
        "or the indices of several answers as shown (2,0,1,3)"
    )


def _scores(row: Row) -> tuple[float | None, ...]:
    if row.has("scores"):
        found = row.value["scores"]
        if isinstance(found, str) or not hasattr(found, "__iter__"):
            raise BadRow(f"{row.where}: scores is {found!r}, not a list of numbers")
        return tuple(_score(row, "scores", value) for value in found)
    if "score_chosen" in row.value and "score_rejected" in row.value:
        return tuple(_score(row, name, row.value[name]) for name in ("score_chosen", "score_rejected"))
    return ()


def _score(row: Row, name: str, value: object) -> float | None:
    """A finite number, or None for an answer that was not scored."""
    return None if value is None else row.as_number(name, value, -1e300, 1e300)
