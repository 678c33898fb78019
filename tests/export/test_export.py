"""Exports: what comes out is what was in the step, in every reader, and the card says how it was made."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from loop_lab import Said, pairgen, run, steps
from sample_rows import pair

from pairgen.errors import StorageError, UsageError
from pairgen.export import Wanted, export_step
from pairgen.export.card import fenced, safe_command
from pairgen.export.contrast import ContrastTable, Spread
from pairgen.export.provenance import sources_of
from pairgen.export.split import split_of
from pairgen.failpoints import arm
from pairgen.records import Message, Pair, Preference
from pairgen.stages.split import Split
from pairgen.store import read_rows

MARKERS = "{teacher_reasoning}: say | why\n{corrected_student_solution}:\n"
REVISED = f"{MARKERS}Because blue light `scatters` more\u2028than red."
REVISER = {"use": "scripted", "model": "org/reviser-1", "replies": [
    {"match": "How", "reply": "no marker"}, {"match": "Name", "reply": REVISED.replace("blue", "blue " * 80)},
    {"match": "student", "reply": REVISED},
]}
POLICY = {"use": "scripted", "model": "org/policy-1", "default": "Because blue light scatters ({{seed}})."}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLAIR run of five prompts: three pairs, an unparsed reply and one that grew too long."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in.jsonl").write_text("".join(f'"{w} is it?"\n' for w in ("Why", "How", "Name", "What", "Where \u2713")))
    run("clair", folder / "run", f"data.path={folder}/in.jsonl", f"engines.policy={json.dumps(POLICY)}",
        f"engines.reviser={json.dumps(REVISER)}")
    return folder / "run"


def loaded(folder: Path, name: str = "default") -> list[dict[str, Any]]:
    """The dataset as `datasets.load_dataset` reads the folder."""
    import datasets

    return list(datasets.load_dataset(str(folder), name, split="train", cache_dir=str(folder.parent / "cache")))


def pairs(run_folder: Path) -> list[Pair]:
    return list(read_rows(steps(run_folder, "clair-pairs")[0]))


def turns(messages: Any) -> list[Mapping[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_records_come_back_whole(made: Path, tmp_path: Path, to: str) -> None:
    """Every pair, in order, with models, sampling, raw reply and contrast, through `load_dataset`."""
    done = export_step(steps(made, "clair-pairs")[0], Wanted(to, tmp_path / "out"))
    assert done.files == ("README.md", f"data/train-00000-of-00001.{to}")
    back, rows = loaded(tmp_path / "out"), pairs(made)
    assert [r["id"] for r in back] == [p.id for p in rows]
    for record, row in zip(back, rows, strict=True):
        assert record["prompt"] == turns(row.instruction.messages)
        assert (record["chosen"], record["rejected"], record["raw"]) == (row.chosen, row.rejected, row.raw)
        assert (record["rationale"], record["rounds"], record["order"]) == ("say | why", 1, None)
        assert (record["chosen_model"], record["rejected_model"]) == ("org/reviser-1", "org/policy-1")
        assert record["chosen_sampled"]["seed"] == row.chosen_sampled.seed
        assert (record["jaccard"], record["levenshtein"]) == (row.contrast.jaccard, row.contrast.levenshtein)
        assert (record["chosen_chars"], record["rejected_chars"]) == (len(row.chosen), len(row.rejected))


def test_trls_format(made: Path, tmp_path: Path) -> None:
    """Message lists for prompt, chosen and rejected, `rational` as CLAIR's own dataset names it, an id, no more;
    the rest is a configuration of its own."""
    export_step(steps(made, "clair-pairs")[0], Wanted("trl", tmp_path / "out"))
    back = loaded(tmp_path / "out")
    assert set(back[0]) == {"id", "prompt", "chosen", "rejected", "rational"}
    for record, row in zip(back, pairs(made), strict=True):
        assert record["prompt"] == turns(row.instruction.messages)
        assert record["chosen"] == [{"role": "assistant", "content": row.chosen}]
        assert record["rejected"] == [{"role": "assistant", "content": row.rejected}]
        assert record["rational"] == "say | why"
    assert [r["id"] for r in loaded(tmp_path / "out", "pairs")] == [r["id"] for r in back]


def test_trl_itself_knows_the_format(made: Path, tmp_path: Path) -> None:
    """TRL's own preparation takes the rows as an explicit-prompt conversational preference."""
    trl = pytest.importorskip("trl.data_utils")
    export_step(steps(made, "clair-pairs")[0], Wanted("trl", tmp_path / "out"))
    for record in loaded(tmp_path / "out"):
        assert trl.is_conversational(record)
        assert trl.maybe_extract_prompt(dict(record)) == record


