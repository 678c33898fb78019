"""The table on disk: what goes in comes out, column by column, whatever the chunks."""

import gc
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.audit.table import Table


@given(st.lists(st.lists(st.floats(), min_size=1, max_size=5), min_size=1, max_size=6))
def test_columns_come_back_as_they_went_in(chunks: list[list[float]]) -> None:
    """Numbers of every kind, nan and infinities too, in the order of the chunks; hashes keep all 64 bits."""
    table = Table()
    for chunk in chunks:
        table.add({"value": np.array(chunk), "hash": np.array(chunk).view(np.uint64)})
    whole = np.concatenate([np.array(chunk) for chunk in chunks])
    table.join({"minus": -whole})
    assert table.names == ("value", "hash", "minus")
    assert len(table) == len(whole)
    np.testing.assert_array_equal(table.column("value"), whole)
    np.testing.assert_array_equal(table.column("hash"), whole.view(np.uint64))
    np.testing.assert_array_equal(table.columns["minus"], -whole)


def test_kept_as_parquet(tmp_path: Path) -> None:
    """Any reader opens what is kept; scratch columns can be read and stay behind."""
    table = Table(scratch=("near",))
    for start in (0, 3):
        table.add({"row": np.arange(start, start + 3), "near": np.ones(3)})
    table.join({"flag": np.array([0.0, 1, 0, 1, 0, 1])})
    table.keep(tmp_path / "rows.parquet")
    kept = pq.read_table(tmp_path / "rows.parquet").to_pydict()
    assert kept == {"row": list(range(6)), "flag": [0, 1, 0, 1, 0, 1]}
    assert table.column("near").tolist() == [1] * 6
    assert list(table.columns) == ["row", "flag"]
    assert os.listdir(tmp_path) == ["rows.parquet"]


def test_a_name_that_is_no_column() -> None:
    """It is a KeyError, as in every mapping; a column of another length is refused."""
    table = Table()
    table.add({"a": np.zeros(2)})
    with pytest.raises(KeyError):
        table.column("b")
    with pytest.raises(ValueError, match="3 rows, the table 2"):
        table.join({"b": np.zeros(3)})


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    """The file has no name from the beginning, so a killed audit leaves nothing either; its space is given back."""
    table = Table(tmp_path)
    table.add({"a": np.zeros(1000)})
    assert os.listdir(tmp_path) == []
    assert table.column("a").sum() == 0
    before = len(os.listdir("/proc/self/fd"))
    del table
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < before
