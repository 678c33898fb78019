"""The embedded world's suites: true labels, held-out lists, and the skills they tell apart."""

import asyncio
import random
import re
from collections import Counter

import pytest

from pairgen.engine import Completion, Request
from pairgen.evals.benchmark import said, self_check
from pairgen.evals.run import run_benchmark
from pairgen.evals.suites.world_answers import WorldAnswers
from pairgen.evals.suites.world_judging import WorldJudging
from pairgen.world import tasks

GROUPS = ("demo", "other", "unseen")


def judging(group: str, n: int = 60, seed: int = 0, votes: int = 0) -> WorldJudging:
    return WorldJudging.model_validate(
        {"id": "w", "use": "world-judging", "group": group, "n": n, "seed": seed, "votes": votes}
    )


def brute_force(instruction: str) -> str:
    """The answer, worked out from the words and without the world's own table."""
    digits, _, words = instruction.partition(": ")
    values = [int(d) for d in digits]
    shift = (
        1
        if re.search("plus one|successor", words)
        else -1
        if re.search("minus one|predecessor", words)
        else 0
    )
    ranked = sorted(values)
    for pattern, value in (
        ("second largest|runner up", ranked[-2]),
        ("second smallest|above minimum", ranked[1]),
        ("largest|maximum", ranked[-1]),
        ("smallest|minimum", ranked[0]),
        ("penultimate|last but one", values[-2]),
        ("first|starts", values[0]),
        ("second|number two", values[1]),
        ("third|number three", values[2]),
        ("last|ends", values[-1]),
    ):
        if re.search(pattern, words):
            return f"={(value + shift) % 10}"
    raise AssertionError(words)


@pytest.mark.parametrize("group", GROUPS)
def test_labels_are_true_and_lists_are_held_out(group: str) -> None:
    items = judging(group, 200).items()
    assert len({item.id for item in items}) == 200
    for item in items:
        assert item.chosen == brute_force(item.instruction)
        assert item.rejected != item.chosen
        assert tasks.is_heldout(item.instruction.split(":")[0])
    types = Counter(item.group for item in items)
    assert set(types) == {task.name for task in tasks.group(group)}
    assert max(types.values()) - min(types.values()) <= 1


def test_a_seed_and_a_group_name_the_items() -> None:
    assert judging("other").items() == judging("other").items()
    assert not {i.id for i in judging("other", seed=1).items()} & {i.id for i in judging("demo").items()}
    assert judging("other", seed=1).items() != judging("other").items()


class Solver:
    """Judges by the brute force; on `last` it drops its reasoning, on `second` it always says A."""

    async def __call__(self, request: Request) -> list[Completion]:
        _, instruction, first, _ = request.messages[-1].content.splitlines()
        answer = brute_force(instruction)
        label = "A" if first.startswith(answer) else "B"
        words = instruction.partition(": ")[2]
        if words in {"last", "ends with"}:
            return [said(f"({label}) [[{label}]]")] * request.n
        if words in {"second", "number two"}:
            return [said(f"{first} [[A]]")] * request.n
        return [said(f"{answer} ({label}) [[{label}]]")] * request.n


def test_right_verdicts_without_reasoning_are_told_apart() -> None:
    """Of nine types one is all position (half right, never both) and one has no derivation."""
    result = asyncio.run(run_benchmark(judging("other", 90), Solver(), 8))
    mean = {name: value["mean"] for name, value in result.metrics.items()}
    assert mean["accuracy"] == pytest.approx((8 + 0.5) / 9)
    assert mean["consistent_accuracy"] == mean["consistency"] == pytest.approx(8 / 9)
    assert mean["derivation"] == pytest.approx((7 + 0.5) / 9)
    assert mean["first_slot"] == pytest.approx((8 * 0.5 + 1) / 9)


@pytest.mark.parametrize("votes", [0, 2])
def test_self_checks(votes: int) -> None:
    self_check(judging("unseen", votes=votes))
    self_check(WorldAnswers(id="a", use="world-answers", votes=votes))


def test_answers_are_marked_against_the_truth() -> None:
    """A model that is right three times in four, and wordy once in ten."""
    rng = random.Random(0)
    said_wrong = said_more = 0

    async def complete(request: Request) -> list[Completion]:
        nonlocal said_wrong, said_more
        right = brute_force(request.messages[-1].content.splitlines()[-1])
        if rng.random() < 0.1:
            said_more += 1
            return [said(f"{right} I think")]
        wrong = rng.random() < 0.25
        said_wrong += wrong
        return [said(f"={(int(right[1]) + 1) % 10}" if wrong else right)]

    result = asyncio.run(run_benchmark(WorldAnswers(id="a", use="world-answers", n=160), complete, 1))
    assert result.metrics["parse_rate"]["mean"] == pytest.approx(1 - said_more / 160)
    assert result.metrics["answer_accuracy"]["mean"] == pytest.approx(1 - (said_more + said_wrong) / 160)
    assert {row.group for row in result.rows} == {task.name for task in tasks.TASKS}
    assert all(tasks.is_heldout(row.question.split(":")[0]) for row in result.rows)


def test_suites_are_found_by_name() -> None:
    from pairgen import registry

    for name, cls in {"world-judging": WorldJudging, "world-answers": WorldAnswers}.items():
        assert registry.find("pairgen.evals.suites", name).BENCHMARK is cls
    assert "heldout" in registry.names("pairgen.evals.suites")
