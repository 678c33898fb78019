"""Files of benchmarks: what is read, what is refused, and that nothing bad becomes a zero."""

import gzip
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from loop_lab import pairgen
from suites_lab import suite, write_rows

from pairgen.errors import UsageError
from pairgen.evals import files
from pairgen.evals.benchmark import self_check
from pairgen.evals.files import FromFile
from pairgen.evals.select import selected
from pairgen.registry import names
from pairgen.report.numbers import number
from pairgen.sources import Record


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Rows as a JSONL file of that name."""
    return lambda *rows, name="rows.jsonl": write_rows(tmp_path / name, *rows)


SUITES = (
    "rewardbench", "rewardbench2", "llmbar", "judgebench", "rmbench", "mtbench", "hhh", "autoj", "pandalm", "evalbias",
    "ratings", "pairs",
)


def test_every_suite_checks_itself_and_has_its_row_in_the_table(written: Callable[..., Path]) -> None:
    """The self-check passes before anything is asked; docs/suites.md says what each suite is."""
    table = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    for name in names("pairgen.evals.suites"):
        assert f"| `{name}` |" in table, f"docs/suites.md has no row for {name}"
    for name in SUITES:
        self_check(suite(name, written({"id": 1})))


GOOD = {"id": 1, "subset": "hep-go", "prompt": "p", "chosen": "c", "rejected": "r"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"chosen": None}, "chosen is null, not text"),
        ({"chosen": True}, "chosen is true, not text"),
        ({"rejected": "  "}, "rejected is empty"),
        ({"subset": "hep-golang"}, "rewardbench has no subset 'hep-golang': did you mean 'hep-go'? (have: alpacaeval"),
        ({"prompt": []}, "prompt has no user turn"),
        ({"prompt": [{"role": "user"}]}, "prompt has a turn without role and content"),
    ],
)
def test_a_bad_row_is_named_or_left_out_and_never_scored(
    written: Callable[..., Path], bad: dict[str, Any], message: str
) -> None:
    """By default the load stops at the row; on request it is counted, and no item is made of it."""
    path = written(GOOD, {**GOOD, "id": 2, **bad}, {**GOOD, "id": 3})
    with pytest.raises(UsageError) as refused:
        suite("rewardbench", path).items()
    assert f"rows.jsonl:2: {message}" in str(refused.value)
    assert "on_bad_row: skip" in str(refused.value)
    assert "\n" not in str(refused.value)
    lenient = suite("rewardbench", path, on_bad_row="skip")
    assert [item.id for item in lenient.items()] == ["1", "3"]
    assert len(lenient.skipped()) == 1
    assert message in lenient.skipped()[0]


def test_a_missing_column_says_which_there_are(written: Callable[..., Path]) -> None:
    row = {name: value for name, value in GOOD.items() if name != "rejected"}
    with pytest.raises(UsageError, match=r"rows\.jsonl:1: no column 'rejected'; have: id, subset, prompt, chosen"):
        suite("rewardbench", written(row)).items()


def test_a_file_of_bad_rows_only_is_no_benchmark(written: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"no row of it is an item of rewardbench \(1 were bad.*is empty\)"):
        suite("rewardbench", written({**GOOD, "chosen": ""}), on_bad_row="skip").items()


def test_two_rows_of_one_id_are_refused(written: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="2 items have the id '1'"):
        selected(suite("rewardbench", written(GOOD, GOOD)))


def test_paths_that_are_no_benchmark(tmp_path: Path) -> None:
    cases = {
        "nothing.jsonl": "no such file", ".": "is a folder; none of natural.json, neighbor.json",
    }
    for name, message in cases.items():
        with pytest.raises(UsageError, match=message):
            suite("llmbar", tmp_path / name).items()
    with pytest.raises(UsageError, match=r"needs `path:` \(--path\), the benchmark's file; none ships"):
        suite("pandalm").items()
    (tmp_path / "x.json").write_text("{broken")
    with pytest.raises(UsageError, match=r"x\.json: not JSON we can read"):
        suite("evalbias", tmp_path / "x.json").items()
    (tmp_path / "list.jsonl").write_text("[1, 2]\n")
    with pytest.raises(UsageError, match=r"list\.jsonl:1: a row of a benchmark has named columns; found a list"):
        suite("pairs", tmp_path / "list.jsonl").items()


def test_the_identity_is_the_content_and_not_the_name(written: Callable[..., Path]) -> None:
    """Moved or renamed, a file is the same benchmark; with one more byte it is another. Hub sets go by name."""
    one, same, other = written(GOOD), written(GOOD, name="b.jsonl"), written(GOOD, {**GOOD, "id": 2}, name="c.jsonl")
    assert suite("rewardbench", one).outside() == suite("rewardbench", same).outside()
    assert suite("rewardbench", one).outside() != suite("rewardbench", other).outside()
    hub = suite("rewardbench", revision="abc").outside()
    assert hub == {"hub": "allenai/reward-bench", "split": "filtered", "revision": "abc"}


def test_a_hub_dataset_is_read_by_its_name_split_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's own where no path is given, another one by `path`; rows are named by the dataset."""
    asked = []

    def read(name: str, split: str, revision: str | None) -> Iterator[Record]:
        asked.append((name, split, revision))
        yield Record(f"{name}[0]", GOOD)
        yield Record(f"{name}[1]", {**GOOD, "chosen": ""})

    monkeypatch.setattr(files, "read_records", read)
    with pytest.raises(UsageError, match=r"allenai/reward-bench\[1\]: chosen is empty"):
        suite("rewardbench").items()
    other = suite("rewardbench", Path("me/my-bench"), split="test", revision="v2", on_bad_row="skip")
    assert len(other.items()) == 1
    assert asked == [("allenai/reward-bench", "filtered", None), ("me/my-bench", "test", "v2")]


