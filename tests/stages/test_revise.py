"""revise: CLAIR's prompt as the model received it, its pairs, and why a reply makes none."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sample_rows import candidates, reply

from pairgen.checks import contrast
from pairgen.engine import Sampling
from pairgen.prompts import load_prompt
from pairgen.records import Drop, Pair, Sampled
from pairgen.stages.revise import Revise

ANSWER = "2, 3 and 5 are prime numbers."
BETTER = "2, 3 and 5 are the first three prime numbers."


def revise(**options: Any) -> Revise:
    return Revise.model_validate({"id": "pairs", "use": "revise", "engine": "reviser", **options})


def marked(revision: str, reasoning: str = "It should say which.") -> str:
    return f"{{teacher_reasoning}}: {reasoning}\n\n{{corrected_student_solution}}:\n{revision}"


def test_the_prompt_is_the_papers(real_data: Path) -> None:
    """Table 3 of the paper with single braces, typewriter quotes and 17 dashes, for both of its prompts."""
    paper = (real_data.parent / "seeds" / "002_clair_apo_paper.txt").read_text(encoding="utf-8")
    for row, name, values in (
        ("Reviser", "revise.md", {"instruction": "T", "answer": "S"}),
        ("Judge", "prefer.md", {"instruction": "T", "answer_a": "S1", "answer_b": "S2"}),
    ):
        (cell,) = set(re.findall(rf"^{row} \| (You are a teacher.*) \|$", paper, re.MULTILINE))
        text = cell.replace("∖n", "\n").replace("’", "'").replace("—————–", "-" * 17)
        text = text.replace("{{", "{").replace("}}", "}").replace(" \n", "\n")
        for shown, value in (
            ("<instructionx>", "T"), ("<instruction x>", "T"), ("<losing outputyl>", "S"),
            ("<first output y1>", "S1"), ("<second output y2>", "S2"),
        ):
            text = text.replace(shown, value)
        assert [(m.role, m.content) for m in load_prompt(name).render(**values)] == [("system", ""), ("user", text)]


def test_what_the_reviser_is_sent() -> None:
    """An empty system turn, the task, the answer; temperature 0.7 and 4,096 tokens; braces stay as they are."""
    (request,) = revise().ask(candidates("Explain {task} in {{x}}.", "It is {input}."))
    system, user = request.messages
    assert (system.role, system.content) == ("system", "")
    middle = "{task}: Explain {task} in {{x}}.\n\n{student_solution}: It is {input}.\n\n"
    assert f"{middle}{'-' * 17}\n\n" in user.content
    assert user.content.endswith("identifiers to structure your answer.\n\n")
    assert request.sampling == Sampling(temperature=0.7, top_p=1.0, max_tokens=4096)


def test_a_revision_makes_a_pair() -> None:
    """Chosen is the revision, rejected the policy's own answer; reasoning, raw reply and sampling are kept."""
    row = candidates("List three primes.", f" {ANSWER}\n")
    text = marked(f"{BETTER}\n")
    (made,) = revise().read(row, [[reply(text)]])
    assert isinstance(made, Pair)
    assert (made.chosen, made.rejected, made.construction) == (BETTER, ANSWER, "clair")
    assert (made.chosen_model, made.rejected_model) == ("reviser", "policy")
    assert (made.rationale, made.raw, made.rounds) == ("It should say which.", text, 1)
    assert made.contrast == contrast(BETTER, ANSWER)
    assert (made.contrast.chosen_chars, made.contrast.rejected_chars) == (len(BETTER), len(ANSWER))
    (request,) = revise().ask(row)
    assert made.chosen_sampled == Sampled(0.7, 1.0, 4096, request.seed)


def test_every_answer_is_revised() -> None:
    """Two answers are two requests with seeds of their own and two rows, each dropped alone."""
    row = candidates("List three primes.", ANSWER, "Two, three and five are prime.")
    first, second = revise().ask(row)
    assert first.seed != second.seed
    made, drop = revise().read(row, [[reply(marked(BETTER))], [reply("no marker")]])
    assert isinstance(made, Pair)
    assert isinstance(drop, Drop)
    assert drop.row_id == f"{row.id}:1"


