"""`pairgen audit` as a user types it, on small files and on published sets; docs/audit.md is executed."""

import errno
import gzip
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from loop_lab import REPOSITORY, Said, pairgen

from pairgen.audit.read import open_joined, open_source

Cli = Callable[..., Said]
DOC = (REPOSITORY / "docs" / "audit.md").read_text(encoding="utf-8")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command, in this process, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *args: pairgen(capfd, "audit", *args)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Sixty pairs, a duplicate of one, and a line that is none."""
    rows = [{"prompt": f"p{i}", "chosen": f"the answer is {i}, as asked", "rejected": "no", "subset": "ab"[i % 2]}
            for i in range(60)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]) + "oops\n")
    return path


def test_datasets_stand_side_by_side_and_nothing_is_written(cli: Cli, pairs: Path, tmp_path: Path) -> None:
    """Two datasets in one table, each with what it was read as; progress on stderr, no file unless asked for."""
    other = tmp_path / "other.csv"
    other.write_text("question,better,worse\n" + "".join(f"q{i},yes {i},no {i}\n" for i in range(12)))
    alone = cli(pairs)
    assert alone.code == 0, alone.err
    assert "61 pairs of 62 rows, read as preference" in alone.out
    assert "grouped by subset" in " ".join(alone.out.split())
    assert "--html" in alone.out
    assert "61 pairs" in alone.err
    mapped = cli(other, "--columns", "chosen=better,rejected=worse", "--quiet")
    assert mapped.code == 0
    assert mapped.err == ""
    both = cli(pairs, pairs, "-q")
    assert both.out.count("61 pairs of 62 rows") == 2
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.jsonl", "other.csv"}


def test_json_is_the_whole_audit_and_nothing_else(cli: Cli, pairs: Path) -> None:
    done = cli(pairs, "--json")
    found = json.loads(done.out)["datasets"][0]
    assert (found["pairs"], found["rows"], found["bad"]) == (61, 62, {"not JSON": 1})
    assert {rate["name"]: rate["count"] for rate in found["hygiene"]}["duplicate_pair"] == 1


def test_rows_and_report_are_written_where_they_are_asked_for(cli: Cli, pairs: Path, tmp_path: Path) -> None:
    """Numbers of every pair as Parquet; the report as a file, or in a folder by the dataset's name."""
    folder = tmp_path / "reports"
    folder.mkdir()
    done = cli(pairs, "--rows", tmp_path / "rows.parquet", "--html", folder, "-q")
    assert done.code == 0, done.err
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.column("row").to_pylist() == list(range(1, 62))
    assert table.column("rejected_chars").to_pylist() == [2.0] * 61
    page = (folder / "audit-pairs.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert "61 pairs" in page
    assert f"report: {folder / 'audit-pairs.html'}" in done.out
    several = cli(pairs, pairs, "--rows", tmp_path / "each.parquet", "-q")
    assert several.code == 0, several.err
    assert {path.name for path in tmp_path.glob("each*")} == {"each-pairs-1.parquet", "each-pairs-2.parquet"}


def test_a_filter_writes_what_it_keeps(cli: Cli, pairs: Path, tmp_path: Path) -> None:
    """Kept rows, drops with reasons, a line on both; of several datasets each in a folder of its name."""
    done = cli(pairs, "--filter", "chosen_chars > 25 and duplicate_pair == 0", "--out", tmp_path / "out", "-q")
    assert done.code == 0, done.err
    kept = (tmp_path / "out" / "kept.jsonl").read_text().splitlines()
    assert kept == pairs.read_text().splitlines()[10:60]
    drops = (tmp_path / "out" / "drops.jsonl").read_text().splitlines()
    reasons = Counter(json.loads(line)["reason"] for line in drops)
    assert reasons == {"chosen_chars > 25": 11, "not JSON": 1}
    assert "kept 50 of 61 pairs (82.0%)" in done.out
    both = cli(pairs, pairs, "--filter", "same == 0", "--out", tmp_path / "both", "-q")
    assert both.code == 0, both.err
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"pairs-1", "pairs-2"}


