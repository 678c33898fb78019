"""Whole audits of real sets: numbers that stay what they were, whatever the chunks and workers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairgen import checks
from pairgen.audit.read import Source, open_joined, open_source
from pairgen.audit.run import Audited, Options, audit, columns, flagged
from pairgen.audit.sample import DRAWN, KEPT, LEAST, MOST, POINTS, TEXT_CHARS
from pairgen.audit.signal import pick_more
from pairgen.errors import UsageError


def answers(folder: Path, chosen: str, rejected: str) -> Source:
    outputs = folder / "alpaca_eval" / "outputs"
    return open_joined(str(outputs / f"{chosen}.json"), str(outputs / f"{rejected}.json"))


def code(folder: Path) -> Source:
    """Solutions and bugs of HumanEvalPack's Python."""
    parts = {"prompt": "instruction", "chosen": "canonical_solution", "rejected": "buggy_solution"}
    return open_source(str(folder / "humanevalpack" / "python.jsonl"), columns=parts)


def means(found: Audited) -> dict[str, float]:
    return {stat.name: stat.mean for stat in found.summary.contrast}


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(n: int, seed: int = 0) -> list[dict[str, object]]:
    """Pairs of three sources; the rejected answer changes some words of the chosen one."""
    rng = np.random.default_rng(seed)
    words = ["tide", "moon", "water", "earth", "sun", "pull", "turn", "below", "twice", "a"]
    rows: list[dict[str, object]] = []
    for i in range(n):
        chosen = rng.choice(words, rng.integers(5, 40)).tolist()
        rejected = [str(rng.choice(words)) if rng.random() < rng.random() else word for word in chosen]
        text = f"{' '.join(chosen)} {i}.", f"{' '.join(rejected)} {i}."
        rows.append({"prompt": f"Why {i}?", "chosen": text[0], "rejected": text[1], "source": "abc"[i % 3]})
    return rows


def test_contrast_of_real_sets(real_data: Path) -> None:
    """Recorded once, to four digits: any change of a tokenizer, a reader or a measure moves them."""
    recorded = {
        "alpaca": (805, 0.2779, 1589.0199, 0.7116, 0.7200, 1.1563),
        "code": (164, 0.9356, 9.5549, 0.0778, 0.0725, 0.9904),
        "harmless": (2312, 0.1255, 209.9364, 0.7836, 0.8504, 2.7695),
    }
    sources = {
        "alpaca": answers(real_data, "gpt4_1106_preview", "Meta-Llama-3-8B-Instruct"),
        "code": code(real_data),
        "harmless": open_source(str(real_data / "hh_rlhf" / "harmless_base_test.jsonl.gz")),
    }
    for name, source in sources.items():
        found = audit(source)
        mean = means(found)
        stated = [mean[m] for m in ("jaccard", "levenshtein", "lev_norm", "word_diff", "len_ratio")]
        assert (found.summary.pairs, *(round(value, 4) for value in stated)) == recorded[name]


def test_the_table_is_the_pipeline_s_own_contrast_row_by_row(real_data: Path) -> None:
    """Solutions and bugs read here as plain JSON have the numbers that the table keeps, in the file's order."""
    table = audit(code(real_data)).table
    lines = (real_data / "humanevalpack" / "python.jsonl").read_text().splitlines()
    found = [checks.contrast(row["canonical_solution"], row["buggy_solution"]) for row in map(json.loads, lines)]
    assert table.column("row").tolist() == list(range(1, 165))
    assert table.column("jaccard").tolist() == [one.jaccard for one in found]
    assert table.column("levenshtein").tolist() == [one.levenshtein for one in found]
    assert table.column("len_ratio").tolist() == [one.length_ratio for one in found]


def test_longer_is_better_in_alpaca_eval(real_data: Path) -> None:
    """Length alone picks GPT-4-turbo over Alpaca-7B in 97.6 % of the pairs, over the whole path from the files."""
    found = audit(answers(real_data, "gpt4_1106_preview", "alpaca-7b")).summary
    assert 100 * pick_more(found.biases[0]) == pytest.approx(97.6, abs=0.05)


def test_workers_and_chunks_change_no_number(tmp_path: Path) -> None:
    """An audit in this process and one by two workers, in chunks of another size, are the same."""
    file = str(write(tmp_path / "pairs.jsonl", pairs(700)))
    here = audit(open_source(file), Options(workers=1))
    there = audit(open_source(file, chunk=64), Options(workers=2))
    assert replace(here.summary, examples=()) == replace(there.summary, examples=())
    assert set(here.summary.examples) == set(there.summary.examples)
    assert here.table.names == there.table.names
    for name in here.table.names:
        np.testing.assert_array_equal(here.table.column(name), there.table.column(name))


