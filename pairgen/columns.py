"""Values into Arrow columns, buffer by buffer.

`pyarrow.array` asks pandas about everything it is given, and so loads it: a quarter of a second and 40 MiB
before the first row of a run is written. The layouts are Arrow's own (columnar format, sections 2 to 4).
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

import pyarrow as pa

NUMBERS: dict[Any, tuple[str, Any]] = {pa.int64(): ("q", 0), pa.float64(): ("d", 0.0)}
Column = Sequence[Any]
EMPTY: Any = object()
"""What the fields of a null struct hold: no null, for a field that may hold none is checked all the same."""


def column(values: Column, kind: pa.DataType) -> pa.Array:
    """Values of text, bytes, numbers, truth values, tuples or dataclasses, None where null, as one array.

    Lone surrogates in a text become U+FFFD. Raises TypeError for a value of another type.
    """
    if kind in NUMBERS:
        code, zero = NUMBERS[kind]
        plain = array(code, [zero if value is None or value is EMPTY else value for value in values])
        return _made(kind, values, [pa.py_buffer(plain)])
    if pa.types.is_boolean(kind):
        return _made(kind, values, [_bits(values, _true)])
    if pa.types.is_struct(kind):
        return _made(kind, values, [], [column(_attributes(values, field.name), field.type) for field in kind])
    if pa.types.is_list(kind):
        parts = [() if value is None or value is EMPTY else value for value in values]
        inner = column(list(chain.from_iterable(parts)), kind.value_type)
        return _made(kind, values, [_offsets(parts)], [inner])
    if pa.types.is_string(kind):
        return _binary(kind, values, [_utf8(value) for value in values])
    if pa.types.is_binary(kind):
        return _binary(kind, values, [b"" if value is None or value is EMPTY else value for value in values])
    raise TypeError(f"no column of {kind}")


def mend(text: str) -> str:
    """The text as UTF-8 can hold it: surrogate pairs are joined, lone surrogates become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _utf8(text: Any) -> bytes:
    if text is None or text is EMPTY:
        return b""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return mend(text).encode()


def _binary(kind: pa.DataType, values: Column, parts: list[bytes]) -> pa.Array:
    return _made(kind, values, [_offsets(parts), pa.py_buffer(b"".join(parts))])


def _made(
    kind: pa.DataType, values: Column, buffers: list[pa.Buffer], children: list[pa.Array] | None = None
) -> pa.Array:
    """An array of these buffers behind the one that says which values are null, if any are."""
    valid = _bits(values, _present) if None in values else None
    return pa.Array.from_buffers(kind, len(values), [valid, *buffers], children=children)


def _offsets(parts: Sequence[Any]) -> pa.Buffer:
    """Where each part begins and the last one ends: 32 bits, so OverflowError past 2 GiB."""
    return pa.py_buffer(array("i", accumulate(map(len, parts), initial=0)))


def _bits(values: Column, test: Callable[[Any], bool]) -> pa.Buffer:
    """A bit for each value, the lowest first, in whole bytes."""
    digits = "".join("1" if test(value) else "0" for value in reversed(values))
    return pa.py_buffer(int(digits or "0", 2).to_bytes(-(-len(values) // 8), "little"))


def _present(value: Any) -> bool:
    return value is not None


def _true(value: Any) -> bool:
    return value is not EMPTY and bool(value)


def _attributes(values: Column, name: str) -> list[Any]:
    get = attrgetter(name)
    return [EMPTY if value is None or value is EMPTY else get(value) for value in values]
