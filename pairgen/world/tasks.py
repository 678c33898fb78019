"""The instructions of the embedded world and their true answers: `80413: largest` is `=8`.

A list has four or five distinct digits. A question picks one digit by place or by rank and may add or
subtract one (modulo ten). Three disjoint groups: `demo` types are judged in pretraining, `other` types
are in the loop's pool but never judged in pretraining, `unseen` types are in neither. Drills
(copy, reverse, sort) have answers of many digits and are there for the Select stage to leave out.

Held-out lists are chosen by a hash of the list itself, so every program agrees on them.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from pairgen.errors import UsageError

DEMO, OTHER, UNSEEN, DRILL = "demo", "other", "unseen", "drill"
EXTRACTION, MATHS, REWRITING = "Extraction", "Mathematical reasoning", "Rewriting"


@dataclass(frozen=True, slots=True)
class Task:
    """A type of question. `complexity` (1-10) and `category` are what the tagger is taught to say."""

    name: str
    group: str
    category: str
    complexity: int
    phrasings: tuple[str, str]
    solve: Callable[[str], str]


def _place(index: int, shift: int = 0) -> Callable[[str], str]:
    return lambda digits: str((int(digits[index]) + shift) % 10)


def _rank(index: int, shift: int = 0) -> Callable[[str], str]:
    return lambda digits: str((int(sorted(digits)[index]) + shift) % 10)


TASKS = (
    Task("first", DEMO, EXTRACTION, 1, ("first", "starts with"), _place(0)),
    Task("largest", DEMO, MATHS, 3, ("largest", "maximum"), _rank(-1)),
    Task("pred_last", DEMO, MATHS, 4, ("last minus one", "predecessor of last"), _place(-1, -1)),
    Task("second", OTHER, EXTRACTION, 2, ("second", "number two"), _place(1)),
    Task("last", OTHER, EXTRACTION, 1, ("last", "ends with"), _place(-1)),
    Task("penultimate", OTHER, EXTRACTION, 3, ("penultimate", "last but one"), _place(-2)),
    Task("smallest", OTHER, MATHS, 3, ("smallest", "minimum"), _rank(0)),
    Task("second_largest", OTHER, MATHS, 5, ("second largest", "runner up"), _rank(-2)),
    Task("succ_first", OTHER, MATHS, 4, ("first plus one", "successor of first"), _place(0, 1)),
    Task("succ_largest", OTHER, MATHS, 6, ("largest plus one", "successor of maximum"), _rank(-1, 1)),
    Task("pred_smallest", OTHER, MATHS, 6, ("smallest minus one", "predecessor of minimum"), _rank(0, -1)),
    Task("pred_second", OTHER, MATHS, 5, ("second minus one", "predecessor of number two"), _place(1, -1)),
    Task("third", UNSEEN, EXTRACTION, 2, ("third", "number three"), _place(2)),
    Task("second_smallest", UNSEEN, MATHS, 5, ("second smallest", "above minimum"), _rank(1)),
    Task("succ_last", UNSEEN, MATHS, 4, ("last plus one", "successor of last"), _place(-1, 1)),
    Task("pred_largest", UNSEEN, MATHS, 6, ("largest minus one", "predecessor of maximum"), _rank(-1, -1)),
)
DRILLS = (
    Task("copy", DRILL, REWRITING, 1, ("copy", "repeat"), lambda digits: digits),
    Task("reverse", DRILL, REWRITING, 4, ("reverse", "backwards"), lambda digits: digits[::-1]),
    Task("sort", DRILL, REWRITING, 5, ("sort", "in order"), lambda digits: "".join(sorted(digits))),
)
BY_PHRASE = {phrase: task for task in TASKS + DRILLS for phrase in task.phrasings}


def group(*names: str) -> tuple[Task, ...]:
    """The types of the groups named, in the order of the table."""
    return tuple(task for task in TASKS + DRILLS if task.group in names)


def parse(instruction: str) -> tuple[str, Task]:
    """The digits and the type of `80413: largest`. Raises UsageError for any other text."""
    digits, _, phrase = instruction.partition(": ")
    if not digits.isdigit() or phrase not in BY_PHRASE:
        raise UsageError(f"{instruction!r} is no instruction of the embedded world (`80413: largest` is one)")
    return digits, BY_PHRASE[phrase]


def solve(instruction: str) -> str:
    """The one right answer, `=8`."""
    digits, task = parse(instruction)
    return f"={task.solve(digits)}"


def is_heldout(digits: str) -> bool:
    """True for the tenth of all lists that only evaluation may use."""
    return hashlib.sha256(digits.encode()).digest()[0] % 10 == 0


def sample_digits(rng: random.Random, heldout: bool = False) -> str:
    """A list from the side of the split asked for."""
    while True:
        digits = "".join(rng.sample("0123456789", rng.choice((4, 5))))
        if is_heldout(digits) is heldout:
            return digits


def phrase(rng: random.Random, digits: str, task: Task) -> str:
    """The instruction that asks `task` of `digits`, in one of its two wordings."""
    return f"{digits}: {rng.choice(task.phrasings)}"


def similar(rng: random.Random, instruction: str) -> str:
    """A related instruction whose answer is another one: six in ten another question, else another list.

    This is the sampler that teaches the seed its `similar` mode, and that evaluation takes wrong answers
    from, so held-out pairs are wrong in the way that the loop's own pairs are.
    """
    digits, task = parse(instruction)
    peers = DRILLS if task.group == DRILL else TASKS
    for _ in range(1000):
        if rng.random() < 0.6:
            other = phrase(rng, digits, rng.choice([peer for peer in peers if peer is not task]))
        else:
            other = f"{_changed(rng, digits)}: {instruction.partition(': ')[2]}"
        if solve(other) != solve(instruction):
            return other
    raise UsageError(f"no similar instruction found for {instruction!r}")


def _changed(rng: random.Random, digits: str) -> str:
    """The list with one digit replaced, or two exchanged; a training list never becomes a held-out one."""
    while True:
        changed = list(digits)
        i, j = rng.sample(range(len(digits)), 2)
        if rng.random() < 0.5:
            changed[i], changed[j] = changed[j], changed[i]
        else:
            changed[i] = rng.choice([digit for digit in "0123456789" if digit not in digits])
        if is_heldout(digits) or not is_heldout("".join(changed)):
            return "".join(changed)