def test_groups_are_the_rows_of_a_source(tmp_path: Path) -> None:
    """Each source's numbers are those of an audit of its rows alone."""
    rows = pairs(90)
    found = audit(open_source(str(write(tmp_path / "all.jsonl", rows)))).summary
    assert [(group.name, group.n) for group in found.groups] == [("a", 30), ("b", 30), ("c", 30)]
    alone = [row for row in rows if row["source"] == "b"]
    other = audit(open_source(str(write(tmp_path / "b.jsonl", alone)))).summary
    assert found.groups[1].stats == other.contrast
    assert other.groups == ()


def test_examples_are_the_extremes(tmp_path: Path) -> None:
    """The most and least contrastive pairs of all rows, in order; equal rows once; long texts cut."""
    rows = pairs(300)
    same = {"prompt": "?", "chosen": "same", "rejected": "same"}
    empty = {"prompt": "?", "chosen": "", "rejected": "x"}
    long = {"prompt": "?", "chosen": "word " * 5000, "rejected": "word " * 5000 + "more"}
    found = audit(open_source(str(write(tmp_path / "pairs.jsonl", [*rows, same, empty, long, *rows])))).summary
    shown = {why: [e for e in found.examples if e.why == why] for why in (MOST, LEAST, DRAWN)}
    assert {why: len(examples) for why, examples in shown.items()} == KEPT
    jaccard = sorted({r["prompt"]: checks.contrast(r["chosen"], r["rejected"]).jaccard for r in rows
                      if r["chosen"] != r["rejected"]}.values())
    least = [e.jaccard for e in shown[LEAST]]
    assert least == jaccard[: len(least)]
    most = [e.jaccard for e in shown[MOST]]
    assert most == sorted([*jaccard, 1 / 2], reverse=True)[: len(most)]
    assert len({e.prompt for e in found.examples if e.why == DRAWN}) == KEPT[DRAWN]
    assert all(len(e.chosen) <= TEXT_CHARS + 1 for e in found.examples)
    assert [e.row for e in found.examples if e.why == "empty_chosen"] == [302]
    assert found.scatter is not None
    assert len(found.scatter.x) == 603


def test_what_is_shown_does_not_depend_on_the_order(tmp_path: Path) -> None:
    """A shuffled file shows the same pairs and the same points."""
    rows = pairs(POINTS + 200)
    found = audit(open_source(str(write(tmp_path / "one.jsonl", rows)))).summary
    turned = audit(open_source(str(write(tmp_path / "other.jsonl", rows[::-1])))).summary
    for why in (MOST, LEAST, DRAWN):
        one, other = ([e.chosen for e in audited.examples if e.why == why] for audited in (found, turned))
        assert one == other
    assert found.scatter is not None
    assert turned.scatter is not None
    points = [sorted(zip(s.x, s.y, strict=True)) for s in (found.scatter, turned.scatter)]
    assert points[0] == points[1]
    assert len(points[0]) == POINTS


def test_planted_rows_are_flagged(tmp_path: Path) -> None:
    """Flags that need the whole table name the rows as the file counts them."""
    rows = pairs(20)
    turned = {**rows[3], "chosen": rows[3]["rejected"], "rejected": rows[3]["chosen"]}
    file = write(tmp_path / "pairs.jsonl", [*rows, rows[6], turned])
    found = flagged(file, ["duplicate_pair", "duplicate_prompt", "contradiction", "same"])
    assert found["duplicate_pair"] == [21]
    assert found["duplicate_prompt"] == [21, 22]
    assert found["contradiction"] == [4, 22]


def test_columns_are_known_before_anything_is_read(tmp_path: Path) -> None:
    """What a filter may name is what the table of any audit will have."""
    found = audit(open_source(str(write(tmp_path / "pairs.jsonl", pairs(12)))))
    assert columns(Options()) == found.table.names


def test_another_tokenizer_is_named(tmp_path: Path) -> None:
    """The summary states what Jaccard was counted in; an unknown tokenizer is one line, before anything is read."""
    source = open_source(str(write(tmp_path / "pairs.jsonl", pairs(12))))
    found = audit(source, Options(tokenizer="characters")).summary
    assert found.tokenizer.startswith("characters/1")
    with pytest.raises(UsageError, match="tokenizer '/no/such"):
        audit(source, Options(tokenizer="/no/such/tokenizer"))
