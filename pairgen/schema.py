"""Row class -> Arrow schema, written down once per class and never inferred from rows.

Every optional column is typed and present from the first shard on, so shards of one step always
concatenate, in any reader.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from pairgen.columns import column, mend

__all__ = ["from_batch", "mend", "schema_of", "to_batch"]
R = TypeVar("R")
SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary(),
}


def schema_of(cls: type) -> pa.Schema:
    """The Arrow schema of a row class. Raises TypeError for an annotation with no Arrow type."""
    return _schema(cls)


@cache
def _schema(cls: Any) -> pa.Schema:
    if not is_dataclass(cls):
        raise TypeError(f"no Arrow schema for {cls}: a row class is a dataclass")
    hints = get_type_hints(cls)
    return pa.schema([pa.field(f.name, *_arrow(hints[f.name])) for f in fields(cls)])


def _arrow(hint: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of an annotation, and whether it may be null."""
    if get_origin(hint) in (Union, UnionType):
        inner = [arg for arg in get_args(hint) if arg is not NoneType]
        if len(inner) == 1:
            return _arrow(inner[0])[0], True
    if hint in SCALARS:
        return SCALARS[hint], False
    if get_origin(hint) is Literal:
        return pa.string(), False
    if get_origin(hint) is tuple:
        item, nullable = _arrow(get_args(hint)[0])
        return pa.list_(pa.field("item", item, nullable)), False
    if isinstance(hint, type) and is_dataclass(hint):
        return pa.struct(list(schema_of(hint))), False
    raise TypeError(f"no Arrow type for {hint}")


def to_batch(cls: type[R], rows: Sequence[R]) -> pa.RecordBatch:
    """Rows as one record batch with the class's schema; lone surrogates become U+FFFD."""
    schema = schema_of(cls)
    made = [column([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(made, schema=schema)


def from_batch(cls: type[R], batch: pa.RecordBatch) -> list[R]:
    """The rows of a record batch."""
    row_class: Any = cls
    load = _loader(row_class)
    return [load(item) for item in batch.to_pylist()]


def _identity(value: Any) -> Any:
    return value


@cache
def _loader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, UnionType):
        inner = _loader(next(arg for arg in get_args(hint) if arg is not NoneType))
        return inner if inner is _identity else lambda v: None if v is None else inner(v)
    if get_origin(hint) is tuple:
        item = _loader(get_args(hint)[0])
        return tuple if item is _identity else lambda v: tuple(item(x) for x in v)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        parts = [(f.name, _loader(hints[f.name])) for f in fields(hint)]
        return lambda v: hint(**{name: load(v[name]) for name, load in parts})  # type: ignore[operator]
    return _identity
