"""Rows to Arrow and back: typed, lossless, and the same columns whatever the rows hold."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairgen import records
from pairgen.records import Drop, Instruction, Message
from pairgen.schema import from_batch, mend, schema_of, to_batch

ROWS = [
    records.Instruction,
    records.Candidates,
    records.Pair,
    records.Judged,
    records.Demonstration,
    records.Preference,
    records.Rollout,
    records.Drop,
]
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
for scalar, strategy in (
    (str, TEXT),
    (int, st.integers(-(2**63), 2**63 - 1)),
    (float, st.floats(allow_nan=False)),
):
    st.register_type_strategy(scalar, strategy)


@pytest.mark.parametrize("cls", ROWS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_row_class_round_trips(cls: type[Any], data: st.DataObject) -> None:
    """Any rows of any class come back from Arrow equal, nulls and nested lists included."""
    rows = data.draw(st.lists(st.from_type(cls), max_size=3))
    batch = to_batch(cls, rows)
    assert batch.schema == schema_of(cls)
    assert from_batch(cls, batch) == rows


@pytest.mark.parametrize("cls", ROWS)
def test_no_rows_have_the_same_schema(cls: type) -> None:
    """The schema comes from the class: a batch of no rows has every column, typed."""
    batch = to_batch(cls, [])
    assert batch.schema == schema_of(cls)
    assert not any(pa.types.is_null(field.type) for field in batch.schema)


def test_only_optional_fields_may_be_null() -> None:
    """`X | None` is a nullable column and `X` is not."""
    schema = schema_of(Instruction)
    assert schema.field("category").nullable
    assert not schema.field("source").nullable


def test_lone_surrogates_become_the_replacement_character() -> None:
    """Text that UTF-8 cannot hold is stored with U+FFFD; surrogate pairs are joined."""
    row = Drop("1", "load", "\ud83d\ude00", "lone \ud800.", raw=None)
    assert from_batch(Drop, to_batch(Drop, [row])) == [Drop("1", "load", "😀", "lone \ufffd.", raw=None)]
    nested = Instruction("1", (Message("user", "x\udfff"),), "s")
    assert from_batch(Instruction, to_batch(Instruction, [nested]))[0].text == "x\ufffd"


@given(st.text())
def test_mended_text_is_utf8_and_otherwise_untouched(text: str) -> None:
    """`mend` changes nothing in well-formed text, and its result can always be written."""
    assert mend(text).encode("utf-8").decode("utf-8") == mend(text)
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert mend(text) == text


def test_an_annotation_without_an_arrow_type_is_refused() -> None:
    """A field Arrow cannot type is an error when the schema is made, not when a row is written."""

    @dataclass(frozen=True)
    class Loose:
        anything: dict[str, str]

    with pytest.raises(TypeError, match="no Arrow type"):
        schema_of(Loose)
