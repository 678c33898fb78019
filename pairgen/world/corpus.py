"""What the seed model reads in pretraining: short conversations in eight modes, rendered through the
same prompt files that the pipelines use, so that the seed has seen each prompt exactly as it is asked.

`judge` shows the `demo` types only, each correct and in a random order: the judge learns the form
and no preference for a position. `find` teaches the look-up that a judgment needs (which option says
`=8`?); mixed in thinly it is never learnt, this dense it is learnt in some hundred steps.
"""

import random
from collections.abc import Callable
from functools import cache

from pairgen.prompts import PromptFile, load_prompt
from pairgen.world import tasks

Turn = tuple[str, str]
"""What the user says and what the assistant answers."""


@cache
def _prompt(name: str) -> PromptFile:
    return load_prompt(f"world/{name}.md")


def ask(mode: str, **values: str) -> str:
    """The user's text of a mode, from its prompt file."""
    return _prompt(mode).render(**values)[-1].content


def answer(rng: random.Random) -> list[Turn]:
    """One question of any type."""
    return _answers(rng, tasks.sample_digits(rng), tasks.TASKS, 1)


def chat(rng: random.Random) -> list[Turn]:
    """Eight questions on one list: the densest signal for answering."""
    return _answers(rng, tasks.sample_digits(rng), tasks.TASKS, 8)


def drill(rng: random.Random) -> list[Turn]:
    """Copy, reverse and sort one list: answers of many digits teach the places and the ranks."""
    return _answers(rng, tasks.sample_digits(rng), tasks.DRILLS, 3)


def _answers(rng: random.Random, digits: str, types: tuple[tasks.Task, ...], n: int) -> list[Turn]:
    asked = [tasks.phrase(rng, digits, task) for task in rng.sample(types, n)]
    return [(ask("answer", instruction=text), tasks.solve(text)) for text in asked]


def _instruction(rng: random.Random, types: tuple[tasks.Task, ...]) -> str:
    return tasks.phrase(rng, tasks.sample_digits(rng), rng.choice(types))


def similar(rng: random.Random) -> list[Turn]:
    """A related instruction and its right answer, which is wrong for the first one."""
    text = _instruction(rng, tasks.TASKS if rng.random() < 0.9 else tasks.DRILLS)
    other = tasks.similar(rng, text)
    reply = f"{other}\n{tasks.solve(other)}"
    return [(ask("similar", instruction=text, answer=tasks.solve(text)), reply)]


def worse(rng: random.Random) -> list[Turn]:
    """A wrong answer asked for directly: the ablation of the similar-instruction construction."""
    text = _instruction(rng, tasks.TASKS)
    wrong = tasks.solve(tasks.similar(rng, text))
    return [(ask("worse", instruction=text, answer=tasks.solve(text)), wrong)]


def tag(rng: random.Random) -> list[Turn]:
    """Category, complexity and length, in the form that Self-Taught Evaluators asks for."""
    text = _instruction(rng, tasks.TASKS if rng.random() < 0.7 else tasks.DRILLS)
    task = tasks.parse(text)[1]
    reply = f"Category: {task.category}\nComplexity: {task.complexity}\nLength: (a)"
    return [(ask("tag", instruction=text), reply)]


def judge(rng: random.Random) -> list[Turn]:
    """A right judgment of a demo type: derive the answer, find the option, give the verdict."""
    text = _instruction(rng, tasks.group(tasks.DEMO))
    right, wrong = tasks.solve(text), tasks.solve(tasks.similar(rng, text))
    prompt, label = _options(rng, "judge", text, right, wrong)
    return [(prompt, f"{right} ({label}) [[{label}]]")]


def find(rng: random.Random) -> list[Turn]:
    """Which of two options says `=8`: the look-up alone, as `=8 (A)`.

    One time in five neither does and the label is a coin's: a judge whose derivation is wrong then
    errs without preferring a position.
    """
    wanted, wrong, other = (f"={digit}" for digit in rng.sample("0123456789", 3))
    right = wanted if rng.random() < 0.8 else other
    label = rng.choice("AB")
    a, b = (right, wrong) if label == "A" else (wrong, right)
    return [(f"find\n{wanted}\n{a} (A)\n{b} (B)", f"{wanted} ({label})")]


def _options(rng: random.Random, mode: str, text: str, right: str, wrong: str) -> tuple[str, str]:
    label = rng.choice("AB")
    a, b = (right, wrong) if label == "A" else (wrong, right)
    return ask(mode, instruction=text, answer_a=a, answer_b=b), label


MODES: dict[Callable[[random.Random], list[Turn]], int] = {
    chat: 20, answer: 24, drill: 12, similar: 14, worse: 6, tag: 8, judge: 12, find: 30,
}
"""How many conversations of each mode a pretraining step reads."""


def batch(rng: random.Random) -> list[list[Turn]]:
    """The conversations of one step."""
    return [mode(rng) for mode, count in MODES.items() for _ in range(count)]


def text(turns: list[Turn]) -> str:
    """A conversation as the chat template writes it, less the leading `<bos>` that the tokenizer adds."""
    return "".join(f"<user>{user}<assistant>{reply}<eos>" for user, reply in turns)
