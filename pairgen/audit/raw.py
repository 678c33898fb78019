"""Rows as they stand in a file, whatever is wrong with some of them: a record, or the reason there is none.

Training stops at the first malformed row; an audit is there to count them. Damage to a file costs the rows
it hit: what stands before it, and after it where rows can be found again, is read.
"""

import csv
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairgen import sources
from pairgen.audit.places import Place
from pairgen.errors import UsageError

DAMAGE = (EOFError, zlib.error, OSError, pa.ArrowException)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Raw:
    """One row: its number from 1 (the line in JSONL), its record or the reason it has none.

    `line` is the line as it stood, where rows are lines. `lost` counts the rows that one piece of damage cost.
    """

    row: int
    record: dict[str, Any] | None
    reason: str = ""
    detail: str = ""
    line: bytes = b""
    lost: int = 1


def text_rows(place: Place) -> Iterator[Raw]:
    """All rows of a text file, streamed. Raises UsageError when it is not of its kind at all."""
    file = place.files[0]
    if place.kind == "json":
        return _json(file)
    return _until_cut(_lines(file) if place.kind == "lines" else _cells(file))


def hub_rows(place: Place) -> Iterator[Raw]:
    """All rows of a hub dataset, streamed. What ends it early is a bad row; what hinders its start is UsageError."""
    row = 0
    try:
        for row, record in enumerate(sources.read_records(place.path, place.split, place.revision), 1):
            yield record_of(row, record.value)
    except UsageError as error:
        if not row:
            raise
        yield Raw(row + 1, None, "cut file", str(error))


def _until_cut(rows: Iterator[Raw]) -> Iterator[Raw]:
    """The rows up to where the file breaks off, which is one bad row."""
    last = 0
    try:
        for raw in rows:
            last = raw.row
            yield raw
    except DAMAGE as error:
        yield Raw(last + 1, None, "cut file", f"nothing can be read after row {last:,}: {sources.one_line(error)}")


# --- lines --------------------------------------------------------------------------------------------


def _lines(file: Path) -> Iterator[Raw]:
    with sources.unpacking(file) as stream:
        for row in count(1):
            line = stream.readline(sources.MAX_LINE + 1)
            if not line:
                return
            if len(line) > sources.MAX_LINE:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(sources.MAX_LINE)
                yield Raw(row, None, "line too long", f"more than {sources.MAX_LINE:,} bytes")
            elif line.strip():
                yield parse_line(row, line)


