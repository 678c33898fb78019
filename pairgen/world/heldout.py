"""Ground truth for the evaluation suites, on lists that neither pretraining nor the pool has seen.

Nothing of the loop imports this module: it judges the judge.
"""

import random
import re
from dataclasses import dataclass

from pairgen.world import tasks

DERIVATION = re.compile(r"\A\s*(=\d+)")


@dataclass(frozen=True, slots=True)
class HeldoutPair:
    """An instruction with its right answer and a wrong one."""

    instruction: str
    right: str
    wrong: str


def heldout_pairs(group: str, n: int, seed: int) -> list[HeldoutPair]:
    """`n` distinct pairs of a group's types, in equal numbers of each.

    A wrong answer is the right answer of a similar instruction, as in the loop's own pairs.
    """
    rng = random.Random(f"pairs {group} {seed}")
    return [_pair(rng, text) for text in _instructions(rng, tasks.group(group), n)]


def heldout_questions(n: int, seed: int) -> list[tuple[str, str]]:
    """`n` distinct instructions of all judged types, each with its right answer."""
    rng = random.Random(f"questions {seed}")
    return [(text, tasks.solve(text)) for text in _instructions(rng, tasks.TASKS, n)]


def derivation(judgment: str) -> str | None:
    """The answer that a judgment writes before it names an option (`=8` of `=8 (A) [[A]]`).

    Right verdicts on wrong derivations are picks without reasons; the suites report both.
    """
    match = DERIVATION.search(judgment)
    return match.group(1) if match else None


def _pair(rng: random.Random, text: str) -> HeldoutPair:
    return HeldoutPair(text, tasks.solve(text), tasks.solve(tasks.similar(rng, text)))


def _instructions(rng: random.Random, types: tuple[tasks.Task, ...], n: int) -> list[str]:
    """Distinct held-out instructions, going round the types in turn."""
    found: dict[str, None] = {}
    while len(found) < n:
        task = types[len(found) % len(types)]
        found[tasks.phrase(rng, tasks.sample_digits(rng, heldout=True), task)] = None
    return list(found)