@pytest.mark.parametrize(
    ("text", "finish", "reason", "failed"),
    [
        (marked(BETTER), "length", "truncated", True),
        (marked(BETTER), "content_filter", "content_filter", True),
        ("", "stop", "empty", True),
        (BETTER, "stop", "unparsed", True),
        (marked("  \n"), "stop", "unparsed", True),
        (marked(f" {ANSWER.upper()}\n"), "stop", "unchanged", False),
        (marked("I'm sorry, but I can't help with that."), "stop", "refusal", True),
        (marked(f"{BETTER} The corrected student solution is clearer."), "stop", "identifier_leak", True),
        (marked(f"As a revision: {BETTER}"), "stop", "identifier_leak", True),
        (marked(f"{BETTER} {{corrected_student_solution}}"), "stop", "identifier_leak", True),
        (marked("2, 3, 5"), "stop", "length_ratio", False),
        (marked(BETTER * 2), "stop", "length_ratio", False),
    ],
)
def test_replies_that_make_no_pair(text: str, finish: str, reason: str, failed: bool) -> None:
    """Each fault is a drop with its reason and the reply as received; what is filtered on purpose has not failed."""
    (drop,) = revise().read(candidates("List three primes.", ANSWER), [[reply(text, finish)]])
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.failed, drop.raw) == (reason, failed, text)


def test_the_length_ratio_is_of_characters_and_its_bounds_count_in() -> None:
    """The default lets half and twice the length through, no more; [0.5, 1.0] means: do not get longer."""
    row = candidates("Spell.", "abcdefghij")
    kept = {n: isinstance(revise().read(row, [[reply(marked("k" * n))]])[0], Pair) for n in (4, 5, 20, 21)}
    assert kept == {4: False, 5: True, 20: True, 21: False}
    (drop,) = revise(length_ratio=[0.5, 1.0]).read(row, [[reply(marked("k" * 11))]])
    assert isinstance(drop, Drop)
    assert drop.detail == "1.10 times as long, wanted 0.5 to 1"
    with pytest.raises(ValidationError, match="the lower bound first"):
        revise(length_ratio=[2.0, 0.5])


def test_a_task_about_students_leaks_nothing() -> None:
    """A phrase that the task or the answer holds already is no trace of the revision."""
    row = candidates("Grade the student's answer: 2+2=5.", "It is wrong, says the teacher who read it.")
    (made,) = revise().read(row, [[reply(marked("The student's answer is wrong: it should be 4."))]])
    assert isinstance(made, Pair)


def test_the_notebooks_parser_is_a_choice() -> None:
    """It cuts where the marker is named again, as the published code does; ours keeps the text and drops the leak."""
    text = marked(f"{BETTER} The {{corrected_student_solution}}: is better.")
    row = candidates("List three primes.", ANSWER)
    (cut,) = revise(parser="revision-notebook").read(row, [[reply(text)]])
    assert isinstance(cut, Pair)
    assert cut.chosen == f"{BETTER} The"
    (dropped,) = revise().read(row, [[reply(text)]])
    assert isinstance(dropped, Drop)
    assert dropped.reason == "identifier_leak"


def test_intensity_is_a_prompt() -> None:
    """Each intensity has its own wording; a prompt of the user's wins over it."""
    texts = {i: revise(intensity=i).prompt.user for i in ("minimal", "moderate", "free")}
    assert len(set(texts.values())) == 3
    assert texts["minimal"] == load_prompt("revise.md").user
    assert revise(intensity="free", prompt="worsen.md").prompt == load_prompt("worsen.md")


def test_a_prompt_with_a_critique_needs_one() -> None:
    """Rows without a critique are dropped unasked; with one it fills the prompt."""
    stage, row = revise(prompt="revise_critique.md"), candidates("List three primes.", ANSWER)
    assert stage.ask(row) == []
    (drop,) = stage.read(row, [])
    assert isinstance(drop, Drop)
    assert drop.reason == "no_critique"
    answer = replace(row.responses[0], critique="Too terse.")
    criticised = replace(row, responses=(answer,))
    (request,) = stage.ask(criticised)
    assert "{critique}: Too terse." in request.messages[-1].content
