"""The words of `--filter 'jaccard > 0.2 and len_ratio < 2'`: names of columns, numbers, comparisons and logic.

An expression is parsed as Python but never run as Python: every node is one of a few that are known, and each is
a numpy operation on whole columns. A comparison with a missing value (nan) is false, whichever way it points.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairgen.errors import UsageError, nearest

Array = NDArray[Any]
Holds = NDArray[np.bool_]
COMPARE: dict[type[ast.cmpop], Callable[[Array, Array], Array]] = {
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Eq: np.equal, ast.NotEq: np.not_equal,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
}
LANGUAGE = "a filter has names of columns, numbers, < <= > >= == !=, and or not, + - * /, abs() and parentheses"
ASSIGNED = re.compile(r"(?<![<>=!])=(?!=)")
DEEPEST = 50
"""Levels of parentheses and operators in one expression."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed filter. `parts` are the conditions joined by the outermost `and`, each as it was written."""

    text: str
    parts: tuple[tuple[str, ast.expr], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it reads, sorted."""
        return tuple(sorted({name for _, tree in self.parts for name in names_in(tree)}))

    def check(self, known: Iterable[str], option: str = "--filter") -> None:
        """Raise UsageError for the first name that is no column."""
        columns = sorted(known)
        for name in self.names:
            if name not in columns:
                hint, have = nearest(name, columns), f"; have: {', '.join(columns)}"
                hint = hint if hint.startswith("have") else hint + have
                raise UsageError(f"{option}: no column {name!r}: {hint}")

    def failed(self, columns: Mapping[str, Array], n: int) -> NDArray[np.int16]:
        """For each of `n` rows the index of the first part it fails, -1 where it holds: `[N]`."""
        found = np.full(n, -1, np.int16)
        for index in range(len(self.parts) - 1, -1, -1):
            found[~_truth(_value(self.parts[index][1], columns), n)] = index
        return found

    def holds(self, columns: Mapping[str, Array], n: int) -> Holds:
        """Which of `n` rows it is true of: `[N]`."""
        return np.asarray(self.failed(columns, n) < 0)


def parse(text: str, option: str = "--filter") -> Condition:
    """A filter as a condition. Raises UsageError that says what in it is not of the language."""
    source = " ".join(text.split())
    try:
        tree = ast.parse(source, mode="eval").body
        _check(tree, source, 0)
    except SyntaxError as error:
        hint = "; equal is ==" if ASSIGNED.search(source) else ""
        where = f"{source[:60]!r}: not understood at character {error.offset or 1}{hint}"
        raise UsageError(f"{option} {where}; {LANGUAGE}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{option} {text[:60]!r}: not understood; {LANGUAGE}") from error
    whole = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)
    parts = tree.values if isinstance(tree, ast.BoolOp) and whole else [tree]
    return Condition(source, tuple((ast.get_source_segment(source, part) or source, part) for part in parts))


def names_in(tree: ast.expr) -> set[str]:
    """The columns that an expression reads."""
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called}


def _check(node: ast.AST, source: str, depth: int) -> None:
    """Raise UsageError unless every node of a tree is of the language."""
    if depth > DEEPEST:
        raise UsageError(f"--filter: more than {DEEPEST} levels deep; {LANGUAGE}")
    if not _known(node):
        found = ast.get_source_segment(source, node) if isinstance(node, ast.expr) else type(node).__name__
        raise UsageError(f"--filter: {str(found)[:60]!r} is not of its language: {LANGUAGE}")
    if isinstance(node, ast.BinOp | ast.Compare):
        for side in (node.left, *([node.right] if isinstance(node, ast.BinOp) else node.comparators)):
            _check_number(side, source)
    elif isinstance(node, ast.Call) or (isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not)):
        _check_number(node.args[0] if isinstance(node, ast.Call) else node.operand, source)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) and not (isinstance(node, ast.Call) and child is node.func):
            _check(child, source, depth + 1)


def _known(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, bool) and isinstance(node.value, int | float) and abs(node.value) < 1e300
    if isinstance(node, ast.Call):
        plain = len(node.args) == 1 and not node.keywords
        return plain and isinstance(node.func, ast.Name) and node.func.id == "abs"
    if isinstance(node, ast.Compare):
        return all(type(op) in COMPARE for op in node.ops)
    if isinstance(node, ast.BinOp):
        return type(node.op) in ARITHMETIC
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not | ast.USub | ast.UAdd)
    return isinstance(node, ast.BoolOp | ast.Name)


def _check_number(node: ast.expr, source: str) -> None:
    """A true or false value is no number: `not same + 1` and `(a < b) * 2` are slips."""
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    if negated or isinstance(node, ast.BoolOp | ast.Compare):
        found = ast.get_source_segment(source, node)
        raise UsageError(f"--filter: {found!r} is true or false, and a number is needed there")


def _value(node: ast.expr, columns: Mapping[str, Array]) -> Array:
    """Numbers as float64, conditions as bool; `[N]`, or `[]` for what is the same everywhere."""
    if isinstance(node, ast.Constant):
        return np.asarray(node.value, np.float64)
    if isinstance(node, ast.Name):
        return np.asarray(columns[node.id], np.float64)
    if isinstance(node, ast.Call):
        return np.abs(_value(node.args[0], columns))
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, columns)
        return ~_true(value) if isinstance(node.op, ast.Not) else -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        with np.errstate(all="ignore"):
            return ARITHMETIC[type(node.op)](_value(node.left, columns), _value(node.right, columns))
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return reduce(join, (_true(_value(part, columns)) for part in node.values))
    assert isinstance(node, ast.Compare)
    return _compared(node, columns)


def _compared(node: ast.Compare, columns: Mapping[str, Array]) -> Array:
    """A chain of comparisons: each of them true, of values that are there."""
    values = [_value(side, columns) for side in (node.left, *node.comparators)]
    there = [~np.isnan(value) for value in values]
    steps = (COMPARE[type(op)](values[i], values[i + 1]) & there[i] & there[i + 1] for i, op in enumerate(node.ops))
    return reduce(operator.and_, steps)


def _true(value: Array) -> Holds:
    """A flag as a condition: true where it is there and not 0."""
    return value if value.dtype == bool else (value != 0) & ~np.isnan(value)


def _truth(value: Array, n: int) -> Holds:
    return np.broadcast_to(_true(value), (n,))