def test_our_trainer_reads_its_own_exports(made: Path, tmp_path: Path) -> None:
    """The export and the run's own preferences are the same training rows."""
    from pairgen.sources import read_records
    from pairgen.train.formats import recognise

    export_step(steps(made, "clair-pairs")[0], Wanted("trl", tmp_path / "out"))
    records = list(read_records(str(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")))
    form, build = recognise(records[0])
    assert form.name == "preference"
    own: list[Preference] = list(read_rows(steps(made, "clair-preferences")[0]))
    from pairgen.train.formats import Cells

    read = [build(Cells(r.where, form, r.value)) for r in records]
    assert [(r.prompt, r.chosen, r.rejected) for r in read] == [(r.prompt, r.chosen, r.rejected) for r in own]


def test_the_card_says_how_it_was_made(made: Path, tmp_path: Path) -> None:
    """Models, sampling, the prompt as it was sent, drops by reason, contrast beside the paper's with its caveat."""
    export_step(steps(made, "clair-pairs")[0], Wanted("trl", tmp_path / "out", license="mit", title="Blue"))
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["pretty_name"], front["size_categories"]) == ("mit", "Blue", ["n<1K"])
    assert [c["config_name"] for c in front["configs"]] == ["default", "pairs"]
    for said in (
        "3 rows, made by", "from 5 input rows", "policy: org/policy-1; reviser: org/reviser-1", "in.jsonl",
        "temperature 0.7, top_p 1, 4,096 tokens", "length_ratio [0.5, 2.0]", "| clair-pairs | unparsed | 1 |",
        "| clair-pairs | length_ratio | 1 |", "Your job is to revise the {student_solution}", "read by `revision`",
        "| CLAIR (paper) | 43.11 | 1108 |", "| stronger preferred (paper) | 24.35 | 1607 |", "names no tokenizer",
        "- command: `test`", "- pairgen 0.1.0",
    ):
        assert said in text, said
    jaccard = sum(100 * p.contrast.jaccard for p in pairs(made)) / 3
    assert f"| **Blue** | **{jaccard:.2f}** |" in text


def test_the_input_is_never_in_the_card(made: Path, tmp_path: Path) -> None:
    """A card holds prompts and counts, no rows."""
    export_step(steps(made, "clair-pairs")[0], Wanted("jsonl", tmp_path / "out"))
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Why is it?" not in text
    assert "scatters" not in text


def test_sources_are_walked_to_the_input(made: Path) -> None:
    """From the preferences back to the data, each step once, the input first."""
    names = [s.manifest.name for s in sources_of(steps(made, "clair-preferences")[0])]
    assert names == ["data", "answers", "clair-pairs", "clair-preferences"]
    assert [s.model for s in sources_of(steps(made, "clair-pairs")[0])] == [None, "org/policy-1", "org/reviser-1"]


@pytest.mark.parametrize(("step", "to"), [("data", "jsonl"), ("answers", "parquet"), ("clair-preferences", "trl")])
def test_other_rows_are_exported_as_they_are(made: Path, tmp_path: Path, step: str, to: str) -> None:
    """Instructions, candidates and preferences round-trip too."""
    done = export_step(steps(made, step)[0], Wanted(to, tmp_path / "out"))
    assert len(loaded(tmp_path / "out")) == done.rows == len(list(read_rows(steps(made, step)[0])))


def test_a_long_dataset_is_several_files(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's names, all rows in order."""
    monkeypatch.setattr("pairgen.export.files.FILE_ROWS", 2)
    done = export_step(steps(made, "clair-pairs")[0], Wanted("jsonl", tmp_path / "out"))
    assert [f for f in done.files if "data/" in f] == [f"data/train-0000{i}-of-00002.jsonl" for i in range(2)]
    assert [r["id"] for r in loaded(tmp_path / "out")] == [p.id for p in pairs(made)]


# --- faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--to", "trll"], "--to trll: did you mean 'trl'?"),
        (["--step", "clair-pears"], "did you mean 'clair-pairs'"),
        (["--to", "trl", "--step", "data"], "holds Instruction rows; TRL has a format for: Pair"),
    ],
)
def test_wrong_options(
    made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    """One line, exit code 2, nothing written."""
    said = pairgen(capfd, "export", made, "--out", tmp_path / "out", *args)
    assert (said.code, says in said.line) == (2, True), said.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: Said = pairgen(capfd, "export", tmp_path, "--out", tmp_path / "out")
    assert said.code == 2
    assert "neither a run folder with finished steps nor a finished step folder" in said.line


def test_what_is_there_stays_unless_it_is_an_export(made: Path, tmp_path: Path) -> None:
    """A folder with something in it is refused; --overwrite replaces an earlier export and nothing else."""
    step, out = steps(made, "clair-pairs")[0], tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for replace in (False, True):
        with pytest.raises(UsageError, match=r"not empty|no earlier export"):
            export_step(step, Wanted("trl", out, replace=replace))
    assert (out / "thesis.txt").read_text() == "years of work"
    export_step(step, Wanted("jsonl", tmp_path / "new"))
    with pytest.raises(UsageError, match="--overwrite"):
        export_step(step, Wanted("trl", tmp_path / "new"))
    export_step(step, Wanted("trl", tmp_path / "new", replace=True))
    assert not list((tmp_path / "new" / "data").glob("*.jsonl"))


@pytest.mark.parametrize("fault", [
    "file.create:1:enospc", "file.write:1:enospc", "file.fsync:2:eio", "file.rename:3:eio", "adopt.rename:1:eio",
])
def test_an_export_appears_whole_or_not_at_all(made: Path, tmp_path: Path, fault: str) -> None:
    """Whichever write fails, no folder of that name and no half-written one stays."""
    arm(fault)
    try:
        with pytest.raises(StorageError):
            export_step(steps(made, "clair-pairs")[0], Wanted("trl", tmp_path / "out"))
    finally:
        arm(None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["adopt.rename:1:eio", "adopt.aside:1:eio", "file.rename:2:eio"])
def test_an_earlier_export_outlives_a_failed_one(made: Path, tmp_path: Path, fault: str) -> None:
    """--overwrite: should the new one not get its name, the old one has it again, byte for byte."""
    step, out = steps(made, "clair-pairs")[0], tmp_path / "out"
    export_step(step, Wanted("jsonl", out))
    before = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    arm(fault)
    try:
        with pytest.raises(StorageError):
            export_step(step, Wanted("trl", out, replace=True))
    finally:
        arm(None)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_killed_export_put_aside_is_found_again(made: Path, tmp_path: Path) -> None:
    """Killed between the two renames the old export is hidden; the next command gives it its name back first."""
    step, out = steps(made, "clair-pairs")[0], tmp_path / "out"
    export_step(step, Wanted("jsonl", out))
    out.rename(tmp_path / ".out.before")
    with pytest.raises(UsageError, match="--overwrite"):
        export_step(step, Wanted("trl", out))
    assert (out / "README.md").is_file()
    export_step(step, Wanted("trl", out, replace=True))
    assert list(tmp_path.iterdir()) == [out]


# --- held out -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty prompts, two pairs each, and judgments of both orders as training rows."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "in.jsonl").write_text("".join(f'"Question {i}?"\n' for i in range(60)))
    policy = json.dumps({"use": "scripted", "default": "right [[{{seed}}]]", "replies": [
        {"match": "judge", "reply": ["[[A]]", "[[B]]"]}, {"match": "worse", "reply": "wrong {{seed}}"},
    ]})
    (folder / "worse.md").write_text("---\nvars: [instruction]\npattern: (?s)(?P<answer>.+)\n---\n# user\nworse\n"
                                     "{{instruction}}")
    (folder / "judge.md").write_text("---\nvars: [instruction, answer_a, answer_b]\nparser: verdict\n---\n# user\n"
                                     "judge {{instruction}} {{answer_a}} {{answer_b}}")
    (folder / "p.yaml").write_text(json.dumps({
        "name": "judged", "engines": {"policy": json.loads(policy)}, "data": {"path": f"{folder}/in.jsonl"},
        "stages": [
            {"id": "answered", "use": "respond", "engine": "policy"},
            {"id": "pairs", "use": "pair", "engine": "policy", "construction": "direct-worse", "n": 2,
             "prompt": f"{folder}/worse.md", "length_ratio": [0, 9]},
            {"id": "judgments", "use": "judge", "engine": "policy", "prompt": f"{folder}/judge.md", "n": 2},
            {"id": "kept", "use": "filter"}, {"id": "dpo", "use": "export-dpo"},
        ],
    }))
    run(str(folder / "p.yaml"), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("to", ["trl", "jsonl"])
@pytest.mark.parametrize("step", ["pairs", "dpo"])
def test_no_prompt_is_on_both_sides(judged: Path, tmp_path: Path, step: str, to: str) -> None:
    """All rows of an instruction are in one split, also where the prompt of a row is a judgment's of either order."""
    import datasets

    folder = steps(judged, step)[0]
    done = export_step(folder, Wanted(to, tmp_path / "out", heldout=0.2, seed=4))
    back = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(back) == {"train", "test"}
    sides = {name: [json.dumps(row["prompt"]) for row in back[name]] for name in back}
    found = {name: {re.findall(r"Question \d+\?", text)[0] for text in texts} for name, texts in sides.items()}
    assert not found["train"] & found["test"]
    assert (len(back["test"]), len(back["train"])) == (done.heldout, done.rows - done.heldout)
    assert 4 <= len(found["test"]) <= 24  # 12 expected of 60, four standard deviations to each side
    ids = [row["id"] for row in back["train"]] + [row["id"] for row in back["test"]]
    assert sorted(ids) == sorted(row.id for row in read_rows(folder))
    text = (tmp_path / "out" / "README.md").read_text()
    counts = f"`train` {len(back['train'])}, `test` {len(back['test'])} rows"
    assert f"0.2 of the prompts held out, seed 4): {counts}" in text


def test_the_draw_is_that_of_the_stage(judged: Path) -> None:
    """`split` with the same share and seed holds the same instructions out; another seed holds out others."""
    rows: list[Pair] = list(read_rows(steps(judged, "pairs")[0]))
    stage = Split.model_validate({"id": "s", "use": "split", "part": "heldout", "share": 0.2, "seed": 4})
    kept = {row.id for row in stage.run(iter(rows)) if isinstance(row, Pair)}
    sources = sources_of(steps(judged, "pairs")[0])
    assert {row.id for row in rows if split_of(sources, 0.2, 4).of(row) == "test"} == kept
    assert {row.id for row in rows if split_of(sources, 0.2, 5).of(row) == "test"} != kept


def test_a_share_that_leaves_a_split_empty_is_refused(made: Path, tmp_path: Path, capfd: Any) -> None:
    """Of three prompts a hundredth is none: one line, nothing written."""
    said = pairgen(capfd, "export", made, "--out", tmp_path / "out", "--step", "clair-pairs", "--heldout", "0.01")
    assert (said.code, "--heldout 0.01: leaves the split 'test' without rows" in said.line) == (2, True), said.err
    assert not list(tmp_path.iterdir())


# --- small parts --------------------------------------------------------------------------------------


def test_spread_by_hand() -> None:
    """Quantiles interpolate as numpy's do; the mean is arithmetic."""
    assert Spread.of([0.0, 1.0, 2.0, 3.0, 10.0]) == Spread(3.2, 2.0, pytest.approx(0.4), pytest.approx(7.2))


def test_the_contrast_table_measures_preferences_too() -> None:
    """A preference has no stored contrast: it is measured, and agrees with the pair's."""
    one = pair(chosen="The cat sat.", rejected="The dog sat!")
    other = Preference("i", (Message("user", "x"),), (Message("assistant", one.chosen),),
                       (Message("assistant", one.rejected),), "k", "r")
    tables = [ContrastTable(), ContrastTable()]
    tables[0].add(one)
    tables[1].add(other)
    assert tables[0].rows() == tables[1].rows()
    assert dict(tables[0].rows())["Jaccard x 100"].mean == pytest.approx(100 * 2 / 6)
    assert dict(tables[0].rows())["length, chosen / rejected"].mean == 1.0
    tables[0].add("something else")
    assert len(tables[0].jaccard) == 1


def test_hostile_text_stays_text() -> None:
    """A prompt cannot close its code block, and a command shows no password."""
    assert fenced("a ```` b").startswith("`````text\n")
    assert safe_command("pairgen run x --set u=http://me:secret@host/v1 `rm`") == (
        "pairgen run x --set u=http://...@host/v1 'rm'"
    )
