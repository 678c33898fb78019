"""Where a model is looked for, and what is said when it is not there."""

import pytest

from pairgen.engine import EngineConfig
from pairgen.errors import UsageError
from pairgen.models import model_folder


@pytest.mark.parametrize("name", ["./gone", "../gone", "/abs/gone", "~/gone", "here/or/gone"])
def test_a_path_is_never_asked_of_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is missing is one line, without what the hub thinks of its name."""

    def asked(*args: object, **kwargs: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    with pytest.raises(UsageError) as caught:
        model_folder(EngineConfig(use="train", model=name))
    assert str(caught.value) == f"model {name!r}: no such folder here"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("world/seed-z", "world/seed-"), ("world/seeda", "world/seed-a'"),
        ("world/instruction", "world/instructions.jsonl'"),
    ],
)
def test_a_misspelt_builtin(name: str, near: str) -> None:
    """Models are offered by their folder, other files by their name."""
    with pytest.raises(UsageError) as caught:
        model_folder(EngineConfig(use="train", model=f"builtin:{name}"))
    assert f"no {name!r} in data/: did you mean '{near}" in str(caught.value)
    assert "tokenizer" not in str(caught.value)
