"""Input files: every format, and every way a file can be wrong, in one clear line."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairgen.errors import UsageError
from pairgen.sources import is_hub_name, read_records, source_identity, source_name

ROWS = [{"prompt": 'Why, "now"?\nSay.'}, {"prompt": "Häagen 😀"}, {"prompt": ""}]


def values(path: Path) -> list[Any]:
    return [r.value for r in read_records(str(path))]


def error_of(path: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        list(read_records(str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def write_rows(path: Path) -> Path:
    """The rows in the format the path's ending names."""
    table = pa.Table.from_pylist(ROWS)
    lines = "".join(json.dumps(r) + "\n" for r in ROWS)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    elif path.suffix in {".csv", ".tsv"}:
        quoted = ['"' + r["prompt"].replace('"', '""') + '"' for r in ROWS]
        separator = "," if path.suffix == ".csv" else "\t"
        write(path, "".join(f"{a}{separator}{b}\n" for a, b in zip(["prompt", *quoted], "ixyz", strict=True)))
    elif path.suffix == ".json":
        write(path, json.dumps(ROWS))
    else:
        data = lines.encode()
        write(path, gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "a.jsonl",
        "a.ndjson",
        "a.JSONL",
        "a.v2.jsonl",
        "a.jsonl.gz",
        "a.json",
        "a.csv",
        "a.tsv",
        "a.parquet",
        "a.arrow",
    ],
)
def test_every_format_gives_the_same_records(tmp_path: Path, name: str) -> None:
    """The same rows are read from every format, quotes, line breaks and emoji included."""
    read = values(write_rows(tmp_path / name))
    assert [r["prompt"] for r in read] == [r["prompt"] for r in ROWS]


def test_arrow_streams_are_read_too(tmp_path: Path) -> None:
    """An .arrow file as `datasets` writes it (a stream) is read like a file."""
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert values(tmp_path / "a.arrow") == ROWS


