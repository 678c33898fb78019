"""The paper's four datasets, made by the shipped pipelines from one prompt file over real HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from loop_lab import Ran, run, steps
from stand_in import serving

from pairgen.records import Drop, Pair, Preference
from pairgen.store import read_drops, read_manifest, read_rows

N = 40
PAIRS = {
    "clair": "clair-pairs", "on-policy-judge": "on-policy-pairs", "off-policy-judge": "off-policy-pairs",
    "stronger-preferred": "stronger-pairs",
}


def prompts(folder: Path) -> Path:
    """Prompts with given answers, as UltraFeedback has them."""
    path = folder / "prompts.jsonl"
    with path.open("w") as file:
        for i in range(N):
            scores = (5, 5) if i % 8 == 0 else (i % 4, 9, 1, 9)
            given = [{"response": f"given {j}", "overall_score": s} for j, s in enumerate(scores)]
            file.write(json.dumps({"instruction": f"Question number {i}?", "completions": given}) + "\n")
    return path


def settings(url: str, data: Path, *roles: str) -> list[str]:
    """Every role answered by the server, as a model of that name."""
    engine = "{{use: openai, model: {0}, base_url: '{1}'}}"
    return [f"data.path={data}", *(f"engines.{role}=" + engine.format(role, url) for role in roles)]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All four, one after another, in one run folder."""
    folder = tmp_path_factory.mktemp("four")
    data, ran, counts = prompts(folder), dict[str, Ran](), dict[str, dict[str, int]]()
    others = {"clair": "reviser", "on-policy-judge": "judge", "stronger-preferred": "stronger"}
    with serving() as (url, ledger):
        for name in PAIRS:
            roles = ("policy", others[name]) if name in others else ()
            ledger.clear()
            ran[name] = run(name, folder / "run", *settings(url, data, *roles))
            counts[name] = dict(ledger)
    return {"run": folder / "run", "ran": ran, "counts": counts}


def rows(four: dict[str, Any], name: str) -> list[Pair]:
    (folder,) = steps(four["run"], PAIRS[name])
    return list(read_rows(folder))


def test_the_four_datasets_are_of_the_same_prompts(four: dict[str, Any]) -> None:
    """Every pair belongs to one of the same 40 instructions, and what is missing is a drop with its reason."""
    ids = {row.id for row in read_rows(steps(four["run"], "data")[0])}
    assert len(ids) == N
    for name, step in PAIRS.items():
        (folder,) = steps(four["run"], step)
        manifest = read_manifest(folder)
        assert manifest is not None
        assert manifest.rows + sum(manifest.drops.values()) == N, name
        assert {row.instruction.id for row in rows(four, name)} <= ids
        assert {row.construction for row in rows(four, name)} == {name}


def test_nothing_is_asked_twice_across_datasets(four: dict[str, Any]) -> None:
    """In one run folder the policy's first answers are paid once: the server's own ledger says so."""
    assert four["counts"]["clair"] == {"policy": N, "reviser": N}
    assert four["counts"]["on-policy-judge"] == {"policy": N, "judge": N}  # the second samples
    assert four["counts"]["off-policy-judge"] == {}
    assert four["counts"]["stronger-preferred"] == {"stronger": N}


def test_clair_pairs_and_their_drops(four: dict[str, Any]) -> None:
    """Each mood of the reviser ends where it should, and every reply that was paid for is kept."""
    (folder,) = steps(four["run"], "clair-pairs")
    drops: list[Drop] = list(read_drops(folder))
    assert {d.reason for d in drops} <= {"unchanged", "unparsed", "length_ratio", "identifier_leak"}
    assert len({d.reason for d in drops}) == 4
    assert all(d.raw for d in drops)
    for pair in rows(four, "clair"):
        assert pair.rationale == "It hedges."
        assert 0.5 < pair.contrast.jaccard < 1
        assert pair.chosen.endswith(("exactly.", "more or less."))


def test_policy_answers_are_shared(four: dict[str, Any]) -> None:
    """CLAIR revises the answer that stronger-preferred rejects and that the judge saw among its two."""
    clair = {p.instruction.id: p.rejected for p in rows(four, "clair")}
    stronger = {p.instruction.id: p.rejected for p in rows(four, "stronger-preferred")}
    judged = {p.instruction.id: {p.chosen, p.rejected} for p in rows(four, "on-policy-judge")}
    assert clair.items() <= stronger.items()
    assert all(clair[i] in judged[i] for i in clair.keys() & judged.keys())


