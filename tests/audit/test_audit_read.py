"""Any preference data as chunks of pairs: formats are recognised and said, malformed rows counted with their number."""

import csv
import gzip
import json
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairgen import fingerprint, store
from pairgen.audit.read import Source, open_joined, open_source
from pairgen.errors import UsageError
from pairgen.records import Contrast, Instruction, Judged, Labelled, Message, Pair, Preference
from pairgen.schema import to_batch
from pairgen.store.write import ROW_CLASS

GOOD = {"prompt": "p", "chosen": "c", "rejected": "r"}
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".csv", ".tsv", ".parquet", ".arrow")


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def prompts(source: Source) -> list[str]:
    """The prompts of all pairs, in the order of the source."""
    return [prompt for chunk in source.chunks() for prompt in chunk.prompts]


def write_as(path: Path, records: list[dict[str, Any]]) -> Path:
    """Records in the form that the file's ending names."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    name = path.name
    if name.endswith(".jsonl"):
        path.write_bytes(lines)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    elif name.endswith(".zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(lines)
    elif name.endswith(".json"):
        path.write_text(json.dumps(records), encoding="utf-8")
    elif name.endswith((".csv", ".tsv")):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]), delimiter="\t" if name.endswith("tsv") else ",")
            writer.writeheader()
            writer.writerows(records)
    elif name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        table = pa.Table.from_pylist(records)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return path


def pairs(source: Source) -> list[tuple[int, str, str, str]]:
    return [(s.row, s.sides.prompt, s.sides.chosen, s.sides.rejected) for s in source.sightings()]


def one(tmp_path: Path, records: list[Any], **options: Any) -> Source:
    return open_source(str(jsonl(tmp_path / "data.jsonl", records)), **options)


def readable(path: Path) -> Source | None:
    """The source, or None after an error of one line that names the file."""
    said = ""
    try:
        source = open_source(str(path))
        list(source.chunks())
        return source
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
    assert str(path) in said
    return None


# --- formats ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_gives_the_same_pairs(tmp_path: Path, ending: str) -> None:
    """JSONL packed or not, JSON, CSV, TSV, Parquet and Arrow: the same rows, numbers and groups."""
    records = [{"prompt": f"é {i}\nzwei", "chosen": f"[{i}] yes, \"so\"", "rejected": "", "source": f"s{i % 2}"}
               for i in range(2500)]
    source = open_source(str(write_as(tmp_path / f"data{ending}", records)))
    chunks = list(source.chunks())
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 500]
    assert np.concatenate([chunk.rows for chunk in chunks]).tolist() == list(range(1, 2501))
    assert [text for chunk in chunks for text in chunk.chosen] == [r["chosen"] for r in records]
    assert [text for chunk in chunks for text in chunk.prompts] == [r["prompt"] for r in records]
    assert {group for chunk in chunks for group in chunk.groups} == {"s0", "s1"}
    assert (source.name, source.rows, source.pairs, source.bad) == ("data", 2500, 2500, {})
    assert np.isnan(chunks[0].chosen_scores).all()


def test_a_source_is_read_as_often_as_one_likes(tmp_path: Path) -> None:
    """A second pass gives the same pairs and counts bad rows anew."""
    source = one(tmp_path, [GOOD, {"prompt": "p"}, GOOD])
    assert pairs(source) == pairs(source) == [(1, "p", "c", "r"), (3, "p", "c", "r")]
    assert source.bad == {"missing column": 1}
    assert len(source.bad_rows) == 1


FORMATS: dict[str, tuple[dict[str, Any], tuple[str, str, str], str]] = {
    "DPO with a question": (
        {"question": "q", "chosen": "c", "rejected": "r"}, ("q", "c", "r"), "preference (prompt = question"),
    "a system column": (
        {"system": "Be brief.", "question": "q", "chosen": "c", "rejected": "r"},
        ("System: Be brief.\n\nUser: q", "c", "r"), "system"),
    "Alpaca's instruction and input": (
        {"instruction": "Add.", "input": "1 2", "chosen": "3", "rejected": "4"}, ("Add.\n\n1 2", "3", "4"), "input"),
    "conversational with a prompt": (
        {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "c"}],
         "rejected": [{"role": "assistant", "content": "r"}]}, ("q", "c", "r"), "conversations"),
    "conversational, the prompt in both sides": (
        {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}],
         "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]},
        ("q", "c", "r"), "both sides share"),
    "prompt text beside whole conversations": (
        {"prompt": "q", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}],
         "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]},
        ("q", "c", "r"), "conversations"),
    "turns as JSON text": (
        {"chosen": json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}]),
         "rejected": json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}])},
        ("q", "c", "r"), "conversations"),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "c"},
         "rejected": {"from": "gpt", "value": "r"}}, ("q", "c", "r"), "prompt = conversations"),
    "HH transcripts": (
        {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: c",
         "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: r"},
        ("User: a\n\nAssistant: b\n\nUser: q", "c", "r"), "both sides share"),
    "texts without any prompt": ({"chosen": "c", "rejected": "r"}, ("", "c", "r"), "without a prompt"),
    "the Self-Taught release": (
        {"src": "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>", "tgt_chosen": "c", "tgt_rejected": "r"},
        ("q", "c", "r"), "chosen = tgt_chosen"),
    "LLMBar": ({"input": "q", "output_1": "r", "output_2": "c", "label": 2}, ("q", "c", "r"), "2 or B output_2"),
    "EvalBias": (
        {"instruction": "q", "response1": "c", "response2": "r", "label": "1"}, ("q", "c", "r"), "1 or A is response1"),
    "AlpacaEval annotations": (
        {"instruction": "q", "output_1": "c", "output_2": "r", "preference": 1.02}, ("q", "c", "r"), "preference"),
    "an arena": (
        {"conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}],
         "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}],
         "winner": "model_b"}, ("q", "c", "r"), "winner"),
    "SafeRLHF": (
        {"prompt": "q", "response_0": "r", "response_1": "c", "better_response_id": 1}, ("q", "c", "r"),
        "better_response_id 0 is response_0"),
    "SHP": (
        {"history": "q", "human_ref_A": "c", "human_ref_B": "r", "labels": 1}, ("q", "c", "r"), "prefers human_ref_A"),
    "PandaLM": (
        {"instruction": "q", "input": "", "response1": "r", "response2": "c", "annotator1": 2, "annotator2": 0,
         "annotator3": 2}, ("q", "c", "r"), "majority of 3 annotators"),
    "UltraFeedback": (
        {"instruction": "q", "completions": [
            {"response": "r", "overall_score": 10.0, "fine-grained_score": 1.5},
            {"response": "m", "overall_score": 4.0, "fine-grained_score": 3.0},
            {"response": "c", "overall_score": 4.5, "fine-grained_score": 4.75}]},
        ("q", "c", "r"), "best against the worst"),
    "answers beside their ratings": (
        {"prompt": "q", "generations": ["m", "c", "r"], "ratings": [3, 5, 1]}, ("q", "c", "r"), "scores = ratings"),
    "ranked answers": (
        {"prompt": "q", "answers": [{"answer": "c", "rank": 1.0}, {"answer": "r", "rank": 7.0}]},
        ("q", "c", "r"), "best"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_recognised_and_said(tmp_path: Path, name: str) -> None:
    """Each way that sets write two answers down gives the pair, and the format names columns and rule."""
    record, expected, said = FORMATS[name]
    source = one(tmp_path, [record])
    assert pairs(source) == [(1, *expected)]
    assert said in source.format


def test_scores_are_kept_with_the_margin(tmp_path: Path) -> None:
    """Score columns, a margin alone, and scores of listed answers; text and infinity are no scores."""
    records = [{**GOOD, "score_chosen": 4, "score_rejected": "2.5"},
               {**GOOD, "score_chosen": "high", "score_rejected": 1},
               {**GOOD, "score_chosen": 1e400, "score_rejected": None}]
    chunk = next(one(tmp_path, records).chunks())
    assert (chunk.chosen_scores[0], chunk.rejected_scores[0]) == (4, 2.5)
    assert np.isnan(chunk.chosen_scores[1:]).all()
    assert chunk.rejected_scores[1] == 1
    chunk = next(one(tmp_path, [{**GOOD, "margin": 0.75}]).chunks())
    assert (chunk.chosen_scores[0], chunk.rejected_scores[0]) == (0.75, 0)
    chunk = next(one(tmp_path, [FORMATS["UltraFeedback"][0]]).chunks())
    assert (chunk.chosen_scores[0], chunk.rejected_scores[0]) == (4.75, 1.5)


def test_equal_scores_and_ties_are_counted(tmp_path: Path) -> None:
    """A tie is no pair: of verdicts, of annotators who all differ, and of lists whose scores are equal."""
    two = {"instruction": "q", "response1": "a", "response2": "b"}
    source = one(tmp_path, [{**two, "label": label} for label in (1, 0, "tie", 2, "B", 1.5, None, "?")])
    assert [row for row, *_ in pairs(source)] == [1, 4, 5]
    assert source.bad == {"tie": 3, "null": 1, "unknown label": 1}
    votes = [(1, 2, 0), (1, 1, 2), (0, 0, 1), (2, 2, 2)]
    source = one(tmp_path, [{**two, **{f"annotator{i}": v for i, v in enumerate(row, 1)}} for row in votes])
    assert pairs(source) == [(2, "q", "a", "b"), (4, "q", "b", "a")]
    assert source.bad == {"tie": 2}
    source = one(tmp_path, [{**two, "annotator1": 1}, two])
    assert pairs(source) == [(1, "q", "a", "b")]
    assert source.bad == {"missing column": 1}, "a row that nobody judged"
    lists: list[list[object]] = [[1, 1], [2, 1], [3], ["N/A", None], [2, 2, 1, 1]]
    scored = [[{"text": f"t{i}", "score": s} for i, s in enumerate(row)] for row in lists]
    records = [{"prompt": "q", "completions": completions} for completions in scored]
    source = one(tmp_path, records)
    assert pairs(source) == [(2, "q", "t0", "t1"), (5, "q", "t0", "t2")], "of equals the first listed"
    assert source.bad == {"tie": 1, "too few answers": 2}


def test_a_label_of_zero_and_one_is_refused_until_it_is_said(tmp_path: Path) -> None:
    """0 and 1 without a 2 may be an index or a verdict: the error says how to tell, and both ways work."""
    records = [{"prompt": "q", "output_1": "a", "output_2": "b", "label": i % 2} for i in range(20)]
    with pytest.raises(UsageError, match="--columns index=label") as error:
        one(tmp_path, records)
    assert "first_wins=label" in str(error.value)
    assert pairs(one(tmp_path, records, columns={"index": "label"}))[0] == (1, "q", "a", "b")
    assert pairs(one(tmp_path, records, columns={"first_wins": "label"}))[0] == (1, "q", "b", "a")


def test_labelled_answers_are_paired_by_their_prompt(tmp_path: Path) -> None:
    """KTO rows of one prompt with both labels make pairs in order; the others are counted, with their rows."""
    rows = [("a", "a+", True), ("b", "b-", False), ("a", "a-", False), ("a", "a2-", "0"), ("b", "b+", 1),
            ("c", "c+", "true"), ("a", "?", "maybe")]
    source = one(tmp_path, [{"prompt": p, "completion": c, "label": y} for p, c, y in rows])
    found = list(source.sightings())
    assert [(s.row, s.other, s.sides.prompt, s.sides.chosen, s.sides.rejected) for s in found] == [
        (3, 1, "a", "a+", "a-"), (5, 2, "b", "b+", "b-")]
    assert source.bad == {"unpaired": 2, "unknown label": 1}
    assert [bad.row for bad in source.bad_rows] == [4, 6, 7]
    assert "paired" in source.format


def brute_halves(rows: list[tuple[str, bool]]) -> tuple[int, int]:
    """Pairs and unpaired rows, counted from the definition."""
    good, bad = (Counter(p for p, y in rows if y is label) for label in (True, False))
    made = sum(min(good[p], bad[p]) for p in good)
    return made, len(rows) - 2 * made


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=40)
def test_halves_pair_as_often_as_they_can(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, bool]],
) -> None:
    """As many pairs as the rarer label of each prompt has rows, no row in two pairs."""
    path = jsonl(tmp_path_factory.mktemp("kto") / "x.jsonl",
                 [{"prompt": p, "completion": f"{i}", "label": y} for i, (p, y) in enumerate(rows, 1)])
    source, (made, left) = open_source(str(path)), brute_halves(rows)
    if not made:
        with pytest.raises(UsageError, match="unpaired"):
            list(source.sightings())
        return
    found = list(source.sightings())
    used = [row for s in found for row in (s.row, s.other)]
    assert (len(found), source.bad["unpaired"]) == (made, left)
    assert len(set(used)) == len(used)
    for s in found:
        good, bad = int(s.sides.chosen), int(s.sides.rejected)
        assert rows[good - 1] == (s.sides.prompt, True)
        assert rows[bad - 1] == (s.sides.prompt, False)


def test_columns_are_mapped_and_misnamed_ones_have_a_hint(tmp_path: Path) -> None:
    """`--columns` comes before what is guessed; a part or column that is not there is one line."""
    records = [{"task": "t", "canonical_solution": "good", "buggy_solution": "bad", "prompt": "p"}]
    columns = {"chosen": "canonical_solution", "rejected": "buggy_solution"}
    assert pairs(one(tmp_path, records, columns=columns)) == [(1, "p", "good", "bad")]
    assert pairs(one(tmp_path, records, columns={**columns, "prompt": "task"})) == [(1, "t", "good", "bad")]
    with pytest.raises(UsageError, match="did you mean 'buggy_solution'"):
        one(tmp_path, records, columns={"chosen": "prompt", "rejected": "buggy_solutions"})
    with pytest.raises(UsageError, match="did you mean 'chosen'"):
        one(tmp_path, records, columns={"choosen": "prompt"})
    with pytest.raises(UsageError, match=r"no preference data has these columns: question, answer.*--columns"):
        one(tmp_path, [{"question": "q", "answer": "a"}])


def test_groups_are_guessed_where_they_tell_rows_apart(tmp_path: Path) -> None:
    """A column of groups is taken and said; one with a value a row is none; `by` names any, nested ones too."""
    records = [{**GOOD, "source": f"unique {i}", "subset": f"s{i % 3}", "meta": {"lang": "de"}} for i in range(12)]
    source = one(tmp_path, records)
    assert next(source.chunks()).groups[:4] == ["s0", "s1", "s2", "s0"]
    assert "grouped by subset" in source.format
    assert one(tmp_path, [{**r, "subset": None} for r in records]).group == ""
    assert set(next(one(tmp_path, records, by="meta.lang").chunks()).groups) == {"de"}
    with pytest.raises(UsageError, match="did you mean 'subset'"):
        one(tmp_path, records, by="subsets")


def test_two_files_are_joined_on_the_prompt(tmp_path: Path) -> None:
    """Rows find each other by instruction, not by number; what has no partner is counted with its file and row."""
    better = [{"instruction": i, "output": f"{i}+", "dataset": "d"} for i in ("a", "b", "c", "a")]
    worse = [{"instruction": i, "output": f"{i}-" if i != "b" else None} for i in ("c", "a", "x", "a", "b")]
    a, b = jsonl(tmp_path / "a.jsonl", better), write_as(tmp_path / "b.json", worse)
    source = open_joined(str(a), str(b))
    assert pairs(source) == [(1, "a", "a+", "a-"), (3, "c", "c+", "c-"), (4, "a", "a+", "a-")]
    assert source.bad == {"no partner": 2, "null": 1}
    assert {(bad.row, bad.reason) for bad in source.bad_rows} == {(2, "no partner"), (3, "no partner"), (5, "null")}
    assert "joined on the prompt" in source.format
    assert source.group == "dataset"
    with pytest.raises(UsageError, match="no column for the completion"):
        open_joined(str(a), str(jsonl(tmp_path / "c.jsonl", [{"instruction": "a"}])))


# --- pairgen's own ------------------------------------------------------------------------------------


def own_pair(i: int) -> Pair:
    instruction = Instruction(f"i{i}", (Message("user", f"q{i}"),), "koala", category=f"c{i % 2}")
    return Pair(f"{i}", instruction, f"c{i}", f"r{i}", "worsen", None, "policy", "policy", Contrast(0.5, 2, 1.0), "raw",
                chosen_score=2.0 if i else None)


def shard(path: Path, cls: type, rows: list[Any]) -> Path:
    batch = to_batch(cls, rows)
    schema = batch.schema.with_metadata({ROW_CLASS: f"{cls.__module__}:{cls.__qualname__}".encode()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    return path


def test_own_shards_of_every_row_class_are_read(tmp_path: Path) -> None:
    """Pair, Judged, Preference and Labelled rows, from their shard files."""
    made = [own_pair(i) for i in range(6)]
    source = open_source(str(shard(tmp_path / "pairs.arrow", Pair, made)))
    assert pairs(source) == [(i + 1, f"q{i}", f"c{i}", f"r{i}") for i in range(6)]
    assert source.format.startswith("Pair rows")
    chunk = next(source.chunks())
    assert math.isnan(chunk.chosen_scores[0])
    assert chunk.chosen_scores[1] == 2
    assert source.group == "instruction.source"
    judged = [Judged(p.id, p, ()) for p in made]
    source = open_source(str(shard(tmp_path / "judged.arrow", Judged, judged)))
    assert pairs(source)[5] == (6, "q5", "c5", "r5")
    user, good, bad = ((Message(role, text),) for role, text in (("user", "q"), ("assistant", "c"), ("assistant", "r")))
    rows = [Preference("1", user, good, bad, "judgment", "wrong", chosen_score=1.0)]
    assert pairs(open_source(str(shard(tmp_path / "pref.arrow", Preference, rows)))) == [(1, "q", "c", "r")]
    halves = [Labelled("1", user, good, True, "k"), Labelled("2", user, bad, False, "k")]
    assert pairs(open_source(str(shard(tmp_path / "kto.arrow", Labelled, halves)))) == [(2, "q", "c", "r")]


def seal(run: Path, name: str, rows: list[Pair], inputs: dict[str, str]) -> str:
    """A sealed step of pairs; its digest."""
    digest = fingerprint.digest({"step": name})
    folder = store.step_folder(run, name, digest)
    with store.StepWriter(folder, Pair, 2) as writer:
        for row in rows:
            writer.add(row)
        made = writer.close()
    store.seal(folder, store.Manifest(
        name=name, use="pair", identity={"step": name}, digest=digest, inputs=inputs, row_class=made.row_class,
        rows=made.rows, shards=made.shards, code_version="0",
    ))
    return digest


def test_a_run_is_read_by_its_last_step_with_pairs(tmp_path: Path) -> None:
    """Of a run, the step with pairs that no other was made of; its name is said. Two such steps are a choice."""
    run, rows = tmp_path / "run", [own_pair(i) for i in range(5)]
    made = seal(run, "made", rows, {})
    seal(run, "kept", rows[:3], {"made": made})
    source = open_source(str(run))
    assert [row for row, *_ in pairs(source)] == [1, 2, 3]
    assert "step kept" in source.format
    step = next(run.glob("made@*"))
    assert [chosen for _, _, chosen, _ in pairs(open_source(str(step)))] == ["c0", "c1", "c2", "c3", "c4"]
    (step / "part-00001.arrow").write_bytes(b"lost")
    source = open_source(str(step))
    assert [row for row, *_ in pairs(source)] == [1, 2, 5], "a lost shard costs its rows"
    assert source.bad == {"damaged": 2}
    seal(run, "other", rows[:1], {"made": made})
    with pytest.raises(UsageError, match="holds 2 steps to audit; name one"):
        open_source(str(run))


# --- malformed rows -----------------------------------------------------------------------------------

DEEP = "[" * 100_000 + "]" * 100_000
LINES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b'{"prompt": "p", "chosen": ', "not JSON"),
    "a word": (b"hello", "not JSON"),
    "two records": (b'{"a": 1} {"b": 2}', "not JSON"),
    "a number of digits without end": (b'{"prompt": ' + b"9" * 5000 + b"}", "not JSON"),
    "not UTF-8": (json.dumps(GOOD).encode().replace(b'"c"', b'"\xff"'), "not UTF-8"),
    "Latin-1": ('{"prompt": "p", "chosen": "é", "rejected": "r"}'.encode("latin-1"), "not UTF-8"),
    "UTF-16": (json.dumps(GOOD).replace("\n", "").encode("utf-16-be"), "not JSON"),
    "a list": (b'["p", "c", "r"]', "no record"),
    "a text": (b'"p"', "no record"),
    "null": (b"null", "no record"),
    "nothing in it": (b"{}", "missing column"),
    "a column short": (b'{"prompt": "p", "chosen": "c"}', "missing column"),
    "a null side": (b'{"prompt": "p", "chosen": null, "rejected": "r"}', "null"),
    "a null prompt": (b'{"prompt": null, "chosen": "c", "rejected": "r"}', "null"),
    "a number": (b'{"prompt": "p", "chosen": 3, "rejected": "r"}', "not text"),
    "NaN": (b'{"prompt": "p", "chosen": NaN, "rejected": "r"}', "not text"),
    "a boolean": (b'{"prompt": "p", "chosen": "c", "rejected": true}', "not text"),
    "a record for a text": (b'{"prompt": "p", "chosen": {"text": "c"}, "rejected": "r"}', "not text"),
    "a number for a prompt": (b'{"prompt": 1.5, "chosen": "c", "rejected": "r"}', "not text"),
    "a list of numbers": (b'{"prompt": "p", "chosen": [1], "rejected": "r"}', "unreadable turns"),
    "an empty list": (b'{"prompt": "p", "chosen": [], "rejected": "r"}', "no answer"),
    "a turn without content": (
        b'{"prompt": "p", "chosen": [{"role": "assistant"}], "rejected": "r"}', "unreadable turns"),
    "a role of nobody": (
        b'{"prompt": "p", "chosen": [{"role": "oracle", "content": "c"}], "rejected": "r"}', "unreadable turns"),
    "one side with its prompt": (
        b'{"prompt": "p", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "c"}], '
        b'"rejected": "r"}', "no shared prompt"),
    "nested too deep": (b'{"prompt": ' + DEEP.encode() + b"}", "nested too deep"),
    "deep inside a text's place": (b'{"prompt": ' + b"[" * 900 + b"]" * 900 + b', "chosen": "c", "rejected": "r"}', ""),
    "half a surrogate pair": (b'{"prompt": "p", "chosen": "\\ud83d", "rejected": "r"}', "lone surrogate"),
    "a surrogate in the prompt": (b'{"prompt": "\\udc00", "chosen": "c", "rejected": "r"}', "lone surrogate"),
    "null bytes": (b"\0\0\0\0", "not JSON"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_malformed_line_costs_itself_alone(tmp_path: Path, name: str) -> None:
    """Between good rows, and even as the first: reported with its number and reason, and the rest goes on."""
    line, reason = LINES[name]
    good = json.dumps(GOOD).encode()
    for place in (1, 3):
        lines = [good] * 4
        lines.insert(place - 1, line)
        path = tmp_path / "data.jsonl"
        path.write_bytes(b"\n".join(lines))
        source = open_source(str(path))
        assert [row for row, *_ in pairs(source)] == [row for row in range(1, 6) if row != place]
        assert [bad.row for bad in source.bad_rows] == [place]
        assert source.bad.total() == 1
        assert source.rows == 5
        assert source.bad_rows[0].reason == (reason or source.bad_rows[0].reason)
        assert len(source.bad_rows[0].detail) <= 200


MANGLES: tuple[Callable[[dict[str, Any], str, Any], Any], ...] = (
    lambda record, column, junk: {**record, column: junk},
    lambda record, column, junk: {k: v for k, v in record.items() if k != column},
    lambda record, column, junk: junk,
    lambda record, column, junk: [record],
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("role", "content", "x")), inner),
    max_leaves=6,
)
BASES = [record for record, _, _ in FORMATS.values()] + [{"prompt": "p", "completion": "c", "label": True}]


@given(st.data())
@settings(max_examples=150)
def test_no_record_stops_the_reading(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Records of any format with any value in any cell: each row is a pair or a bad row, and none is lost."""
    base = data.draw(st.sampled_from(BASES))
    rows: list[Any] = [base] * 3
    for _ in range(data.draw(st.integers(1, 4))):
        mangle, column = data.draw(st.sampled_from(MANGLES)), data.draw(st.sampled_from(sorted(base)))
        rows.insert(data.draw(st.integers(0, len(rows))), mangle(base, column, data.draw(JUNK)))
    path = jsonl(tmp_path_factory.mktemp("mangled") / "x.jsonl", rows)
    source = readable(path)
    if source is None:
        return
    found = [row for s in source.sightings() for row in (s.row, s.other) if row]
    bad = [one.row for one in source.walk() if not hasattr(one, "sides")]
    assert sorted(found + bad) == list(range(1, len(rows) + 1))
    assert source.rows == len(rows)
    for chunk in source.chunks():
        assert all(isinstance(text, str) and text.encode() is not None
                   for texts in (chunk.prompts, chunk.chosen, chunk.rejected) for text in texts)