def test_byte_order_mark_crlf_and_blank_lines(tmp_path: Path) -> None:
    """What Windows editors leave in a file changes no record, and lines are counted as the editor counts."""
    file = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"p": 1}\r\n\r\n{"p": 2}')
    assert [(r.where, r.value) for r in read_records(str(file))] == [
        (f"{file}:1", {"p": 1}),
        (f"{file}:3", {"p": 2}),
    ]
    table = write(tmp_path / "a.csv", b"\xef\xbb\xbfp,q\r\n1,2\r\n\r\n3,4\r\n")
    assert values(table) == [{"p": "1", "q": "2"}, {"p": "3", "q": "4"}]
    assert values(write(tmp_path / "a.json", b"\xef\xbb\xbf[1]")) == [1]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b'{"p": 1}\n{"p": \n', ":2: not JSON"),
        ("a.jsonl", b'{"p": 1}\n{"p": "\xff"}\n', ":2: not UTF-8 at byte 7 of the line"),
        ("a.jsonl", b'{"p": "\x00"}\n', ":1: not JSON"),
        ("a.jsonl", '{"p": 1}\n'.encode("utf-16"), ":1: not UTF-8 at byte 0"),
        ("a.jsonl", b"[" * 100_000, ":1: not JSON we can read (nested too deeply)"),
        ("a.jsonl", b'{"p": ' + b"9" * 5000 + b"}", ":1: not JSON we can read"),
        ("a.jsonl.gz", b"this is not gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"p": 1}\n' * 999)[:-20], "cannot be read"),
        ("a.json", b'[1,\n2,\n"\xff"]', ":3: not UTF-8 at byte 1 of the line"),
        ("a.json", b"[1,\n2\n3]", ":3: not JSON"),
        ("a.json", b'{"p": 1}\n{"p": 2}\n', "name the file .jsonl"),
        ("a.json", b'{"p": 1}', "holds a list of records"),
        ("a.csv", b"p,q\n1,2\n3\n", ":3: a row with another number of cells"),
        ("a.csv", b"p,q\n1,2,3\n", ":2: a row with another number of cells"),
        ("a.csv", b'p,q\n"1,2\n', ": not CSV"),
        ("a.csv", b"p,p\n1,2\n", "two columns of one name"),
        ("a.csv", b"p\n\xff\n", ":2: not UTF-8 at byte 0"),
        ("a.parquet", b"PAR1 rubbish PAR1", "not a readable Parquet file"),
        ("a.parquet", b"x", "not a readable Parquet file"),
        ("a.arrow", b"ARROW1 rubbish", "not a readable Arrow file"),
        ("a.txt", b"x", "unknown kind of file '.txt'"),
        ("a", b"x", "unknown kind of file '(no suffix)'"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    """A damaged or misnamed file is one line that names the file, and the line where there is one."""
    message = error_of(write(tmp_path / name, data))
    assert says in message
    assert name in message


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_cut_and_flipped_tables(tmp_path: Path, name: str) -> None:
    """A table cut at any place, or with bytes flipped, is refused or read, but never crashes the process."""
    whole = write_rows(tmp_path / name).read_bytes()
    for cut in range(1, len(whole), max(1, len(whole) // 40)):
        assert "not a readable" in error_of(write(tmp_path / name, whole[:cut]))
    for at in range(0, len(whole), max(1, len(whole) // 200)):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        try:
            values(write(tmp_path / name, bytes(flipped)))
        except UsageError as error:
            assert name in str(error)  # noqa: PT017 (most flips are refused, some are only other text)


@pytest.mark.parametrize(
    "path", ["nowhere.jsonl", "no/where.jsonl", "x" * 5000, "./owner/name", "a\0b.jsonl", ""]
)
def test_missing_files(path: str) -> None:
    """A path with nothing there is one line that says what would do, whichever command was given it."""
    assert "data.path" not in error_of(path)
    assert "no such file" in error_of(path) or "is a folder" in error_of(path)


def test_a_folder(tmp_path: Path) -> None:
    """A folder is refused: one file is read, and it is named when there is one."""
    assert "is a folder; there is nothing in it" in error_of(tmp_path)
    write(tmp_path / "config.json", "{}")
    assert "is a folder; name one file" in error_of(tmp_path)
    write_rows(tmp_path / "a.jsonl")
    assert f"is a folder; name the file: {tmp_path / 'a.jsonl'}" in error_of(tmp_path)
    write_rows(tmp_path / "train.jsonl.gz")
    assert f"name the file: {tmp_path / 'train.jsonl.gz'} (or another of its 2 files)" in error_of(tmp_path)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_character_at_which_a_line_breaks_off(tmp_path: Path, end: bytes) -> None:
    """It is counted in its own line: `{"p": ` has six, so the value is missed at the seventh."""
    message = error_of(write(tmp_path / "a.jsonl", b'{"p": 1}\n{"p": ' + end))
    assert message.endswith("a.jsonl:2: not JSON (Expecting value at character 7)")
    message = error_of(write(tmp_path / "b.jsonl", b'{"p": "so' + end))
    assert message.endswith("b.jsonl:1: not JSON (Unterminated string starting at character 7)")


def test_a_long_line_and_a_long_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line over the limit is refused before it is read whole; one JSON list may be longer than a line."""
    monkeypatch.setattr("pairgen.sources.MAX_LINE", 1000)
    assert ":2: a line of more than 1,000 bytes" in error_of(
        write(tmp_path / "a.jsonl", b'{"p": 1}\n' + b'"' + b"x" * 2000 + b'"\n')
    )
    assert values(write(tmp_path / "a.json", json.dumps(["x" * 600] * 3))) == ["x" * 600] * 3


def test_a_ten_megabyte_instruction_is_read(tmp_path: Path) -> None:
    """A 10 MB text is a record like another, in every text format; load decides what is too long."""
    text = "word " * 2_000_000
    assert values(write(tmp_path / "a.jsonl", json.dumps({"p": text})))[0]["p"] == text
    assert values(write(tmp_path / "a.csv", f"p,q\n{text},1\n"))[0]["p"] == text


@pytest.mark.parametrize(
    ("path", "hub"),
    [
        ("openai/gsm8k", True),
        ("lmsys/chat-v1.0", True),
        ("data/a.jsonl", False),
        ("data/a.csv.gz", False),
        ("/abs/name", False),
        ("./a", False),
        ("~/a", False),
        ("a", False),
        ("a/b/c", False),
    ],
)
def test_hub_names(path: str, hub: bool) -> None:
    """`owner/name` is a hub name unless it is a path here or ends like a file."""
    assert is_hub_name(path) is hub


def test_an_existing_path_is_never_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the same name as a dataset wins, and is refused as a folder."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name("owner/name")


def test_the_hub_is_read_and_its_failures_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hub rows come numbered; a dataset that cannot be read is one line."""
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *a, **k: None)
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: iter(ROWS))
    assert [r.where for r in read_records("o/n")] == ["o/n[0]", "o/n[1]", "o/n[2]"]
    assert source_name("o/n") == "o/n"
    assert source_identity("o/n", "train", "abc") == {"hub": "o/n", "split": "train", "revision": "abc"}

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network\nsecond line")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    assert "cannot be read (no network)" in error_of("o/n")


def test_without_a_network_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is retried, and nothing but one line is said."""
    httpx = pytest.importorskip("httpx")
    asked: list[object] = []

    def refuse(*args: object, **kwargs: object) -> None:
        asked.append(args)
        raise httpx.ConnectError("no route\nsecond line")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: asked.append(a))
    assert error_of("o/n") == "o/n: no such file here, and the hub dataset cannot be read (no route)"
    assert len(asked) == 1


def test_identity_follows_name_and_bytes(tmp_path: Path) -> None:
    """Moving a file changes nothing; its content does, and so does its name, which rows carry and which
    says how to read it."""
    here = write(tmp_path / "a.jsonl", "[1]\n")
    (tmp_path / "b").mkdir()
    moved, renamed = write(tmp_path / "b" / "a.jsonl", "[1]\n"), write(tmp_path / "b.json", "[1]\n")
    edited = write(tmp_path / "c.jsonl", "[2]\n")
    one, *others = (source_identity(str(p), "train", None) for p in (here, moved, renamed, edited))
    assert one == others[0]
    assert one not in others[1:]


REAL = [
    ("instructions/koala_test_set.jsonl", 180),
    ("instructions/self_instruct_seed_tasks.jsonl", 175),
    ("mt_bench/question.jsonl", 80),
    ("prometheus_eval/hhh_pairs.jsonl", 200),
    ("prometheus_eval/vicuna_eval.json", 100),
    ("llmbar/natural.json", 100),
    ("alpaca_eval/lc_glm_weights.csv", 10),
    ("hh_rlhf/harmless_base_test.jsonl.gz", 2000),
    ("gsm8k/train.jsonl", 7000),
]


@pytest.mark.parametrize(("name", "least"), REAL)
def test_real_files(real_data: Path, name: str, least: int) -> None:
    """Public datasets as they were downloaded are read whole."""
    read = values(real_data / name)
    assert len(read) >= least
    assert all(isinstance(v, dict) for v in read)
    assert not any(isinstance(x, float) and math.isnan(x) for v in read[:50] for x in v.values())