def parse_line(row: int, line: bytes) -> Raw:
    """A line of JSONL as a row."""
    try:
        value = json.loads(line.decode("utf-8-sig" if row == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return Raw(row, None, "not UTF-8", f"byte {error.start + 1} of the line", line)
    except (ValueError, RecursionError) as error:
        return Raw(row, None, *_no_json(error), line)
    return record_of(row, value, line)


def record_of(row: int, value: Any, line: bytes = b"") -> Raw:
    """A value as a row: a record, or a bad row for anything else."""
    if isinstance(value, dict):
        return Raw(row, value, line=line)
    return Raw(row, None, "no record", f"found {kind_of(value)}", line)


def _no_json(error: Exception) -> tuple[str, str]:
    """Reason and detail of what the JSON reader says."""
    if isinstance(error, RecursionError):
        return "nested too deep", ""
    if isinstance(error, json.JSONDecodeError):
        return "not JSON", f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "not JSON", sources.one_line(error)  # a number of thousands of digits


def kind_of(value: object) -> str:
    """What a value is, for a message."""
    names = {str: "text", list: "a list", dict: "a record", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


# --- one JSON text ------------------------------------------------------------------------------------


def _json(file: Path) -> Iterator[Raw]:
    """The elements of a list, the records of a mapping of lists, or lines after all: many .json files are JSONL."""
    text = _text(file)
    start = _space(text, 0)
    if text[start : start + 1] == "[":
        return _elements(text, start + 1)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text[start : start + 1] == "{" and "\n" in text.strip():
            return _until_cut(_lines(file))
        reason, detail = _no_json(error)
        raise UsageError(f"{file}: {reason} ({detail})") from error
    return _of_mapping(file, value)


def _text(file: Path) -> str:
    """The whole text, or what a damaged archive still gives; bytes that are no UTF-8 become lone surrogates."""
    pieces: list[bytes] = []
    try:
        with sources.unpacking(file) as stream:
            while piece := stream.read1(1 << 20):
                pieces.append(piece)
    except DAMAGE as error:
        if not pieces:
            raise UsageError(f"{file}: cannot be read ({sources.one_line(error)})") from error
    return b"".join(pieces).decode("utf-8-sig", "surrogateescape")


def _of_mapping(file: Path, value: Any) -> Iterator[Raw]:
    """`{"length bias": [...], "concreteness": [...]}`, as a split or a category keeps its rows."""
    lists = list(value.values()) if isinstance(value, dict) else []
    if lists and all(isinstance(rows, list) for rows in lists):
        return (record_of(row, item) for row, item in enumerate((item for rows in lists for item in rows), 1))
    raise UsageError(f"{file}: a JSON file holds a list of records; for one a line name it .jsonl")


def _elements(text: str, at: int) -> Iterator[Raw]:
    """The elements of the list that begins at `at`; after a broken one, reading goes on where its brackets close."""
    decoder = json.JSONDecoder()
    for row in count(1):
        at = _space(text, at)
        if text[at : at + 1] == "]":
            return
        raw, end = _element(decoder, text, at, row)
        if end == len(text):
            if raw.record is not None:
                yield raw
            detail = f"the list is not closed: nothing can be read after character {at:,}"
            yield Raw(row + (raw.record is not None), None, "cut file", detail)
            return
        yield raw
        at = end + (text[end] == ",")


def _element(decoder: json.JSONDecoder, text: str, at: int, row: int) -> tuple[Raw, int]:
    """The element at `at`, and where the mark after it stands: a comma, the closing bracket or the text's end."""
    try:
        value, end = decoder.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        return Raw(row, None, *_no_json(error)), _resume(text, at)
    if not _whole(text[at:end]):
        return Raw(row, None, "not UTF-8", f"from character {at + 1:,} on"), _resume(text, end)
    after = _space(text, end)
    if after < len(text) and text[after] not in ",]":
        return Raw(row, None, "not JSON", f"no comma at character {after + 1:,}"), _resume(text, after)
    return record_of(row, value), after


def _space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _resume(text: str, at: int) -> int:
    """Where the element at `at` ends as far as its brackets tell: at the comma or bracket after it."""
    depth = 0
    for token in TOKEN.finditer(text, at):
        mark = token.group()
        if depth == 0 and mark in ",]":
            return token.start()
        depth += (mark in "[{") - (mark in "]}")
    return len(text)


def _whole(text: str) -> bool:
    """Whether the text was UTF-8: bytes that were none stand in it as lone surrogates."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


# --- cells --------------------------------------------------------------------------------------------


def _cells(file: Path) -> Iterator[Raw]:
    csv.field_size_limit(sources.MAX_LINE)
    with sources.unpacking(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        reader = csv.reader(text, delimiter="\t" if sources.kind_of(file) == ".tsv" else ",", strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise UsageError(f"{file}:1: not CSV ({error})") from error
        if len(set(header)) != len(header):
            raise UsageError(f"{file}:1: two columns of one name in the header: {', '.join(header)}")
        row = 0
        while True:
            try:
                found = next(reader, None)
            except csv.Error as error:
                row += 1
                yield Raw(row, None, "not CSV", f"line {reader.line_num:,}: {error}")
                continue
            if found is None:
                return
            if found:
                row += 1
                yield _row_of_cells(row, header, found)


def _row_of_cells(row: int, header: list[str], found: list[str]) -> Raw:
    if len(found) != len(header):
        return Raw(row, None, "number of cells", f"{len(found)} cells under {len(header)} names")
    if not all(map(_whole, found)):
        bad = [name for name, cell in zip(header, found, strict=True) if not _whole(cell)]
        return Raw(row, None, "not UTF-8", f"in {', '.join(bad)}")
    return Raw(row, dict(zip(header, found, strict=True)))
