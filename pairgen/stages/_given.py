"""Answers that the data already holds: a list in a column, each a text or a record with its score and model."""

import math
from typing import Any

from pairgen.errors import UsageError
from pairgen.records import Response
from pairgen.schema import mend
from pairgen.sources import Record

TEXTS = ("response", "text", "content", "output", "answer", "completion")
SCORES = ("overall_score", "score", "rating")


def given_answers(record: Record, column: str) -> tuple[Response, ...]:
    """The answers in a record's column, in order. Raises UsageError naming the record."""
    values = column_of(record, column, "data.answers")
    if not isinstance(values, list):
        raise UsageError(f"{record.where}: {column} is {type(values).__name__}, not a list of answers")
    return tuple(_answer(value, f"{record.where}: {column}[{index}]") for index, value in enumerate(values))


def column_of(record: Record, column: str, option: str) -> Any:
    """A record's value of a column; `option` is the one that named it, for errors."""
    if not isinstance(record.value, dict) or column not in record.value:
        have = ", ".join(map(str, record.value)) if isinstance(record.value, dict) else "no columns"
        raise UsageError(f"{record.where}: no column {column!r}; have: {have}. Set {option}")
    return record.value[column]


def _answer(value: Any, where: str) -> Response:
    if isinstance(value, str):
        return Response(mend(value), "given", "stop", 0)
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {type(value).__name__}, not a text or a record with one")
    text = next((value[name] for name in TEXTS if isinstance(value.get(name), str)), None)
    if text is None:
        raise UsageError(f"{where} holds no text; an answer's text is its {', '.join(TEXTS)}")
    model = value.get("model")
    return Response(mend(text), model if isinstance(model, str) else "given", "stop", 0, score=_score(value))


def _score(value: dict[str, Any]) -> float | None:
    found = next((value[name] for name in SCORES if value.get(name) is not None), None)
    try:
        score = math.nan if found is None or isinstance(found, bool) else float(found)
    except (TypeError, ValueError):
        return None
    return score if math.isfinite(score) else None
