"""Identity: what counts, what does not, and what is refused."""

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.engine import Frozen
from pairgen.errors import UsageError
from pairgen.fingerprint import Runtime, canonical, diff, digest, file_digest, folder_digest, identity

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


class Knobs(Frozen):
    size: int = 1
    place: Runtime[str] = "here"


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@given(JSON, JSON)
def test_equal_digests_mean_equal_values(left: Any, right: Any) -> None:
    """Two JSON values have one digest exactly when their canonical spelling is one."""
    assert (digest(left) == digest(right)) == (canonical(left) == canonical(right))
    assert identity(left) == identity(identity(left))


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_key_order_does_not_count(value: dict[str, int]) -> None:
    """A mapping written in another order is the same mapping."""
    backwards = dict(reversed(value.items()))
    assert digest(identity(value)) == digest(identity(backwards))
    assert diff(identity(value), identity(backwards)) == []


def test_placement_does_not_count() -> None:
    """A Runtime field can change and the identity stays; any other field changes it."""
    assert identity(Knobs(place="there")) == identity(Knobs())
    assert identity(Knobs(size=2)) != identity(Knobs())


def test_a_dataclass_is_its_fields() -> None:
    """Dataclasses are encoded by field name."""
    assert identity(Point(1, 2)) == {"x": 1, "y": 2}


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), b"x", object(), Point, math.nan, math.inf, {1: "a"}])
def test_unknown_types_are_refused(value: object) -> None:
    """What has no identity raises: a silent str() would make different things equal."""
    with pytest.raises(TypeError, match="no identity"):
        identity(value)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, "null"), ([], {})]
)
def test_values_python_calls_equal_stay_apart(one: Any, other: Any) -> None:
    """1, 1.0, True and "1" are four values."""
    assert digest(one) != digest(other)


def test_lone_surrogates_have_a_spelling() -> None:
    """A lone surrogate neither fails nor collides with the character that replaces it."""
    assert digest("\ud800") != digest("\ufffd")


def test_diff_names_the_place() -> None:
    """A difference is one line with the path, the old and the new value."""
    assert diff({"judge": {"n": 4, "t": 1}}, {"judge": {"n": 8, "t": 1}}) == ["judge.n: 4 -> 8"]
    assert diff({}, {"a": None}) == []
    assert len(diff({"text": "x" * 500}, {"text": "y"})[0]) < 100


def test_the_digest_is_the_same_under_any_hash_seed() -> None:
    """Digests do not depend on PYTHONHASHSEED."""
    code = "from pairgen.fingerprint import *; print(digest(identity({k: [k] for k in 'qwertyuiop'})))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(seen) == 1


def test_a_model_is_its_files(tmp_path: Path) -> None:
    """A model folder's digest follows weights, tokenizer and config, not its place or its logs."""
    here, there = tmp_path / "a", tmp_path / "b"
    for folder in (here, there):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "merges.txt").write_text("a b")
    (there / "trainer_state.json").write_text("{}")
    (there / "optimizer.pt").write_bytes(b"moments")
    (there / "README.md").write_text("hello")
    assert folder_digest(here) == folder_digest(there)
    (there / "merges.txt").write_text("b a")
    assert folder_digest(here) != folder_digest(there)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.gguf"])
def test_any_kind_of_weights_counts(tmp_path: Path, name: str) -> None:
    """Weights in another format are weights: changing them is another model."""
    (tmp_path / name).write_bytes(b"1")
    before = folder_digest(tmp_path)
    (tmp_path / name).write_bytes(b"2")
    assert folder_digest(tmp_path) != before


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    """A folder with no weights is refused: all of them would share one identity."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="no model here"):
        folder_digest(tmp_path)


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    """The digest of a file is the sha256 of its content."""
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x").startswith("ba7816bf")