@given(st.binary(max_size=400), st.sampled_from(ENDINGS))
@settings(max_examples=150)
def test_any_bytes_are_pairs_or_one_line(tmp_path_factory: pytest.TempPathFactory, noise: bytes, ending: str) -> None:
    """Noise under any name is an error of one line, never a traceback."""
    path = tmp_path_factory.mktemp("noise") / f"x{ending}"
    path.write_bytes(noise)
    readable(path)


@given(st.sampled_from(ENDINGS), st.floats(0.02, 0.98), st.booleans(), st.integers(0, 255))
@settings(max_examples=120)
def test_a_damaged_file_gives_what_is_left(tmp_path_factory: pytest.TempPathFactory, ending: str, place: float,
                                           cut: bool, byte: int) -> None:
    """Cut anywhere, or with one byte changed anywhere: pairs that are read are right, the damage has a place."""
    records = [{"prompt": f"p{i}", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(300)]
    path = write_as(tmp_path_factory.mktemp("damaged") / f"x{ending}", records)
    whole = path.read_bytes()
    at = int(len(whole) * place)
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1:])
    source = readable(path)
    if source is None:
        return
    found = pairs(source)
    assert len(found) <= 301
    if cut and not ending.endswith(("csv", "tsv")):
        assert found == [(i + 1, f"p{i}", f"c{i}", f"r{i}") for i in range(len(found))]
        assert len(found) == 300 or source.bad.total() > 0 or ending == ".jsonl", "what is missing is said"


