"""Columns are what Arrow itself makes of the same values, and cost no pandas."""

import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_schema import ROWS

from pairgen.columns import column
from pairgen.schema import schema_of, to_batch

WRITES = """
import sys
from pathlib import Path
from pairgen.records import Instruction, Message
from pairgen.store import StepWriter, read_shard
with StepWriter(Path(sys.argv[1]), Instruction, 10) as writer:
    writer.add(Instruction("0", (Message("user", "Why?"),), "here"))
    writer.close()
assert [row.id for row in read_shard(Path(sys.argv[1]) / "part-00000.arrow")] == ["0"]
assert "pandas" not in sys.modules
"""


@pytest.mark.parametrize("cls", ROWS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_become_what_pyarrow_makes_of_them(cls: type[Any], data: st.DataObject) -> None:
    """For any rows of any class: equal to the batch that pyarrow builds from their dicts, and valid."""
    rows = data.draw(st.lists(st.from_type(cls), max_size=5))
    batch = to_batch(cls, rows)
    batch.validate(full=True)
    assert batch.equals(pa.RecordBatch.from_pylist([asdict(row) for row in rows], schema=schema_of(cls)))


@pytest.mark.parametrize("cls", ROWS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_become_parquet(cls: type[Any], data: st.DataObject) -> None:
    """Parquet's writer refuses a null in a field that has none, also where the struct around it is null itself."""
    batch = to_batch(cls, data.draw(st.lists(st.from_type(cls), max_size=4)))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, batch.schema) as writer:
        writer.write_batch(batch)
    assert pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist() == batch.to_pylist()


@pytest.mark.parametrize(("kind", "values"), [
    (pa.bool_(), [True, False, None] * 30), (pa.binary(), [b"", None, b"\x00\xff"]),
    (pa.list_(pa.list_(pa.int64())), [((1, 2), ()), None, ((3,),)]), (pa.string(), [None] * 9), (pa.float64(), []),
])
def test_plain_columns(kind: pa.DataType, values: list[Any]) -> None:
    """Bits over several bytes, nested lists, nothing but nulls, nothing at all."""
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))


def test_writing_and_reading_rows_loads_no_pandas(tmp_path: Any) -> None:
    """pyarrow's own converter would: a quarter of a second and 40 MiB before the first row."""
    subprocess.run([sys.executable, "-c", WRITES, str(tmp_path / "step")], check=True)


def test_other_types_are_refused() -> None:
    """A value of another type is an error, never a silent cast."""
    with pytest.raises(TypeError):
        column(["1"], pa.int64())
    with pytest.raises(TypeError):
        column([1], pa.string())
    with pytest.raises(TypeError, match="no column of"):
        column([1], pa.date32())
