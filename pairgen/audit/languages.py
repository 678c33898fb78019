"""Which languages the answers are in, by a sample: py3langid's guess where it is sure, unclear where it is not.

Short answers, numbers and code have no language that anyone could tell; they are counted as unclear rather than
guessed. The sample is by content, so the order of the rows does not change it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.columns import Columns

SIZE = 2000
"""Rows listened to: a share is then known to ± 2 points, in about a second."""
HEARD = 500
"""Characters of each text that are looked at."""
SURE = 0.7
"""Confidence from which a guess counts. On HH's and AlpacaEval's answers, what is not English falls below it."""
CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay", "nl": "Dutch",
    "no": "Norwegian", "nb": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}
"""Names of common languages; others keep their ISO 639 code."""
NO_LANGUAGE = frozenset({"zxx", "und"})
Hashes = NDArray[np.uint64]


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


@dataclass(frozen=True, slots=True)
class Languages:
    """Chosen answers by language, most frequent first, of `heard` rows; in `unclear` none could be told.

    `mixed` rows have a prompt in one language and a chosen answer in another, both surely: some are translations.
    """

    counts: dict[str, int]
    heard: int
    unclear: int
    mixed: int

    @property
    def note(self) -> str:
        """What was looked at, for a report."""
        parts = [f"Languages: of {self.heard:,} chosen answers {self.unclear:,} are too short or no prose"]
        if self.mixed:
            parts.append(f"{self.mixed:,} answer in another language than the prompt's (translations among them)")
        return "; ".join(parts) + "."


@dataclass(slots=True)
class Sample:
    """The `SIZE` rows whose content hashes lowest, of all chunks taken so far."""

    _hashes: list[int] = field(default_factory=list)
    _texts: list[tuple[str, str]] = field(default_factory=list)
    _bound: int = (1 << 64) - 1

    def take(self, chunk: Columns, content: Hashes) -> None:
        """Consider a chunk. `content` is a well-mixed hash of each row, `[N]`."""
        for row in np.flatnonzero(content <= np.uint64(self._bound)).tolist():
            self._hashes.append(int(content[row]))
            self._texts.append((_prose(chunk.prompts[row]), _prose(chunk.chosen[row])))
        if len(self._hashes) > 2 * SIZE:
            self._keep_lowest()

    def _keep_lowest(self) -> None:
        kept = sorted(range(len(self._hashes)), key=self._hashes.__getitem__)[:SIZE]
        self._texts = [self._texts[row] for row in kept]
        self._hashes = [self._hashes[row] for row in kept]
        if len(kept) == SIZE:
            self._bound = self._hashes[-1]

    def languages(self) -> Languages:
        """The languages of what was kept."""
        self._keep_lowest()
        pairs = [(language(prompt), language(chosen)) for prompt, chosen in self._texts]
        counts = Counter(chosen for _, chosen in pairs if chosen is not None)
        return Languages(
            counts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
            heard=len(pairs),
            unclear=sum(chosen is None for _, chosen in pairs),
            mixed=sum(prompt is not None and chosen is not None and prompt != chosen for prompt, chosen in pairs),
        )


def language(text: str) -> str | None:
    """The language of a text by name, None where it cannot be told."""
    code, confidence = _identifier().classify(text)
    return NAMES.get(code, code) if confidence >= SURE and code not in NO_LANGUAGE else None


def _prose(text: str) -> str:
    """The beginning of a text without its code blocks."""
    return CODE.sub(" ", text[: 4 * HEARD])[:HEARD]


@cache
def _identifier() -> _Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: _Identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return identifier