def test_a_cut_archive_is_read_to_its_end(tmp_path: Path) -> None:
    """Of a gzip file cut in half about half the rows are read; the cut is a bad row with its place."""
    rng = np.random.default_rng(0)
    records = [{**GOOD, "chosen": rng.bytes(60).hex()} for _ in range(2000)]
    for ending in (".jsonl.gz", ".jsonl.zst"):
        path = write_as(tmp_path / f"x{ending}", records)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        source = open_source(str(path))
        found = pairs(source)
        assert 700 < len(found) < 1300
        assert source.bad == {"cut file": 1}
        assert source.bad_rows[0].row == len(found) + 1
        assert f"row {len(found):,}" in source.bad_rows[0].detail


def test_a_json_list_goes_on_after_a_broken_element(tmp_path: Path) -> None:
    """Elements that are no JSON are skipped to where their brackets close; a list that never closes is said."""
    good = json.dumps(GOOD)
    path = tmp_path / "x.json"
    path.write_text(f'[{good}, {{"prompt": oops, "chosen": "]"}}, {good}, 3, {good} {good}, {good}, {{"a": [1, 2')
    source = open_source(str(path))
    assert [row for row, *_ in pairs(source)] == [1, 3, 6]
    assert [(bad.row, bad.reason) for bad in source.bad_rows] == [
        (2, "not JSON"), (4, "no record"), (5, "not JSON"), (7, "cut file")]
    path.write_text(f'{{"first": [{good}], "second": [{good}, {good}]}}')
    assert len(pairs(open_source(str(path)))) == 3
    path.write_text(f"{good}\n{good}\n")
    assert len(pairs(open_source(str(path)))) == 2, "many .json files are lines"