def test_the_judge_picked_by_content_not_by_slot(four: dict[str, Any]) -> None:
    """The stand-in likes the larger number; the winner has it in whichever slot it stood."""
    found = rows(four, "on-policy-judge")
    for pair in found:
        chosen, rejected = (int(text.split(" is ")[1].split(",")[0]) for text in (pair.chosen, pair.rejected))
        assert chosen > rejected
    assert {pair.order for pair in found} == {"chosen_first", "rejected_first"}


def test_given_answers(four: dict[str, Any]) -> None:
    """First best over first worst, by the scores of the file; equal scores leave."""
    (folder,) = steps(four["run"], "off-policy-pairs")
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.drops == {"equal_scores": N // 8}
    for pair in rows(four, "off-policy-judge"):
        assert (pair.chosen, pair.chosen_score) == ("given 1", 9.0)
        number = int(pair.instruction.text.split()[2].rstrip("?"))
        assert pair.rejected == ("given 0" if number % 4 <= 1 else "given 2")


def test_the_preferences_train(four: dict[str, Any]) -> None:
    """Each pipeline ends in rows the trainer reads."""
    for name, step in PAIRS.items():
        (folder,) = steps(four["run"], step.replace("pairs", "preferences"))
        made: list[Preference] = list(read_rows(folder))
        assert len(made) == len(rows(four, name))
        assert {row.kind for row in made} == {name}


def test_a_changed_filter_asks_nothing(four: dict[str, Any]) -> None:
    """Another length ratio or parser reads the same replies again."""
    data = four["run"].parent / "prompts.jsonl"
    sets = settings("http://127.0.0.1:9/v1", data, "policy", "reviser")  # nobody answers there
    before = len(rows(four, "clair"))
    looser = ("stages.clair-pairs.length_ratio=[0.1, 9]", "stages.clair-pairs.parser=revision-notebook")
    ran = run("clair", four["run"], *sets, *looser)
    assert ran.asked == 0
    assert ran.events["clair-pairs"].rows > before


def test_rounds_of_revision(tmp_path: Path) -> None:
    """`rounds: 3` is three dataset levels of one answer, each pair with its round and contrast."""
    replies = [
        {"match": r"\{student_solution\}: (?P<a>a+)(?P<b>b*)\n",
         "reply": "{teacher_reasoning}: more\n{corrected_student_solution}:\n{{a}}{{b}}bb"},
    ]
    data = tmp_path / "in.jsonl"
    data.write_text('"Why?"\n')
    reviser = json.dumps({"use": "scripted", "replies": replies})
    policy = 'engines.policy={use: scripted, default: "aaaaaaaaaaaa"}'
    sets = (f"data.path={data}", policy, f"engines.reviser={reviser}")
    run("clair-rounds", tmp_path / "run", *sets)
    found: list[Pair] = list(read_rows(steps(tmp_path / "run", "rounds")[0]))
    assert [(p.rounds, p.contrast.levenshtein, p.rejected) for p in found] == [
        (1, 2, "a" * 12), (2, 4, "a" * 12), (3, 6, "a" * 12),
    ]
    five = run("clair-rounds", tmp_path / "run", *sets, "stages.rounds.rounds=5")
    assert five.events["rounds-3"].usage.reused == 1
    assert [five.events[name].usage.requests for name in ("rounds-4", "rounds")] == [1, 1]
    assert five.events["rounds"].rows == 5


def test_a_reviser_as_a_system(tmp_path: Path) -> None:
    """Critique, revision, verification: two revisions are tried, the one the judge prefers is kept."""
    revised = "{teacher_reasoning}: x\n{corrected_student_solution}:\nClear."
    replies = [
        {"match": "List what is wrong", "reply": ["It is vague."]},
        {"match": r"\{critique\}: It is vague", "reply": revised},
        {"match": r"\{student_solution_1\}: Clear", "reply": "[1]"},
        {"match": r"\{student_solution_2\}: Clear", "reply": "[2]"},
    ]
    data = tmp_path / "in.jsonl"
    data.write_text('"Why?"\n"How?"\n')
    reviser = json.dumps({"use": "scripted", "replies": replies})
    sets = (f"data.path={data}", 'engines.policy={use: scripted, default: "Unclear"}', f"engines.reviser={reviser}")
    ran = run("clair-system", tmp_path / "run", *sets)
    assert [ran.events[name].rows for name in ("critiques", "revisions", "clair-pairs")] == [2, 2, 2]
    assert ran.events["clair-pairs"].usage.requests == 4
