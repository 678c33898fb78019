"""tag, select, dedup: which instructions stay."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_rows import instruction, reply

from pairgen.records import Drop, Instruction
from pairgen.stages.dedup import Dedup
from pairgen.stages.select import Select, equal_shares
from pairgen.stages.tag import Tag


def run(stage: Any, rows: list[Any]) -> list[Any]:
    return list(stage.run(iter(rows)))


def select(**options: Any) -> Select:
    return Select.model_validate({"id": "selected", "use": "select", **options})


def dedup(**options: Any) -> Dedup:
    return Dedup.model_validate({"id": "unique", "use": "dedup", **options})


def reasons(out: list[Any]) -> list[str | None]:
    return [r.reason if isinstance(r, Drop) else None for r in out]


def test_tag_reads_three_lines_or_drops_the_row() -> None:
    """A reply with the three lines tags the row; any other drops it as unparsed with the reply kept."""
    stage = Tag.model_validate({"id": "tagged", "use": "tag", "engine": "policy"})
    row = instruction()
    (request,) = stage.ask(row)
    assert row.text in request.messages[-1].content
    (tagged,) = stage.read(row, [[reply("Category: Coding\nComplexity: 7\nLength: c")]])
    assert tagged == instruction(category="Coding", complexity=7, length="c")
    assert tagged.id == row.id
    (drop,) = stage.read(row, [[reply("It is about coding.")]])
    assert (drop.reason, drop.failed, drop.raw) == ("unparsed", True, "It is about coding.")


def test_tag_with_a_users_own_prompt(tmp_path: Path) -> None:
    """A pattern of the user's may give the tags; a complexity that is no number is unparsed, not a crash."""
    file = tmp_path / "mine.md"
    file.write_text(
        "---\nvars: [instruction]\npattern: (?P<category>\\w+),(?P<complexity>\\w+),(?P<length>\\w+)\n"
        "---\n# user\n{{instruction}}\n"
    )
    stage = Tag.model_validate({"id": "t", "use": "tag", "engine": "e", "prompt": str(file)})
    assert isinstance(stage.read(instruction(), [[reply("Coding,3,a")]])[0], Instruction)
    assert isinstance(stage.read(instruction(), [[reply("Coding,three,a")]])[0], Drop)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"categories": ["Coding"]}, None),
        ({"categories": ["Rewriting"]}, "category"),
        ({"complexity": [5, 9]}, None),
        ({"complexity": [1, 4]}, "complexity"),
        ({"complexity": [8, 10]}, "complexity"),
        ({"lengths": ["a", "c"]}, None),
        ({"lengths": ["a"]}, "length"),
    ],
)
def test_select_by_tag(options: dict[str, Any], reason: str | None) -> None:
    """Each filter keeps rows that fit and drops the others on purpose, naming the tag."""
    (out,) = run(select(**options), [instruction(category="Coding", complexity=7, length="c")])
    assert (out.reason if isinstance(out, Drop) else None) == reason
    assert not getattr(out, "failed", False)


@pytest.mark.parametrize("options", [{"categories": ["Coding"]}, {"complexity": [2, 10]}, {"lengths": ["a"]}])
def test_untagged_rows_fail_every_filter(options: dict[str, Any]) -> None:
    """A row without a tag does not slip through a filter on it, and passes when there is no filter."""
    assert isinstance(run(select(**options), [instruction()])[0], Drop)
    assert run(select(), [instruction()]) == [instruction()]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"categories": ["Codign"]}, "did you mean 'Coding'"),
        ({"lengths": ["f"]}, "no length bucket"),
        ({"complexity": [9, 3]}, "lower end first"),
        ({"complexity": [0, 3]}, "1 to 10"),
    ],
)
def test_select_refuses_filters_nothing_could_pass(options: dict[str, Any], says: str) -> None:
    """An unknown category or bucket and an empty range are config errors."""
    with pytest.raises(ValueError, match=says):
        select(**options)


def tagged_rows(sizes: dict[str, int]) -> list[Instruction]:
    return [instruction(f"{name} {i}", category=name) for name, size in sizes.items() for i in range(size)]


def test_select_samples_equal_shares() -> None:
    """A stratified sample gives each category the same share, and the others get what a small one lacks."""
    rows = tagged_rows({"Coding": 20, "Rewriting": 3, "Other": 20})
    out = run(select(n=15), rows)
    kept = [r for r in out if isinstance(r, Instruction)]
    assert Counter(r.category for r in kept) == {"Coding": 6, "Rewriting": 3, "Other": 6}
    assert {r.reason for r in out if isinstance(r, Drop)} == {"not_sampled"}
    assert len(out) == len(rows)


