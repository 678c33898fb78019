"""The other ways to make pairs: judged, given, stronger, worsened, verified, revised again, checked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sample_rows import candidates, instruction, pair, reply

from pairgen.checks import contrast
from pairgen.errors import UsageError
from pairgen.parsers import final_answer
from pairgen.records import Candidates, Drop, Instruction, Pair, Preference, Response
from pairgen.registry import find
from pairgen.stages.export_pairs import ExportPairs
from pairgen.stages.load import Load

GOOD, BAD = "2, 3 and 5 are prime numbers.", "2, 3 and 4 are prime numbers."


def stage(use: str, **options: Any) -> Any:
    return find("pairgen.stages", use).STAGE.model_validate({"id": "made", "use": use, **options})


def two(*answers: str) -> Candidates:
    return candidates("List three primes.", *(answers or (GOOD, BAD)))


# --- prefer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_judge_sees_the_order_that_is_kept(seed: int) -> None:
    """Whatever order is drawn, [1] is the answer shown first, and the pair says where its winner stood."""
    judge, row = stage("prefer", engine="judge", seed=seed), two()
    (request,) = judge.ask(row)
    text = request.messages[-1].content
    good_first = text.index(GOOD) < text.index(BAD)
    (made,) = judge.read(row, [[reply("so [1]")]])
    assert isinstance(made, Pair)
    assert (made.chosen, made.rejected) == ((GOOD, BAD) if good_first else (BAD, GOOD))
    assert (made.order, made.construction) == ("chosen_first", "on-policy-judge")
    assert (made.rationale, made.contrast) == ("so [1]", contrast(made.chosen, made.rejected))
    (other,) = judge.read(row, [[reply("so [2]")]])
    assert (other.chosen, other.order) == (made.rejected, "rejected_first")


def test_orders_are_drawn_by_content() -> None:
    """Over many rows each order comes about half the time, the same in every run; `fixed` never swaps."""
    rows = [candidates(f"Task {i}", GOOD, BAD) for i in range(200)]
    judge = stage("prefer", engine="judge")
    drawn = [judge.shown(row.id) for row in rows]
    assert 70 < sum(order == ("chosen_first",) for order in drawn) < 130
    assert drawn == [judge.shown(row.id) for row in rows]
    assert {stage("prefer", engine="judge", orders="fixed").shown(row.id) for row in rows} == {("chosen_first",)}


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [("[1]", "[2]", None), ("[2]", "[1]", None), ("[1]", "[1]", "disagreement"), ("[2]", "[2]", "disagreement"),
     ("[1]", "who knows", "unparsed"), ("[1] or [2]", "[2]", "unparsed")],
)
def test_both_orders_must_agree(first: str, second: str, reason: str | None) -> None:
    """With `both` a judge that prefers a slot makes no pair, nor does one order that cannot be read."""
    judge, row = stage("prefer", engine="judge", orders="both"), two()
    requests = judge.ask(row)
    assert len(requests) == judge.requests_per_row() == 2
    assert requests[0].seed != requests[1].seed
    (made,) = judge.read(row, [[reply(first)], [reply(second)]])
    if reason is None:
        assert (made.order, made.chosen) == ("both", GOOD if first == "[1]" else BAD)
        assert first in made.raw
        assert second in made.raw
    else:
        assert (made.reason, made.failed) == (reason, reason != "disagreement")
        assert made.raw


@pytest.mark.parametrize(
    ("answers", "text", "finish", "reason"),
    [((GOOD,), None, "", "one_answer"), ((GOOD, f" {GOOD}\n"), None, "", "identical"),
     ((GOOD, BAD), "thinking", "length", "truncated"), ((GOOD, BAD), "x", "content_filter", "content_filter")],
)
def test_rows_no_judge_can_decide(answers: tuple[str, ...], text: str | None, finish: str, reason: str) -> None:
    """One answer or two equal ones are dropped unasked; a cut or filtered judgment with its reply."""
    judge, row = stage("prefer", engine="judge"), two(*answers)
    assert len(judge.ask(row)) == (text is not None)
    (drop,) = judge.read(row, [] if text is None else [[reply(text, finish)]])
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.raw) == (reason, text)


def test_a_judge_of_the_other_format() -> None:
    """[[A]] and [[B]] work as well, ties are dropped, and a prompt with no verdict is refused."""
    judge, row = stage("prefer", engine="judge", prompt="judge.md", orders="fixed"), two()
    assert judge.read(row, [[reply("[[B]]")]])[0].chosen == BAD
    assert judge.read(row, [[reply("[[C]]")]])[0].reason == "tie"
    with pytest.raises(ValidationError, match="needs"):
        stage("prefer", engine="judge", prompt="tag.md")


def test_a_users_own_pattern(tmp_path: Path) -> None:
    """A prompt file with a pattern may name the pick 1 and 2, or A and B."""
    file = tmp_path / "mine.md"
    front = "vars: [answer_a, answer_b]\npattern: 'best: (?P<choice>\\w)\\b'"
    file.write_text(f"---\n{front}\n---\n# user\n{{{{answer_a}}}}{{{{answer_b}}}}")
    judge = stage("prefer", engine="judge", prompt=str(file), orders="fixed")
    for said, chosen in (("best: 2", BAD), ("best: a", GOOD)):
        assert judge.read(two(), [[reply(said)]])[0].chosen == chosen
    assert judge.read(two(), [[reply("best: both")]])[0].reason == "unparsed"


# --- given answers ------------------------------------------------------------------------------------


def given(*scored: tuple[str, float | None]) -> Instruction:
    answers = tuple(Response(text, f"m{i}", "stop", 0, score=score) for i, (text, score) in enumerate(scored))
    return replace(instruction("Why?"), answers=answers)


def test_the_first_best_against_the_first_worst() -> None:
    """As the paper's notebook takes them; the pair keeps scores and models, not the other answers."""
    row = given(("a", 7.0), ("b", 9.0), ("c", 2.0), ("d", 9.0), ("e", 2.0))
    (made,) = stage("best-worst").run(iter([row]))
    assert isinstance(made, Pair)
    assert (made.chosen, made.rejected, made.chosen_score, made.rejected_score) == ("b", "c", 9.0, 2.0)
    assert (made.chosen_model, made.rejected_model, made.construction) == ("m1", "m2", "off-policy-judge")
    assert (made.instruction.id, made.instruction.answers) == (row.id, ())


