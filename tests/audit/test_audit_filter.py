"""The filter's language against Python's own arithmetic; kept rows are written as they stood, drops with reasons."""

import ast
import csv
import gzip
import json
import math
import operator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_sample import AUDIT
from hypothesis import given, settings
from hypothesis import strategies as st

from pairgen.audit.filter import parse
from pairgen.audit.gate import parse_gate
from pairgen.audit.read import Source, open_joined, open_source
from pairgen.audit.stats import rate
from pairgen.audit.write import Written, write_filtered
from pairgen.errors import UsageError

NAMES = ("jaccard", "len_ratio", "same")
VALUES = st.sampled_from((math.nan, -1.0, 0.0, 0.25, 0.5, 1.0, 2.0, 1e9))
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
           "!=": operator.ne}


def terms() -> st.SearchStrategy[str]:
    """Numbers: names, literals and arithmetic over them."""
    atoms = st.sampled_from((*NAMES, "0.25", "2", ".5", "1e3"))
    return st.recursive(atoms, lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"abs({t})"), inner.map(lambda t: f"-{t}"),
    ), max_leaves=4)


def conditions() -> st.SearchStrategy[str]:
    """Truths: comparisons, chains of them, flags, and logic over them."""
    signs = st.sampled_from(sorted(COMPARE))
    simple = st.tuples(terms(), signs, terms()).map(" ".join)
    chain = st.tuples(terms(), signs, terms(), signs, terms()).map(" ".join)
    return st.recursive(simple | chain | st.sampled_from(NAMES), lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("and", "or")), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map(lambda t: f"not ({t})"),
    ), max_leaves=5)


def number(tree: ast.expr, row: dict[str, float]) -> float:
    """The value of a term, computed one row at a time with Python's floats."""
    if isinstance(tree, ast.Constant):
        return float(tree.value)
    if isinstance(tree, ast.Name):
        return row[tree.id]
    if isinstance(tree, ast.Call):
        return abs(number(tree.args[0], row))
    if isinstance(tree, ast.UnaryOp):
        return -number(tree.operand, row)
    assert isinstance(tree, ast.BinOp)
    left, right = number(tree.left, row), number(tree.right, row)
    if isinstance(tree.op, ast.Div):
        return float(np.float64(left) / np.float64(right)) if right else quotient(left, right)
    ops: dict[type[ast.operator], Any] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
    return float(ops[type(tree.op)](left, right))


def quotient(left: float, zero: float) -> float:
    """IEEE 754: nothing by nothing is no number, anything else is infinite with the sign of both."""
    return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, zero)


def truth(tree: ast.expr, row: dict[str, float]) -> bool:
    """The definition: a comparison with nan is false, a flag is true where it is there and not 0."""
    if isinstance(tree, ast.BoolOp):
        parts = [truth(part, row) for part in tree.values]
        return all(parts) if isinstance(tree.op, ast.And) else any(parts)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return not truth(tree.operand, row)
    if isinstance(tree, ast.Compare):
        values = [number(side, row) for side in (tree.left, *tree.comparators)]
        signs = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
        return all(not math.isnan(a + b if math.isfinite(a) and math.isfinite(b) else (a if math.isnan(a) else b))
                   and COMPARE[signs[type(op)]](a, b)
                   for a, op, b in zip(values, tree.ops, values[1:], strict=False))
    value = number(tree, row)
    return value != 0 and not math.isnan(value)


@given(conditions(), st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=8))
@settings(max_examples=300)
def test_columns_say_what_python_says_row_by_row(text: str, rows: list[tuple[float, float, float]]) -> None:
    """Every expression of the language gives each row what its definition gives."""
    condition, tree = parse(text), ast.parse(text, mode="eval").body
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(NAMES)}
    expected = [truth(tree, dict(zip(NAMES, row, strict=True))) for row in rows]
    assert condition.holds(columns, len(rows)).tolist() == expected


def test_what_is_missing_compares_false_whichever_way() -> None:
    """nan is neither below nor above nor unequal to anything; `not` of such a comparison is true."""
    columns = {"score_margin": np.array([math.nan, 1.0])}
    for text, first in (("score_margin > 0", False), ("score_margin <= 0", False), ("score_margin != 0", False),
                        ("not score_margin > 0", True)):
        assert parse(text).holds(columns, 2)[0] == first


def test_the_condition_that_failed_is_the_first_of_the_outermost_and() -> None:
    """`a and b and c` names the part that fails, as it was written; an `or` is one condition."""
    condition = parse("jaccard >  0.2 and len_ratio<2 and (same == 0 or jaccard > .9)")
    assert [text for text, _ in condition.parts] == ["jaccard > 0.2", "len_ratio<2", "same == 0 or jaccard > .9"]
    columns = {"jaccard": np.array([.1, .5, .5, .5]), "len_ratio": np.array([3, 3, 1, 1.])}
    columns["same"] = np.array([1.0, 1, 1, 0])
    assert condition.failed(columns, 4).tolist() == [0, 1, 2, -1]
    assert condition.names == ("jaccard", "len_ratio", "same")


