"""Languages are told where they can be, and the sample does not depend on the rows' order."""

import random

import numpy as np
import pytest
from audit_tables import columns

from pairgen.audit import languages
from pairgen.audit.languages import Sample, language
from pairgen.audit.scan import Hashes, mixed

# the first article of the Universal Declaration of Human Rights
ARTICLE = {
    "English": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geiste der Brüderlichkeit begegnen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "Italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di "
    "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью "
    "и должны поступать в отношении друг друга в духе братства.",
    "Chinese": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
}


@pytest.mark.parametrize("name", ARTICLE)
def test_languages_are_told(name: str) -> None:
    """One sentence of plain prose is enough."""
    assert language(ARTICLE[name]) == name


@pytest.mark.parametrize("text", ["", "42", "Yes.", "[0.5, 1.5]", "A, B, C", "XQ@m3t4P", "\0", "\ud800", "🙂🙂", "()"])
def test_what_has_no_language_is_unclear(text: str) -> None:
    """Nothing is guessed of a word, a number or noise."""
    assert language(text) is None


def hashes(n: int) -> Hashes:
    return mixed(np.arange(1, n + 1, dtype=np.uint64))


def test_counts_unclear_and_mixed() -> None:
    """By the chosen answers; a prompt in another language makes a row mixed, an unclear one does not."""
    rows = [(ARTICLE["English"], ARTICLE["English"], "r")] * 3 + [
        (ARTICLE["English"], ARTICLE["German"], "r"), ("?", ARTICLE["French"], "r"), (ARTICLE["English"], "42", "r"),
        (ARTICLE["German"], ARTICLE["German"] + "\n```\nprint('hello, this is English')\n```", ARTICLE["English"]),
    ]
    sample = Sample()
    sample.take(columns(rows), hashes(len(rows)))
    found = sample.languages()
    assert list(found.counts.items()) == [("English", 3), ("German", 2), ("French", 1)]
    assert (found.heard, found.unclear, found.mixed) == (7, 1, 1)
    assert "of 7 chosen answers 1 " in found.note
    assert "1 answer in another language" in found.note


def test_code_blocks_are_not_listened_to() -> None:
    """An answer that is code alone has no language, closed or not."""
    assert language(languages._prose("```\nthe quick brown fox jumps over the lazy dog\n")) is None


def test_the_sample_is_the_same_in_any_order_and_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows with the lowest hashes, however they come."""
    monkeypatch.setattr(languages, "SIZE", 20)
    names = list(ARTICLE)
    rows = [("p", ARTICLE[names[k % len(names)]], "r") for k in range(200)]
    content = hashes(200)
    expected: dict[str, int] = {}
    for k in np.argsort(content)[:20].tolist():
        name = names[k % len(names)]
        expected[name] = expected.get(name, 0) + 1
    order = list(range(200))
    for size in (7, 50, 200):
        random.Random(size).shuffle(order)
        sample = Sample()
        for start in range(0, 200, size):
            part = order[start : start + size]
            sample.take(columns([rows[k] for k in part]), content[part])
        assert sample.languages().counts == expected


def test_no_rows() -> None:
    """Nothing heard, nothing said."""
    assert Sample().languages().counts == {}