@pytest.mark.parametrize(
    ("row", "reason", "failed"),
    [(given(), "no_answers", True), (given(("a", 1.0)), "one_answer", False),
     (given(("a", 5.0), ("b", 5.0)), "equal_scores", False), (given(("a", None), ("b", 5.0)), "unscored", True),
     (given(("a", 1.0), ("a ", 2.0)), "identical", False), (given(("", 1.0), ("a ", 2.0)), "unscored", True)],
)
def test_given_answers_that_make_no_pair(row: Instruction, reason: str, failed: bool) -> None:
    """Where the notebook would pair an answer with itself, the row leaves with its reason."""
    (drop,) = stage("best-worst").run(iter([row]))
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.failed) == (reason, failed)


def test_a_gap_can_be_asked_for() -> None:
    row = given(("a", 5.0), ("b", 6.0))
    assert isinstance(next(stage("best-worst", min_gap=0.9).run(iter([row]))), Pair)
    assert isinstance(next(stage("best-worst", min_gap=1.0).run(iter([row]))), Drop)


def loaded(path: Path, record: Any, **options: Any) -> Instruction:
    (path / "in.jsonl").write_text(json.dumps(record) + "\n")
    made = Load.model_validate({"id": "data", "use": "load", "path": str(path / "in.jsonl"), **options})
    (row,) = made.run(iter(()))
    assert isinstance(row, Instruction)
    return row


def test_ultrafeedbacks_columns(tmp_path: Path) -> None:
    """Completions with overall_score and model are read in order; without the option they are not, and the id
    is the same, so the four datasets of one file can be joined."""
    record = {"instruction": "Why?", "completions": [
        {"response": "a", "overall_score": 7.5, "model": "alpaca-7b"}, {"response": "b", "overall_score": "3"},
        {"response": "c", "overall_score": None}, {"response": "d", "overall_score": "N/A"},
    ]}
    row = loaded(tmp_path, record, answers="completions")
    assert [(a.text, a.score, a.model) for a in row.answers] == [
        ("a", 7.5, "alpaca-7b"), ("b", 3.0, "given"), ("c", None, "given"), ("d", None, "given"),
    ]
    plain = loaded(tmp_path, record)
    assert (plain.answers, plain.id) == ((), row.id)


@pytest.mark.parametrize(
    ("record", "options", "says"),
    [({"prompt": "x"}, {"answers": "completions"}, "in.jsonl:1: no column 'completions'; have: prompt"),
     ({"prompt": "x", "a": "b"}, {"answers": "a"}, "a is str, not a list of answers"),
     ({"prompt": "x", "a": [3]}, {"answers": "a"}, "a[0] is int, not a text"),
     ({"prompt": "x", "a": ["y", {"score": 3}]}, {"answers": "a"}, "a[1] holds no text"),
     ({"prompt": "x"}, {"reference": "answer"}, "no column 'answer'; have: prompt. Set data.reference"),
     ({"prompt": "x", "answer": ["y"]}, {"reference": "answer"}, "answer is list, not the text of a solution")],
)
def test_columns_that_hold_no_answers(tmp_path: Path, record: Any, options: dict[str, str], says: str) -> None:
    """One line with file, line, column and what was found."""
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, record, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# --- stronger -----------------------------------------------------------------------------------------


