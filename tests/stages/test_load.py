"""load: instructions from files, plain or chat."""

import json
from pathlib import Path
from typing import Any

import pytest

from pairgen.errors import UsageError
from pairgen.records import Drop, Instruction
from pairgen.stages.load import Load


def load(path: Path, *records: Any, **options: Any) -> list[Instruction | Drop]:
    """The rows made of records written as JSON lines (bytes are written as they are)."""
    file = path / "in.jsonl"
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    stage = Load.model_validate({"id": "data", "use": "load", "path": str(file), **options})
    return list(stage.run(iter(())))


def one(path: Path, record: Any, **options: Any) -> Instruction:
    (row,) = load(path, record, **options)
    assert isinstance(row, Instruction)
    return row


@pytest.mark.parametrize(
    "record",
    [
        "Why?",
        {"instruction": "Why?"},
        {"prompt": "Why?"},
        {"question": "Why?", "id": 1},
        {"messages": [{"role": "user", "content": "Why?"}]},
        [{"role": "user", "content": "Why?"}],
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    ],
)
def test_usual_shapes_give_one_instruction(tmp_path: Path, record: Any) -> None:
    """Plain text, the usual columns and both spellings of chat give the same instruction and id."""
    row = one(tmp_path, record)
    assert row.text == "Why?"
    assert row.id == one(tmp_path, "Why?").id
    assert row.source == "in.jsonl"


def test_a_conversation_is_kept_up_to_its_last_user_turn(tmp_path: Path) -> None:
    """System and earlier turns stay, the final answer goes."""
    roles = ["system", "user", "assistant", "user", "assistant"]
    row = one(tmp_path, {"messages": [{"role": r, "content": f"{i}"} for i, r in enumerate(roles)]})
    assert [(m.role, m.content) for m in row.messages] == [(r, str(i)) for i, r in enumerate(roles[:4])]
    assert row.text == "3"


def test_a_named_column(tmp_path: Path) -> None:
    """`column` wins over every guess."""
    assert one(tmp_path, {"instruction": "no", "ask": "yes"}, column="ask").text == "yes"


@pytest.mark.parametrize(
    ("record", "options", "says"),
    [
        ({"ask": "x"}, {}, "in.jsonl:1: which column holds the instruction? have: ask"),
        ({"prompt": "x"}, {"column": "promt"}, "no column 'promt'; have: prompt"),
        ({"prompt": None}, {}, "the instruction is null"),
        ({"prompt": 3}, {}, "the instruction is int"),
        ({"prompt": {"a": 1}}, {}, "the instruction is dict"),
        (7, {}, "the instruction is int"),
        ({"messages": []}, {}, "an empty list"),
        ({"messages": [{"role": "tool", "content": "x"}]}, {}, "found role 'tool'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, {}, "found role list"),
        ({"messages": [{"content": "x"}]}, {}, "found role None"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, {}, "content None"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, {}, "content list"),
        ({"messages": ["Why?"]}, {}, "found role None"),
        ({"messages": [{"role": "system", "content": "x"}]}, {}, "no user turn"),
        (b'{"prompt": "x"', {}, "in.jsonl:1: not JSON"),
    ],
)
def test_wrong_records(tmp_path: Path, record: Any, options: dict[str, Any], says: str) -> None:
    """A record that is no instruction stops the run in one line naming file and line: nothing is skipped."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, record, **options)
    assert says in str(caught.value)
    assert "in.jsonl:1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_that_leave_with_a_reason(tmp_path: Path) -> None:
    """Duplicates, blank texts and texts over the limit are drops that say where they stood."""
    rows = load(tmp_path, "Why?", "Why?", " \n", "x" * 10_000_000)
    assert isinstance(rows[0], Instruction)
    drops = [r for r in rows if isinstance(r, Drop)]
    assert [(d.reason, d.failed) for d in drops] == [
        ("duplicate", False),
        ("empty", True),
        ("too_long", True),
    ]
    assert "in.jsonl:4: 10,000,000 characters" in drops[2].detail
    assert drops[2].raw is None


def test_max_chars(tmp_path: Path) -> None:
    """`max_chars` sets the limit, over all turns."""
    assert isinstance(load(tmp_path, "12345", max_chars=4)[0], Drop)
    assert isinstance(load(tmp_path, "1234", max_chars=4)[0], Instruction)


def test_limit_reads_no_further(tmp_path: Path) -> None:
    """With `limit` the rows after it are not even parsed."""
    assert len(load(tmp_path, "a", "b", b"not json", limit=2)) == 2


def test_no_rows_at_all(tmp_path: Path) -> None:
    """A file with lines but no record is an error, not an empty run."""
    with pytest.raises(UsageError, match="holds no rows"):
        load(tmp_path, b"", b"  ")


def test_lone_surrogates_and_nul(tmp_path: Path) -> None:
    """A lone surrogate escape becomes U+FFFD before the id is made; a NUL is text like any other."""
    row = one(tmp_path, b'{"prompt": "a\\ud800b\\u0000"}')
    assert row.text == "a\ufffdb\0"
    assert row.id == one(tmp_path, "a\ufffdb\0").id
    assert one(tmp_path, b'"\\ud83d\\ude00"').text == "😀"


def test_order_changes_no_id(tmp_path: Path) -> None:
    """An id is a hash of content: reordering the file gives the same rows."""
    assert set(load(tmp_path, "a", "b", "c")) == set(load(tmp_path, "c", "a", "b"))


@pytest.mark.parametrize(
    ("name", "column", "least"),
    [
        ("instructions/koala_test_set.jsonl", None, 170),
        ("instructions/self_instruct_seed_tasks.jsonl", None, 170),
        ("gsm8k/test.jsonl", None, 1300),
        ("llmbar/natural.json", "input", 95),
        ("hh_rlhf/harmless_base_test.jsonl.gz", "chosen", 2000),
    ],
)
def test_real_data(real_data: Path, name: str, column: str | None, least: int) -> None:
    """Real public instruction files load with at most their column named."""
    stage = Load.model_validate(
        {"id": "data", "use": "load", "path": str(real_data / name), "column": column}
    )
    rows = list(stage.run(iter(())))
    kept = [r for r in rows if isinstance(r, Instruction)]
    assert len(kept) >= least
    assert {r.reason for r in rows if isinstance(r, Drop)} <= {"duplicate"}


def test_questions_of_several_turns_say_what_is_wrong(real_data: Path) -> None:
    """MT-Bench keeps bare strings in `turns`: that is no conversation, and the line says so."""
    path = real_data / "mt_bench" / "question.jsonl"
    stage = Load.model_validate({"id": "data", "use": "load", "path": str(path)})
    with pytest.raises(UsageError, match=r"which column holds the instruction.*turns"):
        list(stage.run(iter(())))
    stage = stage.model_copy(update={"column": "turns"})
    with pytest.raises(UsageError, match="a message needs a role"):
        list(stage.run(iter(())))
