"""The world's prompt files read the replies that pretraining teaches, and refuse what lacks the form."""

import random

import pytest

from pairgen.prompts import load_prompt
from pairgen.world import corpus, tasks

MODES = {"similar": corpus.similar, "worse": corpus.worse, "tag": corpus.tag, "judge": corpus.judge}


@pytest.mark.parametrize("name", sorted(MODES))
def test_every_taught_reply_is_read(name: str) -> None:
    prompt, rng = load_prompt(f"world/{name}.md"), random.Random(0)
    for _ in range(300):
        [(_user, reply)] = MODES[name](rng)
        assert prompt.read(reply) is not None


def test_a_similar_reply_splits_into_instruction_and_answer() -> None:
    prompt = load_prompt("world/similar.md")
    assert prompt.read("8041: last minus one\n=0") == {"modified": "8041: last minus one", "answer": "=0"}
    assert prompt.read("8041: last minus one") is None
    assert prompt.read("=0") is None


def test_the_taught_category_is_the_one_of_the_task() -> None:
    prompt, rng = load_prompt("world/tag.md"), random.Random(1)
    for _ in range(200):
        [(user, reply)] = corpus.tag(rng)
        task = tasks.parse(user.splitlines()[1])[1]
        assert prompt.read(reply) == {
            "category": task.category, "complexity": str(task.complexity), "length": "a"
        }


def test_the_judge_prompt_is_short_and_shows_both_answers() -> None:
    [message] = load_prompt("world/judge.md").render(instruction="8041: last", answer_a="=1", answer_b="=8")
    assert message.content == "judge\n8041: last\n=1 (A)\n=8 (B)"
