"""Tokenizers of the audit: what each cuts, and what a user is told about one that cannot be had."""

import json
from pathlib import Path

import pytest

from pairgen.audit.tokens import MEANINGS, describe, jaccard
from pairgen.errors import UsageError


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("words", 3 / 6),  # Don ' t | stop ! | go
        ("whitespace", 1 / 3),  # Don't | stop! | go
        ("characters", 6 / 10),  # D o n ' t and a space | s p ! | g
        ("bytes", 6 / 10),
    ],
)
def test_shared_tokens_counted_by_hand(name: str, shared: float) -> None:
    """Two short texts, counted on paper; without any token they are the same."""
    assert jaccard(["Don't stop!", "", ""], ["Don't go", "", "a"], name).tolist() == [shared, 1, 0]


def test_bytes_are_not_characters() -> None:
    """é and è are one byte alike in UTF-8, no character."""
    assert jaccard(["é"], ["è"], "characters").tolist() == [0]
    assert jaccard(["é"], ["è"], "bytes").tolist() == [1 / 3]


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    """A folder with tokenizer.json is a tokenizer; its name and size are stated. Lone surrogates do no harm."""
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"}
    parts = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None, "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts))
    pytest.importorskip("tokenizers")
    assert jaccard(["a b a", "\ud800"], ["b c d", "e"], str(tmp_path)).tolist() == [1 / 3, 1]
    assert describe(str(tmp_path)) == f"{tmp_path} (Hugging Face tokenizer, 3 tokens)"


def test_a_name_that_is_no_tokenizer(tmp_path: Path) -> None:
    """One line that names what was given and what there is."""
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    with pytest.raises(UsageError, match=r"^tokenizer '.*': .*give words, whitespace, .*, a folder") as error:
        describe(str(file))
    assert "\n" not in str(error.value)


def test_every_own_tokenizer_is_described() -> None:
    """The summary states name, version and meaning."""
    assert all(describe(name).startswith(f"{name}/1 (") for name in MEANINGS)
