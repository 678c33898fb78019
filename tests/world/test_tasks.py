"""The world's answers are those of an independent reading, and its split keeps held-out lists apart."""

import random
from itertools import permutations

import pytest

from pairgen.errors import UsageError
from pairgen.world import corpus, tasks
from pairgen.world.heldout import derivation, heldout_pairs, heldout_questions

PLACES = {
    "first": 0, "starts with": 0, "second": 1, "number two": 1, "third": 2, "number three": 2,
    "last": -1, "ends with": -1, "penultimate": -2, "last but one": -2,
}
RANKS = {
    "largest": 0, "maximum": 0, "second largest": 1, "runner up": 1,
    "smallest": -1, "minimum": -1, "second smallest": -2, "above minimum": -2,
}


def read(digits: str, phrase: str) -> int:
    """The answer worked out from the English alone, without the table of types."""
    for words, step in (("successor of ", 1), ("predecessor of ", -1)):
        if phrase.startswith(words):
            return (read(digits, phrase.removeprefix(words)) + step) % 10
    for words, step in ((" plus one", 1), (" minus one", -1)):
        if phrase.endswith(words):
            return (read(digits, phrase.removesuffix(words)) + step) % 10
    if phrase in PLACES:
        return int(digits[PLACES[phrase]])
    by_size = [d for d in range(9, -1, -1) if str(d) in digits]
    return by_size[RANKS[phrase]]


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_both_wordings_mean_what_they_say_on_every_list_of_four(task: tasks.Task) -> None:
    for digits in map("".join, permutations("0123456789", 4)):
        for phrase in task.phrasings:
            assert tasks.solve(f"{digits}: {phrase}") == f"={read(digits, phrase)}"


def test_drills_copy_reverse_and_sort() -> None:
    asked = {"copy": "8041", "repeat": "8041", "reverse": "1408", "backwards": "1408",
             "sort": "0148", "in order": "0148"}
    assert {phrase: tasks.solve(f"8041: {phrase}") for phrase in asked} == {
        phrase: f"={answer}" for phrase, answer in asked.items()
    }


def test_every_phrase_names_one_type_and_every_type_one_group() -> None:
    assert len(tasks.BY_PHRASE) == 2 * len(tasks.TASKS + tasks.DRILLS)
    assert {task.group for task in tasks.TASKS} == {tasks.DEMO, tasks.OTHER, tasks.UNSEEN}
    assert all(1 <= task.complexity <= 10 for task in tasks.TASKS)


def test_a_text_of_another_world_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="Write a poem"):
        tasks.solve("Write a poem")


def test_a_tenth_of_all_lists_is_held_out() -> None:
    lists = ["".join(p) for n in (4, 5) for p in permutations("0123456789", n)]
    assert 0.09 < sum(map(tasks.is_heldout, lists)) / len(lists) < 0.11


def test_a_similar_instruction_differs_and_so_does_its_answer() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        text = tasks.phrase(rng, tasks.sample_digits(rng), rng.choice(tasks.TASKS + tasks.DRILLS))
        other = tasks.similar(rng, text)
        assert other != text
        assert tasks.solve(other) != tasks.solve(text)
        assert not tasks.is_heldout(other.partition(":")[0])


def test_pretraining_never_reads_a_heldout_list_and_judges_demo_types_only() -> None:
    rng = random.Random(1)
    for _ in range(30):
        for user, _reply in (turn for turns in corpus.batch(rng) for turn in turns):
            texts = [line for line in user.splitlines() if ": " in line]
            for digits, task in map(tasks.parse, texts):
                assert not tasks.is_heldout(digits)
                assert task.group == tasks.DEMO or not user.startswith("judge")


def test_demonstrations_of_judging_are_balanced_and_name_the_right_option() -> None:
    rng = random.Random(2)
    labels = []
    for _ in range(2000):
        [(user, reply)] = corpus.judge(rng)
        _, text, a, b = user.splitlines()
        label = reply[-3]
        right = {"A": a, "B": b}[label]
        assert reply == f"{tasks.solve(text)} ({label}) [[{label}]]"
        assert right == f"{tasks.solve(text)} ({label})"
        labels.append(label)
    assert 900 < labels.count("A") < 1100


@pytest.mark.parametrize("group", [tasks.DEMO, tasks.OTHER, tasks.UNSEEN])
def test_heldout_pairs_are_ordered_distinct_balanced_and_held_out(group: str) -> None:
    pairs = heldout_pairs(group, 360, seed=0)
    assert len({pair.instruction for pair in pairs}) == 360
    counts: dict[str, int] = {}
    for pair in pairs:
        digits, task = tasks.parse(pair.instruction)
        assert tasks.is_heldout(digits)
        assert task.group == group
        assert pair.right == tasks.solve(pair.instruction) != pair.wrong
        counts[task.name] = counts.get(task.name, 0) + 1
    assert set(counts) == {task.name for task in tasks.group(group)}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_heldout_questions_repeat_under_a_seed_and_differ_between_seeds() -> None:
    assert heldout_questions(50, 1) == heldout_questions(50, 1) != heldout_questions(50, 2)


@pytest.mark.parametrize(
    ("judgment", "expected"),
    [("=8 (A) [[A]]", "=8"), ("\n=1 [[B]]", "=1"), ("[[A]]", None), ("(A) =8 [[A]]", None), ("", None)],
)
def test_a_derivation_is_the_answer_written_before_any_option(judgment: str, expected: str | None) -> None:
    assert derivation(judgment) == expected
