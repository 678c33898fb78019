"""Models that cannot be loaded: one line that names the folder."""

import shutil
from pathlib import Path

import pytest

from pairgen.errors import UsageError
from pairgen.train.config import TrainConfig
from pairgen.train.model import load, positions_of


@pytest.fixture
def broken(init: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return Path(shutil.copytree(init, tmp_path / "model"))


@pytest.mark.parametrize("objective", ["dpo", "bt"])
@pytest.mark.parametrize("content", [b"junk", b"", None, b"\x10" + bytes(7) + b'{"a":' + bytes(11)])
def test_weights_that_cannot_be_read(broken: Path, objective: str, content: bytes | None) -> None:
    weights = broken / "model.safetensors"
    if content is None:
        weights.unlink()
    else:
        weights.write_bytes(content)
    with pytest.raises(UsageError, match=r"/model: its weights cannot be read \(.+\)$") as caught:
        load(broken, TrainConfig(objective=objective, learning_rate=1e-3))
    assert "\n" not in str(caught.value)


def test_weights_of_another_size(broken: Path) -> None:
    """As after an edit of the config."""
    config = broken / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    with pytest.raises(UsageError, match=r"/model: its weights cannot be read \(.+\)$"):
        load(broken, TrainConfig(objective="dpo", learning_rate=1e-3))


@pytest.mark.parametrize("content", ["junk", "{}", '{"model_type": "nosuch"}'])
def test_a_config_that_cannot_be_read(broken: Path, content: str) -> None:
    (broken / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"/model: its config cannot be read \(.+\)$") as caught:
        positions_of(broken)
    assert "\n" not in str(caught.value)