def test_cells_of_another_number_or_quoting_are_counted(tmp_path: Path) -> None:
    """A CSV row with a cell too many, one too few, a stray quote or bytes that are no UTF-8."""
    path = tmp_path / "x.csv"
    path.write_bytes(b'prompt,chosen,rejected\np,c,r\np,c\np,c,r,x\n"p"x,c,r\np,\xff,r\n\n"p\np",c,r\n')
    source = open_source(str(path))
    assert pairs(source) == [(1, "p", "c", "r"), (6, "p\np", "c", "r")]
    assert [(bad.row, bad.reason) for bad in source.bad_rows] == [
        (2, "number of cells"), (3, "number of cells"), (4, "not CSV"), (5, "not UTF-8")]


def test_text_of_a_column_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    """Arrow files of others may hold bytes that are no text: that row alone is damaged."""
    texts = [b"a", b"b", b"\xff\xfe", b"d"]
    column = pa.array(texts, pa.binary()).view(pa.string())
    table = pa.table({"prompt": ["p"] * 4, "chosen": column, "rejected": ["r"] * 4})
    path = tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    source = open_source(str(path))
    assert [row for row, *_ in pairs(source)] == [1, 2, 4]
    assert [(bad.row, bad.reason) for bad in source.bad_rows] == [(3, "damaged")]


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    """Of a Parquet file with a broken group, the rows of the others are read and the broken ones named."""
    rng = np.random.default_rng(1)
    table = pa.table({name: [rng.bytes(20).hex() for _ in range(400)] for name in GOOD})
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=100, compression="gzip", use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(2).column(1).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 60 : start + 400] = b"\0" * 340
    path.write_bytes(bytes(data))
    source = open_source(str(path))
    assert [row for row, *_ in pairs(source)] == [*range(1, 201), *range(301, 401)]
    assert source.bad == {"damaged": 100}
    assert "rows 201 to 300, of row group 3" in source.bad_rows[0].detail
    assert source.rows == 400