def test_a_stronger_answer_is_preferred_unjudged() -> None:
    """The conversation is sent as it is; its answer is chosen, the policy's first rejected."""
    strong, row = stage("stronger", engine="stronger"), two()
    (request,) = strong.ask(row)
    assert request.messages == row.instruction.messages
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.7, 4096)
    (made,) = strong.read(row, [[reply(" A better one. ")]])
    assert (made.chosen, made.rejected) == ("A better one.", GOOD)
    assert (made.chosen_model, made.rejected_model, made.construction) == ("stronger", "policy", "stronger-preferred")


@pytest.mark.parametrize(
    ("text", "finish", "options", "reason"),
    [("x", "length", {}, "truncated"), (" ", "stop", {}, "empty"), (GOOD, "stop", {}, "identical"),
     ("I'm sorry, but I can't help with that.", "stop", {}, "refusal"),
     ("x" * 300, "stop", {"length_ratio": [0.5, 2.0]}, "length_ratio")],
)
def test_stronger_answers_that_make_no_pair(text: str, finish: str, options: dict[str, Any], reason: str) -> None:
    (drop,) = stage("stronger", engine="stronger", **options).read(two(), [[reply(text, finish)]])
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.raw) == (reason, text)


# --- worsen, critique, verify, revise-again -----------------------------------------------------------


def marked(text: str, name: str = "corrected") -> str:
    return f"{{teacher_reasoning}}: because\n\n{{{name}_student_solution}}:\n{text}"


def test_an_injected_error_is_rejected() -> None:
    """The good answer is chosen as it stands; what was made of it is rejected, and a hint drops it."""
    worsen, row = stage("worsen", engine="critic"), two(GOOD)
    (request,) = worsen.ask(row)
    assert "exactly one plausible error" in request.messages[-1].content
    (made,) = worsen.read(row, [[reply(marked(BAD, "worsened"))]])
    assert (made.chosen, made.rejected, made.construction) == (GOOD, BAD, "worsened")
    assert (made.chosen_model, made.rejected_model) == ("policy", "critic")
    for text, reason in ((marked(GOOD, "worsened"), "unchanged"), (BAD, "unparsed"),
                         (marked("2.", "worsened"), "length_ratio"),
                         (marked(f"{BAD} (worsened student solution)", "worsened"), "identifier_leak")):
        assert worsen.read(row, [[reply(text)]])[0].reason == reason


def test_a_reviser_that_is_a_system() -> None:
    """Critique, revision that works from it, and a judge that must prefer the revision in both orders."""
    row = two(GOOD)
    criticised = stage("critique", engine="critic").read(row, [[reply("Say that they are the first three.")]])[0]
    reviser = stage("revise", engine="reviser", prompt="revise_critique.md")
    (request,) = reviser.ask(criticised)
    assert "{critique}: Say that they are the first three." in request.messages[-1].content
    (made,) = reviser.read(criticised, [[reply(marked("2, 3 and 5 are the first three primes."))]])
    verify = stage("verify", engine="judge")
    assert len(verify.ask(made)) == 2
    assert verify.read(made, [[reply("[1]")], [reply("[2]")]]) == [made]
    (drop,) = verify.read(made, [[reply("[1]")], [reply("[1]")]])
    assert (drop.reason, drop.detail, drop.failed) == ("not_better", "rejected was picked in 1 of 2 orders", False)
    assert verify.read(made, [[reply("[1]")], [reply("?")]])[0].reason == "unparsed"


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [("NO FAULT", "stop", "no_fault"), ("**No fault.**\n", "stop", "no_fault"), ("", "stop", "empty"),
     ("It is", "length", "truncated")],
)
def test_answers_without_a_critique_leave(text: str, finish: str, reason: str) -> None:
    """A critic with nothing to say, or one that was cut, leaves nothing to revise."""
    critic = stage("critique", engine="critic")
    (drop,) = critic.read(two(GOOD), [[reply(text, finish)]])
    assert (drop.reason, drop.raw) == (reason, text)
    (row,) = critic.read(two(), [[reply(text, finish)], [reply("Wrong: 4.")]])
    assert [r.text for r in row.responses] == [BAD]


