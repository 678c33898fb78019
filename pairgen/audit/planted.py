"""Planted work for the drill: tasks whose better answer is known, and scripted models that play their part.

A better answer to task 7 says `right7`, a worse one `wrong7`, so that in whatever comes out of a pipeline one
look at the text tells which is which. The scripted judge reads the answers it is shown, in their slots.
"""

import json
from pathlib import Path
from typing import Any

from pairgen import fs

TASKS = 24
"""So many that a coin would have to fall the same way 24 times to hide a fault."""

Rules = list[dict[str, Any]]

KNOWS: Rules = [
    {"match": r"\{student_solution_1\}: [^\n]*right\d", "reply": "The first one is right: [1]"},
    {"match": r"\{student_solution_2\}: [^\n]*right\d", "reply": "The second one is right: [2]"},
    {"match": r"Start of Assistant A's Answer\]\n[^\n]*right\d", "reply": "A has it right. [[A]]"},
    {"match": r"Start of Assistant B's Answer\]\n[^\n]*right\d", "reply": "B has it right. [[B]]"},
]
"""A judge that always finds the better answer, in CLAIR's format and in MT-Bench's."""
WAVERS: Rules = [{"match": "Assistant A's Answer", "reply": ["It is this one. [[A]]", "It is that one. [[B]]"]}]
"""A judge that is right by chance, so that right and wrong judgments of one pair can be compared."""
ALWAYS_FIRST: Rules = [
    {"match": r"\{student_solution_1\}:", "reply": "[1]"}, {"match": "Assistant A's Answer", "reply": "[[A]]"},
]
TIES: Rules = [
    {"match": r"\{student_solution_1\}:", "reply": "Both [1] and [2]."},
    {"match": "Assistant A's Answer", "reply": "Equally good: [[C]]"},
]
MUTE: Rules = [
    {"match": r"\{student_solution_1\}:", "reply": "I like both."},
    {"match": "Assistant A's Answer", "reply": "Hard to say."},
]

_TASK = r"Task (?P<i>\d+):"
BOTH: Rules = [{"match": _TASK, "reply": ["The word is right{{i}}.", *2 * ["The word is wrong{{i}}."]]}]
"""A policy whose samples are better or worse, by their seed; of three, so that it is no matter of odd and even."""
BETTER: Rules = [{"match": _TASK, "reply": "The word is right{{i}}."}]
WORSE: Rules = [{"match": _TASK, "reply": "The word is wrong{{i}}."}]
SAME: Rules = [{"match": _TASK, "reply": "The word is something."}]

REVISES: Rules = [{
    "match": r"(?s)\{task\}: Task (?P<i>\d+):.*\{teacher_reasoning\}",
    "reply": "{teacher_reasoning}: another word fits.\n\n{corrected_student_solution}:\nThe word is right{{i}}.",
}]
ECHOES: Rules = [{
    "match": r"(?s)\{task\}: Task (?P<i>\d+):.*\{teacher_reasoning\}",
    "reply": "{teacher_reasoning}: it is fine.\n\n{corrected_student_solution}:\nThe word is wrong{{i}}.",
}]
TAGS: Rules = [{
    "match": "Category: <the category>", "reply": "Category: Mathematical reasoning\nComplexity: 3\nLength: (a)",
}]
SIMILAR: Rules = [{
    "match": r"(?s)Task (?P<i>\d+):.*\[User Question Modified\]",
    "reply": "[User Question Modified]\nTask 9{{i}}: another word?\n"
    "[The start of Assistant's answer to the modified instruction]\nThe word is wrong{{i}}.\n"
    "[The end of Assistant's answer to the modified instruction]",
}]


def scripted(*rules: Rules) -> dict[str, Any]:
    """An engine that follows these rules, the first that fits."""
    replies = [rule for group in rules for rule in group]
    return {"use": "scripted", "model": "drill", "replies": replies, "default": "I do not understand."}


def tasks(folder: Path) -> Path:
    """The planted tasks as a file."""
    return _write(folder / "tasks.jsonl", [{"instruction": _task(i)} for i in range(TASKS)])


def scored_tasks(folder: Path) -> Path:
    """Tasks with scored answers: the better one first, last and in the middle; ties and missing scores among them."""
    rows = [_scored(i, [[9, 2], [2, 9], [1, 9, 5]][i % 3]) for i in range(TASKS)]
    tie = {"instruction": _task(100), "completions": [_answer("right", 100, 5), _answer("wrong", 100, 5)]}
    none = {"instruction": _task(101), "completions": [_answer("right", 101, None), _answer("wrong", 101, 4)]}
    empty = {"instruction": _task(102), "completions": [{**_answer("right", 102, 9), "response": " "},
                                                        _answer("wrong", 102, 4)]}
    return _write(folder / "scored.jsonl", [*rows, tie, none, empty])


SPOILT = {"tie": 100, "no score": 101, "empty": 102}
"""The tasks of `scored_tasks` that no pair may be made of."""


def _scored(i: int, scores: list[int]) -> dict[str, Any]:
    best = max(scores)
    answers = [_answer("right" if score == best else "wrong", i, score) for score in scores]
    return {"instruction": _task(i), "completions": answers}


def _answer(word: str, i: int, score: int | None) -> dict[str, Any]:
    return {"response": f"The word is {word}{i}.", "model": word, "overall_score": score}


def _task(i: int) -> str:
    return f"Task {i}: which word fits?"


def planted_pairs(folder: Path) -> Path:
    """Pairs with one of each fault that an audit must see; rows are counted from 1."""
    good, bad = "The word is right1.", "The word is wrong1."
    rows = [
        {"prompt": "Task 1: which word fits?", "chosen": good, "rejected": bad},
        {"prompt": "Task 1: which word fits?", "chosen": bad, "rejected": good},  # 2 contradicts 1
        {"prompt": "Task 2: which word fits?", "chosen": good, "rejected": good},  # 3: equal sides
        {"prompt": "Task 3: which word fits?", "chosen": "", "rejected": bad},  # 4: no chosen
        {"prompt": "Task 4: which word fits?", "chosen": good, "rejected": " "},  # 5: no rejected
        {"prompt": "Task 5: which word fits?", "chosen": "The word is right5.", "rejected": "The word is wrong5."},
        {"prompt": "Task 5: which word fits?", "chosen": "The word is right5.", "rejected": "The word is wrong5."},
    ]
    return _write(folder / "planted.jsonl", rows)


FAULTS = {"contradiction": {1, 2}, "same": {3}, "empty_chosen": {4}, "empty_rejected": {5}, "duplicate_pair": {7}}
"""The rows of `planted_pairs` that each measure must name; of a pair of duplicates the later one suffices."""


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    fs.write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path