def test_only_nothing_readable_is_an_error(tmp_path: Path) -> None:
    """No file, an empty one, a folder of nothing and rows of which none is a pair: one line that says why."""
    with pytest.raises(UsageError, match="no such file"):
        open_source(str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match="is empty"):
        open_source(str(tmp_path / "empty.jsonl"))
    with pytest.raises(UsageError, match="no finished step"):
        open_source(str(tmp_path))
    source = one(tmp_path, [{**GOOD, "chosen": None}] * 3)
    with pytest.raises(UsageError, match=r"holds no pair an audit can read: null 3; row 1: chosen is null"):
        list(source.chunks())


def test_bad_rows_are_shown_by_their_first_few(tmp_path: Path) -> None:
    """All are counted; of each reason the first five are kept."""
    source = one(tmp_path, [GOOD, *[{"prompt": "p"}] * 50, *[{**GOOD, "chosen": 1}] * 2])
    assert len(pairs(source)) == 1
    assert source.bad == {"missing column": 50, "not text": 2}
    assert [bad.row for bad in source.bad_rows] == [2, 3, 4, 5, 6, 52, 53]


def test_a_folder_of_the_hub_is_read_by_its_split(tmp_path: Path) -> None:
    """`data/train-00000-of-00002.parquet`, as exports and hubs name it; other splits and folders are left alone."""
    (tmp_path / "data").mkdir()
    rows = [{**GOOD, "prompt": f"p{i}"} for i in range(5)]
    for name, some in (("train-00000-of-00002", rows[:3]), ("train-00001-of-00002", rows[3:]), ("test", rows[:1])):
        write_as(tmp_path / "data" / f"{name}.parquet", some)
    source = open_source(str(tmp_path))
    assert prompts(source) == ["p0", "p1", "p2", "p3", "p4"]
    assert "data/train-00000-of-00002.parquet and 1 more" in source.format
    assert prompts(open_source(str(tmp_path), split="test")) == ["p0"]
    with pytest.raises(UsageError, match="no finished step and no saved dataset"):
        open_source(str(tmp_path), split="validation")


