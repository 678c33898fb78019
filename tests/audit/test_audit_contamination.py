"""Contamination by 13-grams, against sets of tuples of words."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from audit_tables import columns, measured
from hypothesis import given, settings
from hypothesis import strategies as st

from pairgen.audit.contamination import FEWEST, WORDS, against
from pairgen.audit.workers import measured as in_workers
from pairgen.errors import UsageError

TEXT = "the quick brown fox jumps over the lazy dog and runs home to sleep until morning comes again"
TEXTS = st.lists(st.sampled_from(["a", "B", "c,", "d.", "\n", "e"]), max_size=30).map(" ".join)


def written(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
    return str(path)


def grams(text: str) -> set[tuple[str, ...]]:
    """What a text is compared by."""
    words = tuple(re.findall(r"[a-z0-9]+", text.lower()))
    if len(words) < WORDS:
        return {words} if len(words) >= FEWEST else set()
    return {words[k : k + WORDS] for k in range(len(words) - WORDS + 1)}


@given(st.lists(TEXTS, min_size=1, max_size=8), st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6))
@settings(max_examples=150)
def test_overlap_is_that_of_sets_of_tuples(
    tmp_path_factory: pytest.TempPathFactory, items: list[str], pairs: list[tuple[str, str, str]]
) -> None:
    """A row is flagged when any of its texts shares a 13-gram, or a short text as a whole, with any item."""
    known = set().union(*map(grams, items))
    path = written(tmp_path_factory.mktemp("set") / "set.jsonl", items)
    if not known:
        with pytest.raises(UsageError, match="no texts of 5 words"), against([path]):
            pass
        return
    with against([path]) as measure:
        found = measure(columns(pairs))["contaminated"]
    assert found.tolist() == [any(grams(text) & known for text in pair) for pair in pairs]


def test_where_a_run_counts(tmp_path: Path) -> None:
    """In the prompt or either answer, in another case and with other punctuation; twelve words are too few."""
    words = TEXT.split()
    path = written(tmp_path / "bench.jsonl", [TEXT])
    pairs = [
        (f"Please: {TEXT}", "a", "b"), ("p", "x " + " - ".join(words[2:15]).upper() + "!", "b"),
        ("p", "a", " ".join(words[:13])), ("p", " ".join(words[:12]), " ".join(words[3:15])), ("p", "a", "b"),
    ]
    with against([path]) as measure:
        table = measured(pairs, [measure])
        assert table.column("contaminated").tolist() == [1, 1, 1, 0, 0]
        (rate,) = measure.rates(table)
        assert (rate.name, rate.label, rate.count, rate.n) == ("in_bench", "shared with bench", 3, 5)
        assert rate.rows == (1, 2, 3)
        assert measure.note == "Contamination: runs of 13 words, against bench (1 item)."


def test_several_sets_have_a_flag_each(tmp_path: Path) -> None:
    """Also two of one name; `contaminated` is any of them. All texts of a record count, however deep."""
    (tmp_path / "other").mkdir()
    first = written(tmp_path / "my-set.jsonl", ["who wrote the first computer program ever"])
    second = tmp_path / "other" / "my-set.jsonl"
    second.write_text(json.dumps({"id": 3, "turns": [{"content": TEXT}], "none": None}) + "\nnot json\n")
    pairs = [("Who wrote the first computer program ever?", "a", "b"), (TEXT, "a", "b"), ("p", "a", "b")]
    with against([first, str(second)]) as measure:
        found = measure(columns(pairs))
    assert found["in_my_set"].tolist() == [1, 0, 0]
    assert found["in_my_set_2"].tolist() == [0, 1, 0]
    assert found["contaminated"].tolist() == [1, 1, 0]


def test_a_sets_template_is_left_out(tmp_path: Path) -> None:
    """What stands in every item of a set tells nothing about any: it is left out, and the note says so."""
    items = [f"{TEXT} number {k} is about subject {k * k} and its {k + 7} many friends of old" for k in range(40)]
    path = written(tmp_path / "judge.jsonl", items)
    with against([path]) as measure:
        found = measure(columns([(TEXT, "a", "b"), (items[3], "a", "b")]))["contaminated"]
        assert "runs of its template left out" in measure.note
    assert found.tolist() == [0, 1]


def test_workers_get_the_same(tmp_path: Path) -> None:
    """The measure goes to other processes by its files' names."""
    path = written(tmp_path / "bench.jsonl", [TEXT])
    chunk = columns([(TEXT, "a", "b"), ("p", "a", "b")])
    with against([path], tmp_path) as measure:
        done = list(in_workers([chunk] * 6, [measure], workers=2))
    assert [d.found["contaminated"].tolist() for d in done] == [[1, 0]] * 6
    assert [file.name for file in tmp_path.iterdir()] == ["bench.jsonl"]


def test_sets_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    """One line, naming the file, before anything is measured."""
    with pytest.raises(UsageError, match=r"nowhere\.jsonl"), against([str(tmp_path / "nowhere.jsonl")]):
        pass
    empty = written(tmp_path / "short.jsonl", ["Yes.", "No."])
    with pytest.raises(UsageError, match=r"short\.jsonl"), against([empty]):
        pass


def test_llmbar_in_rewardbench(real_data: Path) -> None:
    """RewardBench's LLMBar subsets are LLMBar: every row of them is found, and of the code rows none."""
    rows = [
        json.loads(line)
        for line in (real_data / "rewardbench_partial" / "filtered_llmbar_hep.jsonl").read_text().splitlines()
    ]
    pairs = [(row["prompt"], row["chosen"], row["rejected"]) for row in rows]
    names = ["natural", "neighbor", "gptinst", "gptout", "manual"]
    with against([str(real_data / "llmbar" / f"{name}.json") for name in names]) as measure:
        table = measured(pairs, [measure])
        counts = {rate.name: rate.count for rate in measure.rates(table)}
    of_llmbar = np.array([row["subset"].startswith("llmbar") for row in rows])
    found = table.column("contaminated") > 0
    assert found[of_llmbar].mean() > 0.98  # the others are all of fewer than five words
    assert found[~of_llmbar].sum() == 0
    assert counts["in_natural"] >= 97
