"""What a token is, for the Jaccard of an audit: named, versioned, and any Hugging Face tokenizer too."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pairgen.audit.columns import Numbers
from pairgen.checks import TOKEN
from pairgen.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEFAULT = "words"
Split = Callable[[str], Iterable[Hashable]]


def _characters(text: str) -> str:
    return text


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


SPLITS: dict[str, Split] = {DEFAULT: TOKEN.findall, "whitespace": str.split, "characters": _characters, "bytes": _bytes}
MEANINGS = {
    DEFAULT: r"words/1 (\w+ or one other visible character, as written)",
    "whitespace": "whitespace/1 (cut at white space, as written)",
    "characters": "characters/1 (Unicode code points)",
    "bytes": "bytes/1 (UTF-8)",
}


def describe(name: str) -> str:
    """The tokenizer's name, version and meaning, as a summary states it. Raises UsageError for an unknown one."""
    if name in MEANINGS:
        return MEANINGS[name]
    return f"{name} (Hugging Face tokenizer, {_loaded(name).get_vocab_size():,} tokens)"


def jaccard(chosen: Sequence[str], rejected: Sequence[str], name: str = DEFAULT) -> Numbers:
    """Shared over all distinct tokens of each pair `[N]`, 1 where neither text has one."""
    pairs = zip(_sets(chosen, name), _sets(rejected, name), strict=True)
    shares = [len(left & right) / len(left | right) if left or right else 1.0 for left, right in pairs]
    return np.array(shares, np.float64)


def _sets(texts: Sequence[str], name: str) -> list[frozenset[Hashable]]:
    if split := SPLITS.get(name):
        return [frozenset(split(text)) for text in texts]
    # its encoder takes valid UTF-8 only
    valid = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    return [frozenset(found.ids) for found in _loaded(name).encode_batch(valid, add_special_tokens=False)]


def _of_hub(name: str) -> str:
    """The file of a tokenizer on the hub. Asked once: without a network a download tries for half a minute."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    kept = try_to_load_from_cache(name, "tokenizer.json")
    if isinstance(kept, str):
        return kept
    HfApi().model_info(name, timeout=10)
    return str(hf_hub_download(name, "tokenizer.json"))


@cache
def _loaded(name: str) -> "Tokenizer":
    """A tokenizer of the hub, or of a folder or file on disk. Raises UsageError."""
    known = ", ".join(MEANINGS)
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UsageError(
            f"tokenizer {name!r}: have {known}; Hugging Face tokenizers need `pip install tokenizers`"
        ) from error
    path = Path(name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return Tokenizer.from_file(str(file) if path.exists() else _of_hub(name))
    except Exception as error:  # the library raises bare Exceptions for every fault there is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"tokenizer {name!r}: {reason}; give {known}, a folder with tokenizer.json or a name on the hub"
        ) from error
