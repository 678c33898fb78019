"""A set of content ids that is small and exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.stages._ids import START, IdSet


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 40).map(lambda i: i * START) | st.just(0), max_size=200))
def test_it_is_a_set(numbers: list[int]) -> None:
    """Any ids, colliding ones and zero among them: new exactly when a set of them says so."""
    ids, known = IdSet(), set[int]()
    for number in numbers:
        assert ids.add(f"{number:016x}") == (number not in known)
        known.add(number)


def test_it_grows() -> None:
    """Ten times the first size: each is new once and known ever after."""
    ids = IdSet()
    values = [f"{(i * 0x9E3779B97F4A7C15) % 2**64:016x}" for i in range(10 * START)]
    assert all(ids.add(value) for value in values)
    assert not any(ids.add(value) for value in values)


def test_only_content_ids_are_taken() -> None:
    """A shorter or longer name would be another id's number."""
    with pytest.raises(ValueError, match="no content id"):
        IdSet().add("1")