def test_a_filtered_folder_is_read_by_what_was_kept(tmp_path: Path) -> None:
    jsonl(tmp_path / "kept.jsonl", [GOOD])
    jsonl(tmp_path / "drops.jsonl", [{"row": 2, "reason": "same == 0"}])
    assert prompts(open_source(str(tmp_path))) == ["p"]


def test_text_in_several_files_is_named_by_the_user(tmp_path: Path) -> None:
    """A row number would name a line of each."""
    for name in ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"):
        jsonl(tmp_path / name, [GOOD])
    with pytest.raises(UsageError, match=r"name the file: .*train-00000-of-00002.jsonl"):
        open_source(str(tmp_path))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        open_source(str(tmp_path / "rows.jsonl"))


def test_a_saved_dataset_is_read_by_its_split(tmp_path: Path) -> None:
    """A folder of save_to_disk, with and without splits, and after a selection of rows."""
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list([{**GOOD, "chosen": f"c{i}"} for i in range(10)])
    data.select([7, 3]).save_to_disk(str(tmp_path / "one"))
    assert [chosen for _, _, chosen, _ in pairs(open_source(str(tmp_path / "one")))] == ["c7", "c3"]
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "many"))
    assert len(pairs(open_source(str(tmp_path / "many"), split="test"))) == 10
    with pytest.raises(UsageError, match="no split 'train'"):
        open_source(str(tmp_path / "many"))