REFUSED = (
    "", " ", "jaccard >", "jaccard = 0.2", "jaccard > 0.2 && same", "__import__('os').system('true')",
    "jaccard.real > 1", "jaccard[0] > 1", "[x for x in jaccard]", "(lambda: 1)()", "jaccard ** 9 > 1",
    "jaccard // 2 > 1",
    "jaccard % 2 > 0",
    "'a' < 'b'", "jaccard is 1", "jaccard in (1, 2)", "True", "None", "1j < 2", "abs(1, 2) > 0", "abs(x=1) > 0",
    "max(jaccard, 1) > 0", "(jaccard < 1) + 1", "-(same and same) < 1", "abs(not same) < 1", "f'{same}'",
    "a if b else c",
    "(y := 2) > 1", "same; same", "jaccard > 1e999", "9" * 5000 + " > 1", "(" * 300 + "1" + ")" * 300, "-" * 5000 + "1",
    "jaccard > 0\0", "...", "b'x' < 1", "*same", "same, same",
)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:24])
def test_what_is_not_of_the_language_is_one_line(text: str) -> None:
    """Nothing but names, numbers, comparisons, logic and arithmetic is read, and nothing is run."""
    with pytest.raises(UsageError, match=r"--filter") as error:
        parse(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@given(st.text(st.sampled_from("abjc_ .0123456789()<>=!+-*/andornot,'\"[]{}\n\\é"), max_size=40))
@settings(max_examples=300)
def test_any_text_is_a_condition_or_one_line(text: str) -> None:
    """No text makes the parser itself fail, and what is parsed can be evaluated."""
    try:
        condition = parse(text)
    except UsageError:
        return
    columns = {name: np.array([0.5, math.nan]) for name in condition.names}
    assert condition.holds(columns, 2).shape == (2,)


def test_unknown_names_have_the_nearest_and_the_list() -> None:
    with pytest.raises(UsageError, match=r"no column 'jacard': did you mean 'jaccard'\?; have: jaccard, same"):
        parse("jacard > 0.2").check(["same", "jaccard"])


def test_an_equal_sign_is_two() -> None:
    with pytest.raises(UsageError, match="equal is =="):
        parse("same = 0")


# --- what is written ----------------------------------------------------------------------------------


def lengths(source: Source) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of an audit, in small: characters of the chosen side."""
    return {"chosen_chars": np.array([len(c) for chunk in source.chunks() for c in chunk.chosen], np.float64)}


def filtered(source: Source, text: str, out: Path) -> Written:
    return write_filtered(source, lengths(source), parse(text), out)


def drops(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "drops.jsonl").read_text().splitlines()]


LINES = [
    '{"prompt": "p",  "chosen": "long enough", "rejected": "r", "meta": {"b": [1, 2.50]}, "id": 7}',
    '{"prompt": "p", "chosen": "c", "rejected": "r", "id": 8}',
    "oops",
    '{"id": 9, "rejected": "\\u00e9", "chosen": "long \\u00e9nough", "prompt": "é"}',
    '{"prompt": "p", "chosen": null, "rejected": "r"}',
]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_kept_lines_are_the_bytes_that_stood_there(tmp_path: Path, ending: str) -> None:
    """JSONL is copied line by line: order of columns, spaces and escapes stay. Drops say row, reason and numbers."""
    path = tmp_path / f"x{ending}"
    text = "\r\n".join(LINES).encode()
    path.write_bytes(gzip.compress(text) if ending.endswith("gz") else b"\xef\xbb\xbf" + text)
    written = filtered(open_source(str(path)), "chosen_chars > 3", tmp_path / "out")
    kept = (tmp_path / "out" / "kept.jsonl").read_bytes()
    assert kept == f"{LINES[0]}\n{LINES[3]}\n".encode()
    assert drops(tmp_path / "out") == [
        {"row": 2, "reason": "chosen_chars > 3", "values": {"chosen_chars": 1.0}, "failed": False},
        {"row": 3, "reason": "not JSON", "detail": "Expecting value at character 1", "failed": True},
        {"row": 5, "reason": "null", "detail": "chosen is null", "failed": True},
    ]
    assert (written.pairs, written.kept, written.failed, written.bad) == (
        3, 2, {"chosen_chars > 3": 1}, {"not JSON": 1, "null": 1})
    assert str(written).startswith("kept 2 of 3 pairs (66.7%)")


def test_parquet_stays_parquet_with_every_column_as_it_was(tmp_path: Path) -> None:
    """Schema, metadata and values of other columns survive, over row groups and batches."""
    schema = pa.schema([("prompt", pa.string()), ("chosen", pa.large_string()), ("rejected", pa.string()),
                        ("when", pa.timestamp("us")), ("tags", pa.list_(pa.string())), ("n", pa.int8())])
    rows = [{"prompt": "p", "chosen": "c" * (i % 7), "rejected": "r", "when": i, "tags": [str(i)], "n": i % 100}
            for i in range(2600)]
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata({"mine": "kept"}))
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=700)
    filtered(open_source(str(tmp_path / "x.parquet")), "chosen_chars >= 4", tmp_path / "out")
    found = pq.read_table(tmp_path / "out" / "kept.parquet")
    expected = table.take([i for i in range(2600) if i % 7 >= 4])
    assert found.equals(expected)
    assert found.schema.metadata[b"mine"] == b"kept"
    assert [drop["row"] for drop in drops(tmp_path / "out")] == [i + 1 for i in range(2600) if i % 7 < 4]


def test_cells_json_lists_and_joins_are_written_too(tmp_path: Path) -> None:
    """CSV becomes Parquet of texts around its bad rows, a JSON list JSONL, a join its joined records."""
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "chosen", "rejected", "n"), ("p", "c", "r", 1), ("p", "c"),
                                    ("p", "long\nenough", "r", "007")])
    filtered(open_source(str(tmp_path / "x.csv")), "chosen_chars > 3", tmp_path / "a")
    assert pq.read_table(tmp_path / "a" / "kept.parquet").to_pylist() == [
        {"prompt": "p", "chosen": "long\nenough", "rejected": "r", "n": "007"}]
    both = {"instruction": "i", "output_1": "aaaa", "output_2": "b", "x": [None]}
    records = [{**both, "label": label} for label in (1, 2, 0)]
    (tmp_path / "x.json").write_text(json.dumps(records))
    filtered(open_source(str(tmp_path / "x.json")), "chosen_chars > 3", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "kept.jsonl").read_text()) == records[0]
    assert [(d["row"], d["reason"]) for d in drops(tmp_path / "b")] == [(2, "chosen_chars > 3"), (3, "tie")]
    for name, output in (("good", "aaaa"), ("bad", "b")):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"instruction": "i", "output": output}]))
    filtered(open_joined(str(tmp_path / "good.json"), str(tmp_path / "bad.json")), "chosen_chars > 3", tmp_path / "c")
    assert json.loads((tmp_path / "c" / "kept.jsonl").read_text()) == {"prompt": "i", "chosen": "aaaa", "rejected": "b"}


def test_both_halves_of_a_pair_are_kept(tmp_path: Path) -> None:
    """Of unpaired data the two rows of a kept pair stay, in the order of the source; what was alone is dropped."""
    rows = [("a", "bad", 0), ("b", "good!", 1), ("a", "good!", 1), ("b", "bad", 0), ("c", "alone", 1), ("d", "x", 1),
            ("d", "y", 0)]
    lines = [json.dumps({"prompt": p, "completion": c, "label": bool(y)}) for p, c, y in rows]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    filtered(open_source(str(tmp_path / "x.jsonl")), "chosen_chars > 3", tmp_path / "out")
    assert (tmp_path / "out" / "kept.jsonl").read_text().splitlines() == lines[:4]
    assert drops(tmp_path / "out") == [
        {"row": 7, "other_row": 6, "reason": "chosen_chars > 3", "values": {"chosen_chars": 1.0}, "failed": False},
        {"row": 5, "reason": "unpaired", "detail": "no answer to its prompt with the other label", "failed": False},
    ]


def test_the_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """What exists is not written over; a source that changed meanwhile leaves nothing behind."""
    path = tmp_path / "x.jsonl"
    path.write_text(LINES[0] + "\n" + LINES[1] + "\n")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    source = open_source(str(path))
    for taken in (tmp_path / "there", path):
        with pytest.raises(UsageError, match="exists already"):
            filtered(source, "chosen_chars > 3", taken)
    columns = lengths(source)
    path.write_text(LINES[0] + "\n")
    with pytest.raises(UsageError, match="changed while it was audited"):
        write_filtered(source, columns, parse("chosen_chars > 3"), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there", "x.jsonl"]


# --- gates --------------------------------------------------------------------------------------------


def test_a_number_without_a_value_passes_no_gate() -> None:
    """No verdict could be read: a check of the judge has not been passed."""
    nothing = replace(AUDIT.datasets[0], findings=(), model_rates=(rate("judge_agrees", "judge agrees", 0, 0),))
    (failed,) = parse_gate(["judge_agrees < 0.5"]).failures(nothing)
    assert failed == "judge_agrees < 0.5 (judge_agrees has no value)"


def test_gates_are_levels_and_conditions() -> None:
    """A level stands for itself and what is worse; a word that is neither is refused."""
    gate = parse_gate(["warn,duplicate_pair>0.01", "jaccard < 0.2 or unreadable > 0"])
    assert gate.level == "warn"
    conditions = [condition.text for condition in gate.conditions]
    assert conditions == ["duplicate_pair>0.01", "jaccard < 0.2 or unreadable > 0"]
    assert parse_gate([]).level is None
    with pytest.raises(UsageError, match=r"--fail-on terrible: a level \(bad, warn, note\)"):
        parse_gate(["terrible"])
    with pytest.raises(UsageError, match="--fail-on"):
        parse_gate(["jaccard=1"])
