"""What training reads: every format by example, from files, shards, saved sets and real public data."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen import fingerprint
from pairgen.errors import UsageError
from pairgen.records import (
    Contrast,
    Demonstration,
    Instruction,
    Labelled,
    Message,
    Messages,
    Pair,
    Preference,
    Rollout,
    messages_id,
)
from pairgen.schema import schema_of
from pairgen.sources import Record
from pairgen.store import Manifest, StepWriter, seal
from pairgen.train.example import TrainRow
from pairgen.train.formats import ALIASES
from pairgen.train.read import _records, open_data, read_rows

USER, REPLY, OTHER = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "good"},
                      {"role": "assistant", "content": "bad"})
Q, GOOD, BAD = (Message("user", "q"),), (Message("assistant", "good"),), (Message("assistant", "bad"),)


def chat(*texts: str) -> Messages:
    """Turns written as `u:...`, `a:...`, `s:...`."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return tuple(Message(roles[text[0]], text[2:]) for text in texts)


def jsonl(folder: Path, *records: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def one(folder: Path, record: dict[str, Any], **options: Any) -> TrainRow:
    (row,) = read_rows(jsonl(folder, record), **options)
    return row


PREFERENCES: dict[str, dict[str, Any]] = {
    "plain text": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "conversational": {"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER]},
    "text prompt, message answers": {"prompt": "q", "chosen": [REPLY], "rejected": [OTHER]},
    "message prompt, text answers": {"prompt": [USER], "chosen": "good", "rejected": "bad"},
    "implicit prompt": {"chosen": [USER, REPLY], "rejected": [USER, OTHER]},
    "UltraFeedback binarized, CLAIR release": {
        "prompt": "q", "chosen": [USER, REPLY], "rejected": [USER, OTHER], "rational": "because",
    },
    "HH-RLHF": {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
    "HH-RLHF with its prompt": {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "good", "rejected": "bad"},
    "ShareGPT with single turns": {
        "conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    },
    "a single turn is a list of one": {"prompt": USER, "chosen": REPLY, "rejected": OTHER},
    "messages as JSON text": {"prompt": json.dumps([USER]), "chosen": json.dumps([USER, REPLY]),
                              "rejected": json.dumps([USER, OTHER])},
    "Self-Taught release, text": {"id": "1", "src": "q", "tgt_chosen": "good", "tgt_rejected": "bad"},
    "Self-Taught release, Llama-3 template": {
        "src": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "tgt_chosen": "good<|eot_id|>", "tgt_rejected": "bad<|eot_id|>", "instruction": "hash",
    },
    "content in parts": {"prompt": [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
                         "chosen": "good", "rejected": "bad"},
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_formats_of_preferences_are_one_row(tmp_path: Path, name: str) -> None:
    row = one(tmp_path, PREFERENCES[name])
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen, row.rejected) == (Q, GOOD, BAD)


def test_ids_are_hashes_of_content(tmp_path: Path) -> None:
    ids = {one(tmp_path, record).id for record in PREFERENCES.values()}
    assert len(ids) == 1
    assert one(tmp_path, {"prompt": "q", "chosen": "bad", "rejected": "good"}).id not in ids


def test_messages_in_the_cells_of_a_csv_file(tmp_path: Path) -> None:
    """They are read as messages, which is said; a text that is some other JSON list stays a text."""
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["chosen", "rejected"])
        table.writerow([json.dumps([USER, REPLY]), json.dumps([USER, OTHER])])
    data = open_data(path)
    assert str(data.format) == (
        "implicit-prompt preference (chosen, rejected); turns read from the JSON text in chosen, rejected"
    )
    (row,) = data.rows
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen, row.rejected) == (Q, GOOD, BAD)
    for text in ('[{"a": 1}]', "[1, 2]", "[]", "[" * 9999 + "]" * 9999, '[{"role": "user", "content": "q"}] and'):
        plain = one(tmp_path, {"prompt": text, "chosen": text, "rejected": "bad"})
        assert isinstance(plain, Preference)
        assert (plain.prompt, plain.chosen) == ((Message("user", text),), (Message("assistant", text),))


NEAREST = {
    ("prompt", "chosen"): "Nearest: preference (prompt, chosen, rejected) lacks rejected. Name yours",
    ("rejected",): "Nearest: implicit-prompt preference (chosen, rejected) lacks chosen. Name yours",
    ("question", "label"): "Nearest: unpaired (prompt, completion, label) lacks completion. Name yours",
    ("tgt_chosen", "x"): "Nearest: Self-Taught preference (src, tgt_chosen, tgt_rejected) lacks src, tgt_rejected.",
}


@pytest.mark.parametrize("columns", NEAREST)
def test_the_nearest_format_and_what_it_lacks_are_named(tmp_path: Path, columns: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        one(tmp_path, dict.fromkeys(columns, "x"))
    assert NEAREST[columns] in str(caught.value)
    assert "\n" not in str(caught.value)


SCORES: dict[str, tuple[dict[str, Any], tuple[float | None, float | None, float | None]]] = {
    "own": ({"chosen_score": 2, "rejected_score": -1.5, "policy_score": 0}, (2.0, -1.5, 0.0)),
    "UltraFeedback": ({"score_chosen": 8.5, "score_rejected": 4}, (8.5, 4.0, None)),
    "rewards": ({"chosen_reward": 1, "rejected_reward": 0}, (1.0, 0.0, None)),
    "margin": ({"margin": 3}, (3.0, 0.0, None)),
    "margin beside scores": ({"margin": 3, "chosen_score": 5, "rejected_score": 1}, (5.0, 1.0, None)),
    "null": ({"chosen_score": None, "rejected_score": None}, (None, None, None)),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_and_margins(tmp_path: Path, name: str) -> None:
    columns, expected = SCORES[name]
    row = one(tmp_path, {**PREFERENCES["plain text"], **columns})
    assert isinstance(row, Preference)
    assert (row.chosen_score, row.rejected_score, row.policy_score) == expected


@pytest.mark.parametrize("value", [True, "high", [1], float("nan")])
def test_a_score_that_is_no_number_is_an_error(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UsageError, match=r"data.jsonl:1: chosen_score is .*; it must be a finite number"):
        one(tmp_path, {**PREFERENCES["plain text"], "chosen_score": value})


@pytest.mark.parametrize("gold", ["best", [{"role": "assistant", "content": "best"}],
                                  [USER, {"role": "assistant", "content": "best"}]])
def test_gold_answers(tmp_path: Path, gold: Any) -> None:
    row = one(tmp_path, {**PREFERENCES["plain text"], "reference": gold})
    assert isinstance(row, Preference)
    assert row.gold == chat("a:best")


CONVERSATIONS: dict[str, tuple[dict[str, Any], Messages]] = {
    "messages": ({"messages": [USER, REPLY]}, Q + GOOD),
    "prompt and completion": ({"prompt": "q", "completion": "good"}, Q + GOOD),
    "conversational completion": ({"prompt": [USER], "completion": [REPLY]}, Q + GOOD),
    "Alpaca": ({"instruction": "q", "input": "this", "output": "good"}, chat("u:q\n\nthis", "a:good")),
    "Alpaca without input": ({"instruction": "q", "input": "", "output": "good"}, Q + GOOD),
    "question and answer": ({"question": "q", "answer": "good", "system_prompt": "be"}, chat("s:be", "u:q", "a:good")),
    "ShareGPT": ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}]}, Q + GOOD),
    "Self-Taught": ({"id": "1", "src": "q", "tgt": "good"}, Q + GOOD),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_formats_of_supervised_data(tmp_path: Path, name: str) -> None:
    record, messages = CONVERSATIONS[name]
    assert one(tmp_path, record) == Demonstration(messages_id(messages), messages, "demonstration")


@pytest.mark.parametrize(("label", "desirable"), [(True, True), (False, False), (1, True), ("False", False)])
@pytest.mark.parametrize("conversational", [True, False])
def test_unpaired_data(tmp_path: Path, label: Any, desirable: bool, conversational: bool) -> None:
    prompt, completion = ([USER], [REPLY]) if conversational else ("q", "good")
    row = one(tmp_path, {"prompt": prompt, "completion": completion, "label": label})
    assert isinstance(row, Labelled)
    assert (row.prompt, row.completion, row.desirable) == (Q, GOOD, desirable)


def test_prompts_may_have_many_turns(tmp_path: Path) -> None:
    head = [{"role": "system", "content": "s"}, USER, REPLY, {"role": "user", "content": "more"}]
    row = one(tmp_path, {"chosen": [*head, REPLY], "rejected": [*head, OTHER]})
    assert isinstance(row, Preference)
    assert row.prompt == chat("s:s", "u:q", "a:good", "u:more")


def test_columns_may_be_named(tmp_path: Path) -> None:
    record = {"ask": "q", "better": "good", "worse": "bad"}
    columns = {"prompt": "ask", "chosen": "better", "rejected": "worse"}
    row = one(tmp_path, record, columns=columns)
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen, row.rejected) == (Q, GOOD, BAD)
    assert str(open_data(jsonl(tmp_path, record), columns=columns).format) == (
        "preference (prompt = ask, chosen = better, rejected = worse)"
    )
    with pytest.raises(UsageError, match="no column 'bettr': did you mean 'better'"):
        one(tmp_path, record, columns={"chosen": "bettr"})
    with pytest.raises(UsageError, match="no part 'choosen': did you mean 'chosen'"):
        one(tmp_path, record, columns={"choosen": "better"})


WRONG: dict[str, tuple[list[Any], str]] = {
    "no format": ([{"a": 1, "b": 2}], r"data.jsonl:1: no format has these columns: a, b\. Formats: .*--columns"),
    "not a record": ([["q"]], "data.jsonl:1: expected a record with columns, found a list"),
    "a later row lacks a column": (
        [PREFERENCES["plain text"], {"prompt": "q", "chosen": "x"}],
        "data.jsonl:2: no column 'rejected', which preference data needs; found: prompt, chosen",
    ),
    "a later row is no record": ([PREFERENCES["plain text"], 7], "data.jsonl:2: expected a record"),
    "no prompt": ([{"chosen": "x", "rejected": "y"}], "data.jsonl:1: chosen is text without turns .*column `prompt`"),
    "wrong type": ([{"prompt": "q", "chosen": 5, "rejected": "y"}], "data.jsonl:1: chosen is neither text nor a list"),
    "unknown role": ([{"messages": [{"role": "robot", "content": "x"}]}], r"messages\[0\] has the role 'robot'"),
    "tool call": (
        [{"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]}],
        r"data.jsonl:1: messages\[1\] calls or answers a tool",
    ),
    "tool answer": ([{"messages": [{"role": "tool", "content": "x"}]}], r"messages\[0\] calls or answers a tool"),
    "null content": ([{"messages": [{"role": "user", "content": None}]}], r"messages\[0\] has no content"),
    "image": (
        [{"messages": [{"role": "user", "content": [{"type": "image"}]}]}], r"messages\[0\] has content that is not",
    ),
    "bad label": ([{"prompt": "q", "completion": "x", "label": "good"}], "label is 'good'; it must be true"),
    "one side with its prompt": (
        [{"prompt": "q", "chosen": [USER, REPLY], "rejected": [OTHER]}], "one of chosen and rejected holds its prompt",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, case: str) -> None:
    records, message = WRONG[case]
    with pytest.raises(UsageError, match=message) as raised:
        list(read_rows(jsonl(tmp_path, *records)))
    assert "\n" not in str(raised.value)


DROPPED: dict[str, tuple[dict[str, Any], str]] = {
    "no shared prompt": ({"chosen": [USER, REPLY], "rejected": [{"role": "user", "content": "r"}, OTHER]},
                         "no-shared-prompt"),
    "ends with the user": ({"chosen": [USER, REPLY, USER], "rejected": [USER, OTHER]}, "no-answer"),
    "no turns": ({"chosen": [], "rejected": [USER, OTHER]}, "no-answer"),
}


@pytest.mark.parametrize("case", DROPPED)
def test_records_that_are_no_rows_are_drops_with_their_place(tmp_path: Path, case: str) -> None:
    record, reason = DROPPED[case]
    data = open_data(jsonl(tmp_path, PREFERENCES["implicit prompt"], record))
    assert len(list(data.rows)) == 1
    assert [(d.row_id, d.reason) for d in data.drops] == [(f"{tmp_path / 'data.jsonl'}:2", reason)]


def test_one_conversation_that_goes_on_is_split_at_the_last_reply_of_the_other(tmp_path: Path) -> None:
    row = one(tmp_path, {"chosen": [USER, REPLY], "rejected": [USER, REPLY, USER, OTHER]})
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen, row.rejected) == (Q, GOOD, chat("a:good", "u:q", "a:bad"))


# --- shards, steps, runs, saved datasets --------------------------------------------------------------


def step(run: Path, name: str, rows: list[Any], inputs: dict[str, str] | None = None) -> str:
    """A sealed step of a run; its digest."""
    identity = {"step": name}
    digest = fingerprint.digest(identity)
    folder = run / f"{name}@{digest[:8]}"
    folder.mkdir(parents=True)
    writer = StepWriter(folder, type(rows[0]), shard_rows=100)
    for row in rows:
        writer.add(row)
    out = writer.close()
    seal(folder, Manifest(name=name, use="x", identity=identity, digest=digest, inputs=inputs or {},
                          row_class=type(rows[0]).__name__, rows=len(rows), shards=out.shards, code_version="0"))
    return digest


PREFERENCE = Preference("p", Q, GOOD, BAD, "judgment", "wrong")
PAIR = Pair("x", Instruction("i", Q, "s"), "good", "bad", "clair", None, "m", "m", Contrast(0.1, 2, 1.0), "")


def rewritten(shard: Path, batch: pa.RecordBatch) -> None:
    with pa.OSFile(str(shard), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def test_a_step_a_run_and_a_shard_hold_the_same_rows(tmp_path: Path) -> None:
    step(tmp_path / "run", "export", [PREFERENCE])
    (folder,) = (tmp_path / "run").iterdir()
    for path in (tmp_path / "run", folder, folder / "part-00000.arrow"):
        assert list(read_rows(path)) == [PREFERENCE]
    assert str(open_data(tmp_path / "run").format) == "Preference rows of step export"


def test_unpaired_and_supervised_shards_are_read_as_they_are(tmp_path: Path) -> None:
    for row in (Labelled("l", Q, GOOD, True, "k"), Demonstration("d", Q + GOOD, "judgment")):
        step(tmp_path / row.id, "export", [row])
        assert list(read_rows(tmp_path / row.id)) == [row]


def test_pairs_become_preferences(tmp_path: Path) -> None:
    step(tmp_path, "clair", [PAIR])
    (row,) = read_rows(tmp_path)
    assert row == Preference("x", Q, GOOD, BAD, "pair", "clair", pair_id="x")


def test_a_run_is_read_at_the_step_it_ends_with(tmp_path: Path) -> None:
    """Filtered pairs stand for the pairs they were filtered from, and exported rows for all pairs."""
    first = step(tmp_path, "pairs", [PAIR, PAIR])
    second = step(tmp_path, "kept", [PAIR], {"pairs": first})
    assert open_data(tmp_path).format.name == "Pair rows of step kept"
    step(tmp_path, "export", [PREFERENCE], {"kept": second})
    assert open_data(tmp_path).format.name == "Preference rows of step export"


def test_a_run_with_several_last_steps_asks_for_one(tmp_path: Path) -> None:
    step(tmp_path, "sft", [Demonstration("d", Q + GOOD, "judgment")])
    step(tmp_path, "dpo", [PREFERENCE])
    with pytest.raises(UsageError, match=r"2 steps to train on; name one: .*dpo@.* \(1 Preference rows\), .*sft@"):
        open_data(tmp_path)


def test_a_shard_of_another_class_says_what_it_holds(tmp_path: Path) -> None:
    step(tmp_path, "grpo", [Rollout("r", Q, "A", "p", "chosen_first")])
    (folder,) = tmp_path.iterdir()
    for path in (folder, folder / "part-00000.arrow"):
        with pytest.raises(UsageError, match=r"grpo@.*: holds Rollout rows; train reads Demonstration"):
            open_data(path)
    with pytest.raises(UsageError, match=r"no step to train on \(its steps hold: Rollout\)"):
        open_data(tmp_path)


def test_a_shard_of_another_version_says_what_is_missing(tmp_path: Path) -> None:
    step(tmp_path, "export", [PREFERENCE])
    (shard,) = tmp_path.glob("*/*.arrow")
    with pa.memory_map(str(shard)) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
    names = [name for name in schema_of(Preference).names if name != "gold"]
    rewritten(shard, batch.select(names).replace_schema_metadata(batch.schema.metadata))
    for path in (shard, shard.parent):
        with pytest.raises(UsageError, match=r"not the Preference rows that train reads: it lacks gold; run"):
            open_data(path)


def test_a_folder_that_holds_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no finished step and no saved dataset"):
        open_data(tmp_path)


def test_the_arrow_files_of_others_are_records(tmp_path: Path) -> None:
    rewritten(tmp_path / "x.arrow", pa.RecordBatch.from_pylist([PREFERENCES["plain text"]]))
    (row,) = read_rows(tmp_path / "x.arrow")
    assert isinstance(row, Preference)
    assert (row.prompt, row.chosen) == (Q, GOOD)


def test_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    plain = datasets.Dataset.from_list([PREFERENCES["implicit prompt"]])
    plain.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": plain, "test": plain}).save_to_disk(str(tmp_path / "splits"))
    for path, split in (("one", "train"), ("splits", "train"), ("splits", "test")):
        (row,) = read_rows(tmp_path / path, split=split)
        assert isinstance(row, Preference)
        assert (row.prompt, row.chosen, row.rejected) == (Q, GOOD, BAD)
    with pytest.raises(UsageError, match="no split 'tset': did you mean 'test'"):
        open_data(tmp_path / "splits", split="tset")


# --- real public data ---------------------------------------------------------------------------------


def test_real_hh_transcripts_are_read_back_from_their_turns(real_data: Path) -> None:
    """2,312 rows; every row's turns, written as a transcript again, are the file's own text."""
    path = real_data / "hh_rlhf" / "harmless_base_test.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        texts = [json.loads(line) for line in lines]
    data = open_data(path)
    rows = list(data.rows)
    assert len(rows) + len(data.drops) == len(texts) == 2312
    assert Counter(d.reason for d in data.drops).total() < 30
    written = {(transcript(r.prompt + r.chosen), transcript(r.prompt + r.rejected)) for r in rows
               if isinstance(r, Preference)}
    given = {(squash(t["chosen"]), squash(t["rejected"])) for t in texts}
    assert written <= given
    assert all(isinstance(r, Preference) and r.chosen[0].role == "assistant" for r in rows)


def transcript(messages: Messages) -> str:
    names = {"user": "Human", "assistant": "Assistant"}
    return squash("".join(f"\n\n{names[m.role]}: {m.content}" for m in messages))


def squash(text: str) -> str:
    return "".join(text.split())


REAL = {
    "prometheus_eval/hhh_pairs.jsonl": (Preference, 221),
    "rewardbench_partial/filtered_llmbar_hep.jsonl": (Preference, 1),
    "alpaca_eval/outputs/alpaca-7b.json": (Demonstration, 805),
    "gsm8k/train.jsonl": (Demonstration, 7473),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(real_data: Path, name: str) -> None:
    cls, least = REAL[name]
    data = open_data(real_data / name)
    rows = list(data.rows)
    assert len(rows) >= least
    assert not data.drops
    assert all(isinstance(row, cls) for row in rows)


def test_real_files_of_other_shapes_are_refused(real_data: Path) -> None:
    for name in ("llmbar/natural.json", "mt_bench/question.jsonl", "prometheus_eval/hhh_alignment_eval.json"):
        with pytest.raises(UsageError, match="no format has these columns"):
            open_data(real_data / name)


# --- anything at all ----------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\n\nHuman: q")
TURN = st.dictionaries(st.sampled_from(["role", "content", "from", "value", "tool_calls"]),
                       SCALARS | st.sampled_from(["user", "assistant", "human", "gpt", "tool"]))
VALUES = SCALARS | st.lists(TURN | SCALARS, max_size=3) | TURN
COLUMNS = sorted({name for names in ALIASES.values() for name in names})


@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=5) | VALUES, max_size=3))
def test_any_records_are_rows_drops_or_one_line(records: list[Any]) -> None:
    """Whatever stands in the columns, the outcome is a training row, a drop, or a UsageError of one line."""
    numbered = (Record(f"x[{i}]", record) for i, record in enumerate(records))
    refused = ""
    try:
        data = _records("x", None, numbered, None)
        rows = list(data.rows)
    except UsageError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        return
    assert len(rows) + len(data.drops) == len(records)
    assert all(isinstance(row, Preference | Labelled | Demonstration) for row in rows)


def test_answers_within_a_prompt_are_not_learnt_beside_the_completion(tmp_path: Path) -> None:
    """`prompt` and `completion`: the completion alone, as in TRL; `messages` learns every assistant turn."""
    prompt = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    record = {"prompt": prompt, "completion": [{"role": "assistant", "content": "d"}]}
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps(record) + "\n")
    (row,) = read_rows(str(path))
    assert isinstance(row, Labelled)
    assert ([m.content for m in row.prompt], [m.content for m in row.completion]) == (["a", "b", "c"], ["d"])
    assert row.desirable
