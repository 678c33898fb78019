"""Two answers side by side and a verdict which is the better: by label, by index, or by several annotators.

Sets disagree about what 1 means. A label of 1 or 2 (A or B, the column's own name) names the better answer and
0 is a tie; a label of 0 and 1 alone is refused until its owner says which it is.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pairgen.audit.cells import Bad, cell
from pairgen.errors import UsageError

TWO = (
    ("output_1", "output_2"), ("response1", "response2"), ("response_1", "response_2"), ("response_a", "response_b"),
    ("answer1", "answer2"), ("answer_1", "answer_2"), ("answer_a", "answer_b"), ("completion_a", "completion_b"),
    ("conversation_a", "conversation_b"), ("response_A", "response_B"), ("human_ref_A", "human_ref_B"),
    ("response_0", "response_1"),
)
"""Names of two answers, the first found wins."""
ANNOTATORS = re.compile(r"annotator_?\d+$")
FIRST = frozenset({"1", "a", "first", "model_a", "[[a]]", "a>b", "a>>b", "true"})
SECOND = frozenset({"2", "b", "second", "model_b", "[[b]]", "b>a", "b>>a"})
TIE = frozenset({"0", "c", "tie", "both", "draw", "equal", "same", "tie (bothbad)", "[[c]]", "a=b", "1.5"})
ENOUGH = 10
"""Labels after which it would be odd never to have seen a 2."""


def better(record: Mapping[str, Any], parts: Mapping[str, str]) -> tuple[str, str]:
    """The columns of the better and the worse answer. Raises Bad for ties and labels that say nothing."""
    first, second = parts["first"], parts["second"]
    found = _votes(record, parts)
    if found == 0:
        raise Bad("tie", "the label prefers neither")
    return (first, second) if found == 1 else (second, first)


def _votes(record: Mapping[str, Any], parts: Mapping[str, str]) -> int:
    """1 or 2 for the better answer, 0 for a tie."""
    if "annotators" in parts:
        votes = [verdict(value, name, parts) for name, value in record.items() if ANNOTATORS.match(str(name))]
        if not votes:
            raise Bad("missing column", f"no {parts['annotators']} nor another annotator")
        best, count = Counter(votes).most_common(1)[0]
        return best if 2 * count > len(votes) else 0
    for part, meanings in (("index", {"0": 1, "1": 2}), ("first_wins", {"1": 1, "0": 2, "true": 1, "false": 2})):
        if part in parts:
            name = _name(cell(record, parts[part]))
            if name not in meanings:
                raise Bad("unknown label", f"{parts[part]} is {name[:40]!r}")
            return meanings[name]
    return verdict(cell(record, parts["label"]), parts["label"], parts)


def verdict(value: Any, column: str, parts: Mapping[str, str]) -> int:
    """What a label of 1, 2 or tie says. AlpacaEval's fractions between 1 and 2 lean to the nearer."""
    name = _name(value)
    if name in FIRST or name == parts["first"].lower():
        return 1
    if name in SECOND or name == parts["second"].lower():
        return 2
    if name in TIE:
        return 0
    if isinstance(value, float) and 1 < value < 2:
        return 1 if value < 1.5 else 2
    raise Bad("null" if value is None else "unknown label", f"{column} is {name[:40]!r}")


def _name(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower() if isinstance(value, str | int | float) else type(value).__name__


def rule_of(path: str, parts: Mapping[str, str], sample: Sequence[Mapping[str, Any]]) -> str:
    """What is taken for better, in words. Raises UsageError for labels that could mean either."""
    if "annotators" in parts:
        names = [name for name in sample[0] if ANNOTATORS.match(str(name))]
        return f"the majority of {len(names)} annotators names the better one, no majority is a tie; ties make no pair"
    if "index" in parts:
        return f"{parts['index']} 0 is {parts['first']}, 1 is {parts['second']}"
    if "first_wins" in parts:
        return f"{parts['first_wins']} 1 prefers {parts['first']}, 0 {parts['second']}"
    label = parts["label"]
    seen = Counter(_name(record[label]) for record in sample if record.get(label) is not None)
    if seen["0"] and seen["1"] and seen["0"] + seen["1"] == seen.total() >= ENOUGH:
        raise UsageError(f"{path}: {label} is 0 or 1 and never 2: --columns index={label} if it counts from 0, "
                         f"--columns first_wins={label} if 1 says that {parts['first']} won")
    return f"{label} 1 or A is {parts['first']}, 2 or B {parts['second']}; ties make no pair"