def test_rounds_go_on_from_the_last_revision_and_pair_with_the_first_answer() -> None:
    """Round 2 revises round 1's revision; both rounds are kept, each with its own contrast to the answer."""
    row = two(GOOD)
    (first,) = stage("revise", engine="reviser").read(row, [[reply(marked("2, 3 and 5 are the first primes."))]])
    again = stage("revise-again", engine="reviser")
    (request,) = again.ask(first)
    assert "{student_solution}: 2, 3 and 5 are the first primes.\n" in request.messages[-1].content
    kept, second = again.read(first, [[reply(marked("The first three primes are 2, 3 and 5."))]])
    assert kept == first
    assert (second.rejected, second.rounds, second.construction) == (GOOD, 2, "clair")
    assert second.contrast == contrast(second.chosen, GOOD)
    assert second.contrast.levenshtein > first.contrast.levenshtein
    third = stage("revise-again", engine="reviser", round=3)
    assert third.ask(first) == []
    assert third.read(first, []) == [first]
    assert len(third.ask(second)) == 1
    assert again.read(first, [[reply(marked(first.chosen))]])[1].reason == "unchanged"
    assert again.read(first, [[reply("no marker")]])[1].reason == "unparsed"


# --- verifiable ---------------------------------------------------------------------------------------


def solved(reference: str | None, *solutions: str) -> Candidates:
    row = candidates("What is 6 x 7?", *solutions)
    return replace(row, instruction=replace(row.instruction, reference=reference))


def test_a_right_solution_over_a_wrong_one() -> None:
    """The label is the final answer's; a solution that states none takes no part unless it counts as wrong."""
    row = solved("6 x 7 = 42\n#### 42", "It is 41.\n#### 41", "So \\boxed{42}", "Forty-two.")
    (made,) = stage("verifiable").run(iter([row]))
    assert (made.chosen, made.rejected) == ("So \\boxed{42}", "It is 41.\n#### 41")
    assert (made.construction, made.rationale) == ("verifiable", "the final answer is 42, not 41")
    row = solved("42", *map("#### {}".format, (42, 42.0, 41, 40)), "?")
    several = list(stage("verifiable", per_prompt=5, unstated="wrong").run(iter([row])))
    assert len(several) == 2
    assert len({p.chosen for p in several} | {p.rejected for p in several}) == 4


@pytest.mark.parametrize(
    ("row", "reason", "failed"),
    [(solved(None, "#### 42", "#### 41"), "no_reference", True), (solved("a\nb", "#### 42"), "no_reference", True),
     (solved("42", "#### 42", "\\boxed{42}"), "all_right", False), (solved("42", "#### 41"), "all_wrong", False),
     (solved("42", "forty-two"), "unparsed", True)],
)
def test_solutions_that_make_no_pair(row: Candidates, reason: str, failed: bool) -> None:
    (drop,) = stage("verifiable").run(iter([row]))
    assert (drop.reason, drop.failed) == (reason, failed)


def test_gsm8ks_own_solutions(real_data: Path) -> None:
    """All 1,319 test references state their answer, and our reading of four models' solutions agrees with the
    correctness that the dataset's authors recorded."""
    lines = (real_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(final_answer(json.loads(line)["answer"]) for line in lines)
    path = real_data / "gsm8k" / "example_model_solutions.jsonl"
    agree = total = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        truth = final_answer(record["ground_truth"])
        for name in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            total += 1
            agree += (final_answer(record[name]["solution"]) == truth) == record[name]["is_correct"]
    assert total == 5276
    assert agree / total > 0.999, agree


def test_pairs_of_real_solutions(real_data: Path) -> None:
    """Four models' solutions of GSM8K's test set: a pair for each problem that the recorded flags say some
    solved and some did not, its sides right and wrong by those flags."""
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    rows, flags = [], {}
    path = real_data / "gsm8k" / "example_model_solutions.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found = {record[name]["solution"].strip(): record[name]["is_correct"] for name in names}
        row = candidates(record["question"], *found)
        rows.append(replace(row, instruction=replace(row.instruction, reference=record["ground_truth"])))
        flags[row.id] = found
    made = list(stage("verifiable").run(iter(rows)))
    pairs = [row for row in made if isinstance(row, Pair)]
    assert len(made) == len(rows) == 1319
    assert len(pairs) == sum(len(set(found.values())) == 2 for found in flags.values()) > 500
    assert all(flags[p.instruction.id][p.chosen] and not flags[p.instruction.id][p.rejected] for p in pairs)


# --- export-pairs -------------------------------------------------------------------------------------


def test_pairs_become_preferences_once() -> None:
    """The conversation is the prompt; kind is the construction; a pair that two sources hold comes once."""
    one = replace(pair(), construction="clair", order="both", chosen_score=1.0)
    made = list(ExportPairs.model_validate({"id": "p", "use": "export-pairs"}).run(iter([one, one])))
    assert isinstance(made[0], Preference)
    assert (made[0].prompt, made[0].kind, made[0].pair_id) == (one.instruction.messages, "clair", one.id)
    assert (made[0].chosen[0].content, made[0].rejected[0].content) == (one.chosen, one.rejected)
    assert (made[0].order, made[0].chosen_score, made[0].rejected_score) == ("both", 1.0, None)
    assert isinstance(made[1], Drop)
