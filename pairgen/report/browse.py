"""Pairs to browse without a script: radio buttons that the style sheet obeys.

Every pair carries a class for each filter's value, `f0-2` the third of the first filter; a rule hides the
pairs that lack the class of a checked button. Classes and rules are made of numbers only, never of text.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pairgen.audit.summary import DatasetAudit, Example
from pairgen.report.html import EMPTY, render, verbatim, word_diff
from pairgen.report.measures import plain_number
from pairgen.report.numbers import count
from pairgen.report.text import one_line

BUDGET = 2_500_000
"""Characters of page that the pairs may take together."""

OPTIONS = 12
"""Values of one filter; rarer ones are shown under `all` only."""

OPEN = 2
"""Pairs that are unfolded at first."""

PROMPT = 90
"""Characters of a prompt that its title shows."""

JACCARD = ((0.2, "under 20"), (0.4, "20 to 40"), (0.6, "40 to 60"), (float("inf"), "60 and more"))
LONGER = ((0.9, "chosen longer"), (1.1, "about equal"), (float("inf"), "rejected longer"))
"""Upper ends of length ratios, rejected by chosen, and what such pairs are called."""

BANDS = {name: place for bands in (JACCARD, LONGER) for place, (_, name) in enumerate(bands)} | {"unknown": 9}
"""Bands keep their order; other values are sorted as words."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair with its dataset's place and name, and why it is shown in words."""

    dataset: int
    name: str
    why: str
    example: Example


@dataclass(frozen=True, slots=True)
class Filter:
    """A row of buttons: what each is called. A pair has the button's class or none of this filter's."""

    title: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Browser:
    """The pairs with their buttons, and the rules that go into the page's style sheet."""

    body: Markup
    style: str


def browser(datasets: Sequence[DatasetAudit]) -> Browser:
    """Pairs of all datasets in turn, as many as the page has room for."""
    pairs = _in_turn(datasets)
    if not pairs:
        return Browser(EMPTY, "")
    facets: list[tuple[str, Callable[[Shown], str]]] = [
        ("Dataset", lambda pair: f"{pair.dataset + 1}. {one_line(pair.name, 40)}"),
        ("Why it is here", lambda pair: one_line(pair.why, 40)),
        ("Group", lambda pair: one_line(pair.example.group, 40) or "(no group)"),
        ("Jaccard ×100", lambda pair: _band(pair.example.jaccard, JACCARD)),
        ("Length", lambda pair: _band(pair.example.length_ratio, LONGER)),
    ]
    found = [(_filter(title, map(value, pairs)), value) for title, value in facets]
    used = [(one, value) for one, value in found if len(one.values) > 1]
    blocks: list[Markup] = []
    room = BUDGET
    for pair in pairs:
        classes = [f"f{at}-{one.values.index(value(pair))}" for at, (one, value) in enumerate(used)
                   if value(pair) in one.values]
        block = _pair(pair, classes, len(datasets) > 1, len(blocks) < OPEN)
        room -= len(block)
        if room < 0:
            break
        blocks.append(block)
    filters = [one for one, _ in used]
    body = render("browse.html", filters=filters, pairs=blocks, left=count(len(pairs) - len(blocks)))
    return Browser(body, _rules(filters))


def _in_turn(datasets: Sequence[DatasetAudit]) -> list[Shown]:
    """The first pair of each dataset and reason, then the second of each: a cut leaves some of everything."""
    ranks: Counter[tuple[int, str]] = Counter()
    ordered: list[tuple[int, Shown]] = []
    for at, dataset in enumerate(datasets):
        called = {rate.name: rate.label for rate in dataset.hygiene}
        for example in dataset.examples:
            why = called.get(example.why, example.why.replace("_", " "))
            ranks[at, example.why] += 1
            ordered.append((ranks[at, example.why], Shown(at, dataset.name, why, example)))
    return [pair for _, pair in sorted(ordered, key=lambda one: one[0])]


def _filter(title: str, values: Iterable[str]) -> Filter:
    most = [value for value, _ in Counter(values).most_common(OPTIONS)]
    return Filter(title, tuple(sorted(most, key=lambda value: (BANDS.get(value, 0), value))))


def _band(value: float, bands: Sequence[tuple[float, str]]) -> str:
    return next((name for end, name in bands if value < end), "unknown")


def _pair(pair: Shown, classes: Sequence[str], several: bool, unfolded: bool) -> Markup:
    one = pair.example
    facts = [
        one_line(pair.name, 40) if several else "", f"row {count(one.row)}", one_line(one.group, 40),
        f"Jaccard {plain_number(100 * one.jaccard, 1)}", f"Levenshtein {count(one.levenshtein)}",
        f"length ×{plain_number(one.length_ratio, 2)}" if math.isfinite(one.length_ratio) else "",
    ]
    return render(
        "pair.html", classes=" ".join(classes), why=one_line(pair.why, 60), facts=[fact for fact in facts if fact],
        prompt=one_line(one.prompt, PROMPT) or "(empty prompt)", whole=verbatim(one.prompt),
        diff=word_diff(one.chosen, one.rejected), unfolded=unfolded,
    )


def _rules(filters: Sequence[Filter]) -> str:
    return "\n".join(
        f".browse:has(#f{at}-{value}:checked) .pair:not(.f{at}-{value}) {{ display: none; }}"
        for at, one in enumerate(filters) for value in range(len(one.values))
    )