@pytest.mark.parametrize("stratify", ["category", "none"])
def test_select_draws_by_content(stratify: str) -> None:
    """Permuting the input changes no decision; another seed draws other rows."""
    rows = tagged_rows({"Coding": 30, "Other": 30})
    shuffled = random.Random(0).sample(rows, len(rows))
    stage = select(n=20, stratify=stratify)
    assert set(run(stage, rows)) == set(run(stage, shuffled))
    assert set(run(select(n=20, stratify=stratify, seed=1), rows)) != set(run(stage, rows))


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 60))
def test_equal_shares(sizes: dict[str, int], n: int) -> None:
    """Shares sum to n where there is enough, never exceed a stratum, and differ by one where room is left."""
    shares = equal_shares(sizes, n)
    assert sum(shares.values()) == min(n, sum(sizes.values()))
    assert all(shares[name] <= size for name, size in sizes.items())
    open_shares = [shares[name] for name, size in sizes.items() if shares[name] < size]
    assert not open_shares or max(shares.values()) - min(open_shares) <= 1


def test_exact_duplicates() -> None:
    """Texts that differ in case, spacing or end punctuation are the same; the first stays."""
    out = run(dedup(), [instruction("Why  me?"), instruction("why me"), instruction("Why you?")])
    assert reasons(out) == [None, "duplicate", None]
    assert out[1].detail == f"of {out[0].id}"
    assert not out[1].failed


NEAR = "Explain in two paragraphs how photosynthesis turns light into sugar in the leaves of a green plant"


def test_near_duplicates() -> None:
    """From the threshold on, near copies leave; texts that only share a topic stay."""
    rows = [
        instruction(NEAR),
        instruction(NEAR + " please"),
        instruction("Explain photosynthesis to a child."),
    ]
    assert reasons(run(dedup(near=0.8), rows)) == [None, "near_duplicate", None]
    assert reasons(run(dedup(), rows)) == [None, None, None]
    assert reasons(run(dedup(near=0.95), rows)) == [None, None, None]


def test_near_duplicates_by_brute_force() -> None:
    """What the index says is what comparing every text with every kept one says, within sampling error."""
    letters = random.Random(3)
    base = "".join(letters.choice("abcdefgh ") for _ in range(200))
    texts = [base[: 200 - k] + "".join(letters.choice("xyz") for _ in range(k)) for k in range(0, 120, 4)]
    out = run(dedup(near=0.6, permutations=256), [instruction(t) for t in texts])

    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)}

    kept: list[set[str]] = []
    for text, row in zip(texts, out, strict=True):
        best = max((len(grams(text) & k) / len(grams(text) | k) for k in kept), default=0.0)
        if isinstance(row, Drop):
            assert best > 0.5
        else:
            assert best < 0.7
            kept.append(grams(text))


def test_short_texts_are_compared_by_their_words_alone() -> None:
    """The role in front of a text is no part of the comparison: short different texts stay apart."""
    rows = [instruction("80413: max"), instruction("25967: min"), instruction("a"), instruction("b")]
    assert reasons(run(dedup(near=0.3), rows)) == [None] * 4


def test_adding_a_row_at_the_end_moves_none() -> None:
    """The first of two stays, so what was decided before stays decided when rows are appended."""
    rows = [instruction(t) for t in ("a?", "A", "b", "B.", NEAR)]
    before = run(dedup(near=0.8), rows)
    assert run(dedup(near=0.8), [*rows, instruction("b!"), instruction("c")])[:5] == before


@pytest.mark.parametrize("options", [{"near": 1.0}, {"near": 0.0}, {"permutations": 8}])
def test_dedup_refuses_what_its_index_cannot_do(options: dict[str, Any]) -> None:
    """Thresholds and sizes the index cannot serve are config errors, not a crash later."""
    with pytest.raises(ValueError, match="should be"):
        dedup(**options)


@pytest.mark.parametrize("near", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("permutations", [64, 256])
def test_dedup_serves_what_it_accepts(near: float, permutations: int) -> None:
    """Every accepted threshold works, empty-looking texts included."""
    assert (
        len(run(dedup(near=near, permutations=permutations), [instruction("?"), instruction("long text")]))
        == 2
    )