def test_the_same_rows_in_every_kind_of_file(tmp_path: Path) -> None:
    """JSONL, gzipped, JSON, CSV, Parquet and Arrow hold the same items."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{**GOOD, "id": n} for n in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    lines = ["id,subset,prompt,chosen,rejected", *(f"{n},hep-go,p,c,r" for n in range(3))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    found = [suite("rewardbench", path).items() for path in sorted(tmp_path.glob("a.*"))]
    assert len(found) == 6
    assert all(items == found[0] for items in found)


def test_pairs_with_columns_of_other_names(written: Callable[..., Path]) -> None:
    rows = [{"key": f"k{n}", "question": "q", "a": "one", "b": "two", "better": answer, "kind": "x"}
            for n, answer in enumerate(["left", "right", "same"])]
    benchmark = suite(
        "pairs", written(*rows), labels=["left", "right", "same"],
        columns={"id": "key", "prompt": "question", "first": "a", "second": "b", "label": "better", "subset": "kind"},
    )
    items = benchmark.items()
    assert [(item.id, item.chosen, item.tie, item.swapped) for item in items] == [
        ("k0", "one", False, False), ("k1", "two", False, True), ("k2", "one", True, False),
    ]
    assert {item.group for item in items} == {"x"}
    with pytest.raises(UsageError, match="better is 'up'; it must be one of left, right, same"):
        FromFile.items(suite("pairs", written({**rows[0], "better": "up"}), labels=benchmark.labels,
                             columns=benchmark.columns))


def test_pairs_of_chat_turns(written: Callable[..., Path]) -> None:
    """UltraFeedback-binarized's columns: whole conversations in chosen and rejected."""
    prompt = [{"role": "user", "content": "q"}]
    row = {"prompt": "q", "chosen": [*prompt, {"role": "assistant", "content": "good"}],
           "rejected": [*prompt, {"role": "assistant", "content": "bad"}], "reference": "ref"}
    [item] = suite("pairs", written(row)).items()
    assert (item.chosen, item.rejected, item.reference, item.group) == ("good", "bad", "ref", "all")


def test_a_column_that_cannot_be_mapped(written: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="no column 'answer' to map; have: id, subset, prompt"):
        suite("pairs", written(GOOD), columns={"answer": "x"})
    with pytest.raises(ValueError, match="labels are two or three different ones"):
        suite("pairs", written(GOOD), labels=["1"])


def test_the_commands_of_the_page(real_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every rescoring command of docs/suites.md runs, and prints a figure published for that judge."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("pairgen eval rescore")]
    figures = {"llmbar": "0.813", "mtbench": "0.846", "pandalm": "0.672"}
    assert [command.split()[3] for command in commands] == list(figures)
    for command in commands:
        words = shlex.split(command.replace("$DATA", str(real_data)))[1:]
        told = pairgen(capfd, *words)
        assert told.code == 0, told.err
        assert figures[words[2]] in told.out


def test_the_figures_of_the_page(real_data: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every figure of the table of real files in docs/suites.md that needs no model, to its last digit."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text().partition("## On real files")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if "| `pairgen" in line]
    assert len(rows) == 11
    for _, command, figures, _ in rows[:-1]:
        words = shlex.split(command.strip("`").replace("$DATA", str(real_data)))[1:]
        told = pairgen(capfd, *words, "--json", "--out", tmp_path / str(len(figures)))
        assert told.code == 0, told.err
        metrics = json.loads(told.out)["metrics"]
        for name, figure in re.findall(r"`([^`]+)` (\d\.\d{3})", figures):
            assert figure == number(metrics[name]["mean"]), name


def test_the_options_of_the_page(written: Callable[..., Path]) -> None:
    """The YAML of docs/suites.md is a suite."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text()
    options = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    row = {"orig_instruction": "q", "orig_response_A": "a", "orig_response_B": "b", "orig_preference": "B",
           "orig_criteria": "r", "orig_reference_answer": "x"}
    use = options.pop("use")
    [item] = suite(use, **{**options, "path": written(row)}).items()
    assert (item.chosen, item.rubric, item.reference) == ("b", "r", "x")