def test_numbers_are_shown_though_a_file_cannot_be_written(
    cli: Cli, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes no numbers with it: the table, then one line."""
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("pairgen.fs.write_atomic", full)
    done = cli(pairs, "--html", tmp_path / "page.html", "-q")
    assert "61 pairs of 62 rows" in done.out
    assert "No space left on device" in done.err
    assert done.code == 74


def test_a_gate_leaves_with_three_and_says_what_failed(cli: Cli, pairs: Path) -> None:
    """Conditions and levels; the result is printed all the same."""
    assert cli(pairs, "-q", "--fail-on", "jaccard > 0.9, unreadable > 0.5").code == 0
    done = cli(pairs, "-q", "--fail-on", "duplicate_pair>0.01,unreadable>0", "--fail-on", "bad")
    assert done.code == 3
    assert "duplicate_pair>0.01 (duplicate_pair is 0.01639)" in done.err
    assert "unreadable>0" in done.err
    assert "pairs: bad: " in done.err, "labels that length gives away are bad"
    assert "61 pairs" in done.out
    assert "did you mean 'jaccard'" in cli(pairs, "-q", "--fail-on", "jacard>1").err


def test_a_sample_is_drawn_from_all_rows(cli: Cli, pairs: Path) -> None:
    """So many pairs at random, the same each time, in their order; every row is read and counted."""
    done = cli(pairs, "--sample", 20, "--json")
    found = json.loads(done.out)["datasets"][0]
    assert (found["pairs"], found["rows"], found["bad"]) == (20, 62, {"not JSON": 1})
    assert "a random sample of 20 of 61 pairs" in found["format"]
    source = open_source(str(pairs))
    source.sample = 20
    first, again = ([row for chunk in source.chunks() for row in chunk.rows.tolist()] for _ in range(2))
    assert first == again == sorted(set(first))
    assert max(first) > 40


WRONG = (
    ([], "name a dataset"),
    (["nowhere.jsonl"], "no such file"),
    (["{pairs}", "--filter", "jaccard > 0.1"], "--filter and --out go together"),
    (["{pairs}", "--out", "out"], "--filter and --out go together"),
    (["{pairs}", "--filter", "jacard > 0.1", "--out", "out"], "did you mean 'jaccard'"),
    (["{pairs}", "--filter", "jaccard > 0.1", "--out", "."], "exists already"),
    (["{pairs}", "--filter", "jaccard > 0.1", "--out", "out", "--sample", "9"], "leave out --sample"),
    (["{pairs}", "--html", "{pairs}"], "is the data itself"),
    (["{pairs}", "--rows", "{pairs}"], "is the data itself"),
    (["{pairs}", "--html", "none/x.html"], "no folder none"),
    (["{pairs}", "--chosen", "{pairs}"], "--chosen and --rejected go together"),
    (["{pairs}", "--by", "subsets"], "did you mean 'subset'"),
    (["{pairs}", "--fail-on", "terrible"], "a level (bad, warn, note)"),
    (["{pairs}", "--tokenizer", "nowhere/at-all"], "nowhere/at-all"),
)


@pytest.mark.parametrize(("args", "expected"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_one_line_and_writes_nothing(
    cli: Cli, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = pairs.read_bytes()
    said = cli(*(arg.replace("{pairs}", str(pairs)) for arg in args))
    assert said.code == 2
    assert expected in said.line
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert pairs.read_bytes() == before


# --- published sets -----------------------------------------------------------------------------------


def read(path: Path, **options: Any) -> tuple[int, int, dict[str, int]]:
    """Rows, pairs and bad rows."""
    source = open_source(str(path), **options)
    found = sum(len(chunk) for chunk in source.chunks())
    return source.rows, found, dict(source.bad)


LLMBAR = {"natural": 100, "neighbor": 134, "gptinst": 92, "gptout": 47, "manual": 46, "case_base_9": 54,
          "case_base_10": 54, "case_constraint": 89, "case_negation": 59, "case_normal": 59, "faireval": 66,
          "llmeval2": 200, "mtbench_human200": 200}


def test_published_sets_have_their_published_rows(real_data: Path) -> None:
    """Counts of SOURCE.md: every row of these sets is a pair."""
    for path, rows in {
        "hh_rlhf/harmless_base_test.jsonl.gz": 2312, "evalbiasbench/biasbench.json": 80,
        "rewardbench_partial/filtered_llmbar_hep.jsonl": 1403, "prometheus_eval/hhh_pairs.jsonl": 221,
        **{f"llmbar/{name}.json": rows for name, rows in LLMBAR.items()},
    }.items():
        assert read(real_data / path) == (rows, rows, {}), path
    code = {"chosen": "canonical_solution", "rejected": "buggy_solution"}
    for language in ("cpp", "go", "java", "js", "python", "rust"):
        assert read(real_data / "humanevalpack" / f"{language}.jsonl", columns=code) == (164, 164, {}), language


def test_llmbar_labels_come_out_as_rewardbench_has_them(real_data: Path) -> None:
    """RewardBench built chosen and rejected from the same files: sides by label agree with sides by column."""
    built = open_source(str(real_data / "rewardbench_partial" / "filtered_llmbar_hep.jsonl"))
    known = {(s.sides.prompt, s.sides.chosen, s.sides.rejected) for s in built.sightings()}
    for name in ("natural", "neighbor", "gptinst", "gptout", "manual"):
        found = open_source(str(real_data / "llmbar" / f"{name}.json")).sightings()
        assert {(s.sides.prompt, s.sides.chosen, s.sides.rejected) for s in found} <= known, name


def test_pandalm_ties_and_booleans_are_counted(real_data: Path) -> None:
    """999 rows of three annotators: the six whose answers are booleans, and the ties as a plain count has them."""
    path = real_data / "pandalm" / "testset-v1.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    votes = [Counter(r[f"annotator{i}"] for i in (1, 2, 3)) for r in records]
    ties = {i for i, v in enumerate(votes, 1) if v[1] < 2 and v[2] < 2}
    source = open_source(str(path))
    found = list(source.sightings())
    bad = [row for row in source.walk() if hasattr(row, "reason")]
    assert [row.row for row in bad if row.reason == "not text"] == [158, 159, 160, 162, 163, 165]
    assert {row.row for row in bad if row.reason == "tie"} == ties
    assert (source.rows, len(found)) == (999, 999 - 6 - len(ties))
    for s in found:
        record, winner = records[s.row - 1], 1 if votes[s.row - 1][1] >= 2 else 2
        assert s.sides.chosen == record[f"response{winner}"]


def test_alpaca_outputs_join_on_the_instruction(real_data: Path) -> None:
    """805 prompts in both files, and one file that lacks some: the rest has no partner."""
    outputs = real_data / "alpaca_eval" / "outputs"
    source = open_joined(str(outputs / "gpt4_1106_preview.json"), str(outputs / "alpaca-7b.json"))
    found = list(source.sightings())
    assert (len(found), source.bad) == (805, {})
    alpaca = {r["instruction"]: r["output"] for r in json.loads((outputs / "alpaca-7b.json").read_text())}
    assert all(alpaca[s.sides.prompt] == s.sides.rejected for s in found)
    longer = sum((len(s.sides.chosen) > len(s.sides.rejected)) + (len(s.sides.chosen) == len(s.sides.rejected)) / 2
                 for s in found)
    assert round(100 * longer / len(found), 1) == 97.6, "judge spec 3.4: the longer answer is GPT-4-turbo's in 97.6 %"


def test_hh_answers_are_what_follows_the_last_assistant(real_data: Path) -> None:
    """Where transcripts part at their last reply, as nearly all do, those replies are the two sides."""
    path = real_data / "hh_rlhf" / "harmless_base_test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    checked = 0
    for s in open_source(str(path)).sightings():
        chosen, rejected = (records[s.row - 1][side].rpartition("\n\nAssistant:") for side in ("chosen", "rejected"))
        if chosen[0] == rejected[0]:
            assert (s.sides.chosen, s.sides.rejected) == (chosen[2].strip(), rejected[2].strip())
            checked += 1
    assert checked > 2200


def test_a_benchmark_in_the_data_is_found(cli: Cli, real_data: Path) -> None:
    """RewardBench's llmbar-natural rows are LLMBar's, all of them, and they can be filtered out."""
    data = real_data / "rewardbench_partial" / "filtered_llmbar_hep.jsonl"
    found = json.loads(cli(data, "--against", real_data / "llmbar" / "natural.json", "--json").out)["datasets"][0]
    rates = {rate["name"]: rate["count"] for rate in found["hygiene"]}
    assert rates["contaminated"] == rates["in_natural"] == 100
    assert any("natural (100 items" in note for note in found["notes"])


# --- the page -----------------------------------------------------------------------------------------


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_page_is_what_the_commands_say(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data is made, its commands are run, and every line it shows is printed."""
    monkeypatch.chdir(tmp_path)
    made = re.search(r"^```python\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
    shown = re.search(r"^```console\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
    assert made
    assert shown
    exec(compile(made.group(1), "docs/audit.md", "exec"), {})
    said: list[str] = []
    for line in shown.group(1).splitlines():
        if line.startswith("$ pairgen audit"):
            done = cli(*shlex.split(line)[3:])
            assert done.code == 0, done.err
            said += squeezed(done.out)
        elif line.startswith("$ head"):
            said += (tmp_path / shlex.split(line)[-1]).read_text().splitlines()[:1]
        elif line != "...":
            assert " ".join(line.split()) in said, line


def test_every_name_on_the_page_is_measured(cli: Cli, pairs: Path) -> None:
    """Names in the table of measures are columns of a filter or numbers of a gate."""
    table = DOC.partition("## What is measured")[2].partition("## Filtering")[0]
    names = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    names -= {"chosen_X", "rejected_X", "X_auc"}
    have = cli(pairs, "--filter", "no_such_name > 1", "--out", "x").line
    gates = cli(pairs, "-q", "--fail-on", "no_such_name > 1").line
    missing = {name for name in names if not re.search(rf"\b{name}\b", have + gates)}
    later = {"style_accuracy", "style_auc", "contaminated", "in_NAME"}
    assert missing <= {*later, "chosen_score", "rejected_score", "score_margin"}, missing
