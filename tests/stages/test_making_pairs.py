"""respond, pair, split: answers and the pairs made of them."""

import random
from pathlib import Path
from typing import Any

import pytest
from sample_rows import candidates, instruction, pair, reply

from pairgen.engine import Sampling
from pairgen.prompts import load_prompt
from pairgen.records import Candidates, Drop, Message, Pair
from pairgen.stages.pair import MakePair
from pairgen.stages.respond import Respond
from pairgen.stages.split import Split


def respond(**options: Any) -> Respond:
    return Respond.model_validate({"id": "answered", "use": "respond", "engine": "policy", **options})


def make(**options: Any) -> MakePair:
    return MakePair.model_validate({"id": "pairs", "use": "pair", "engine": "policy", **options})


def similar(modified: str, answer: str) -> str:
    return (
        f"[User Question Modified]\n{modified}\n"
        "[The start of Assistant's answer to the modified instruction]\n"
        f"{answer}\n[The end of Assistant's answer to the modified instruction]"
    )


def test_respond_asks_once_for_all_samples() -> None:
    """n samples are one request, of the conversation as it is or of the prompt."""
    (request,) = respond(n=4, sampling={"temperature": 1.0}).ask(instruction("Why?"))
    assert (request.n, request.messages) == (4, (Message("user", "Why?"),))
    assert request.sampling == Sampling(temperature=1.0)
    (prompted,) = respond(prompt="world/answer.md").ask(instruction("Why?"))
    assert prompted.messages == load_prompt("world/answer.md").render(instruction="Why?")


def test_respond_leaves_bad_answers_out() -> None:
    """Cut, filtered, empty and refusing answers are left out, the rest keep their order."""
    texts = [
        reply("one"),
        reply("cut", "length"),
        reply(" \n"),
        reply("I'm sorry, but I can't help."),
        reply("two"),
    ]
    (row,) = respond(n=5).read(instruction(), [texts])
    assert isinstance(row, Candidates)
    assert [r.text for r in row.responses] == ["one", "two"]
    assert row.responses[0].model == "policy"


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("cut", "length", "truncated"),
        ("x", "content_filter", "content_filter"),
        ("", "stop", "empty"),
        ("I cannot help with that.", "stop", "refusal"),
    ],
)
def test_respond_drops_a_row_with_no_answer_left(text: str, finish: str, reason: str) -> None:
    """The first reason is the row's, and the reply is kept."""
    (drop,) = respond().read(instruction(), [[reply(text, finish)]])
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.failed, drop.raw) == (reason, True, text)


def test_keep_refusals() -> None:
    """For safety data a refusal can be the wanted answer."""
    (row,) = respond(keep_refusals=True).read(instruction(), [[reply("I cannot help with that.")]])
    assert isinstance(row, Candidates)


def test_a_pair_is_made_of_one_reply() -> None:
    """One reply writes the modified instruction and the rejected answer; the chosen is the policy's own."""
    row = candidates("Why is the sky blue?", " Because of scattering.\n")
    (made,) = make().read(row, [[reply(similar("Why is the sea blue?", "Because it absorbs red light."))]])
    assert isinstance(made, Pair)
    assert (made.chosen, made.rejected) == ("Because of scattering.", "Because it absorbs red light.")
    assert made.modified == "Why is the sea blue?"
    assert made.contrast.length_ratio == len(made.rejected) / len(made.chosen)
    assert made.instruction == row.instruction


ANSWER = "2, 3 and 5 are prime numbers."


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        (similar("Name two fish.", "Cod and hake, both in the sea."), "length", "truncated"),
        (similar("Name two fish.", "Cod and hake, both in the sea."), "content_filter", "content_filter"),
        ("Cod and hake.", "stop", "unparsed"),
        (
            similar(" list three PRIME numbers", "7, 11 and 13 are primes too."),
            "stop",
            "unchanged_instruction",
        ),
        (similar("Name primes.", " 2, 3 and 5 are prime numbers"), "stop", "unchanged_answer"),
        (similar("Name fish.", "User Question Modified: cod and hake"), "stop", "marker_leak"),
        (similar("User Question Modified\nName fish.", "cod and hake, both fish"), "stop", "marker_leak"),
        (similar("Name two fish.", "I'm sorry, but I can't help with fish."), "stop", "refusal"),
        (similar("Name a fish.", "Cod"), "stop", "length_ratio"),
        (similar("Name fish.", "Cod and hake. " * 20), "stop", "length_ratio"),
    ],
)
def test_replies_that_make_no_pair(text: str, finish: str, reason: str) -> None:
    """Each fault is a drop with its reason and the reply as received."""
    (drop,) = make().read(candidates(), [[reply(text, finish)]])
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.raw, drop.failed) == (reason, text, True)


def test_the_same_rejected_answer_twice_is_one_pair() -> None:
    """Samples that repeat each other make one pair; the others are dropped on purpose."""
    text = similar("Name two fish.", "Cod and hake are two fish.")
    first, second = make(n=2).read(candidates(), [[reply(text), reply(text)]])
    assert isinstance(first, Pair)
    assert isinstance(second, Drop)
    assert (second.reason, second.failed) == ("duplicate", False)


def test_direct_worse_is_one_option_away() -> None:
    """`construction: direct-worse` brings its own prompt, and its pairs have no modified instruction."""
    stage = make(construction="direct-worse")
    text = "[The start of the worse answer]\n4, 6 and 8 are prime numbers.\n[The end of the worse answer]"
    (made,) = stage.read(candidates(), [[reply(text)]])
    assert isinstance(made, Pair)
    assert (made.construction, made.modified) == ("direct-worse", None)
    (drop,) = stage.read(candidates(), [[reply("[The start of the worse answer]\n \n")]])
    assert isinstance(drop, Drop)
    assert drop.reason == "unparsed"


def test_a_prompt_of_the_other_construction_is_refused() -> None:
    """A run cannot be labelled direct-worse and ask for similar instructions."""
    with pytest.raises(ValueError, match=r"world/similar.md is not for construction 'direct-worse'"):
        make(construction="direct-worse", prompt="world/similar.md")
    with pytest.raises(ValueError, match=r"worse.md is not for construction 'similar-instruction'"):
        make(prompt="worse.md")


def test_a_prompt_for_each_construction() -> None:
    """`prompt` may name one file per construction, so that the ablation stays one option."""
    prompts = {"similar-instruction": "world/similar.md", "direct-worse": "world/worse.md"}
    assert make(prompt=prompts).prompt.name == "world/similar.md"
    assert make(prompt=prompts, construction="direct-worse").prompt.name == "world/worse.md"
    assert make(prompt={"direct-worse": "world/worse.md"}).prompt.name == "similar.md"


@pytest.mark.parametrize(
    ("stage", "options", "says"),
    [
        (make, {"prompt": "judge.md"}, "has holes"),
        (make, {"length_ratio": [3, 1]}, "lower end first"),
        (respond, {"prompt": "similar.md"}, "has holes"),
        (respond, {"prompt": "world/tag.md"}, "needs .'text'"),
        (make, {"prompt": "world/answer.md"}, "needs .'answer'"),
        (make, {"n": 0}, "greater than or equal"),
        (make, {"construction": "sampled-wrong"}, "similar-instruction"),
        (respond, {"id": "a/b"}, "pattern"),
    ],
)
def test_config_errors(stage: Any, options: dict[str, Any], says: str) -> None:
    """A prompt whose holes or reply do not fit the stage is refused before anything is paid for."""
    with pytest.raises(ValueError, match=says):
        stage(**options)


def test_two_rows_give_two_prompts() -> None:
    """No prompt is kept from one row to the next (the released code's defect #17)."""
    one, two = (make().ask(candidates(text))[0].messages for text in ("Why?", "Who?"))
    assert one != two
    assert make().ask(candidates("Why?"))[0].messages == one


def test_a_request_depends_on_content_and_seed_alone() -> None:
    """The same row asks the same; another row or stage seed draws otherwise."""
    assert make().ask(candidates("Why?")) == make().ask(candidates("Why?"))
    assert make().ask(candidates("Why?"))[0].seed != make().ask(candidates("Who?"))[0].seed
    assert make(seed=1).ask(candidates("Why?"))[0].seed != make().ask(candidates("Why?"))[0].seed


def split(part: str, **options: Any) -> Split:
    return Split.model_validate({"id": part, "use": "split", "part": part, **options})


def test_split_keeps_an_instruction_on_one_side() -> None:
    """All pairs of an instruction go to one side, the two parts share nothing and leave nothing out."""
    rows = [pair(f"question {i}", rejected=f"{k}") for i in range(200) for k in range(3)]
    sides = {
        part: [r for r in split(part, share=0.2).run(iter(rows)) if isinstance(r, Pair)]
        for part in ("train", "heldout")
    }
    held = {r.instruction.id for r in sides["heldout"]}
    assert not held & {r.instruction.id for r in sides["train"]}
    assert len(sides["train"]) + len(sides["heldout"]) == len(rows)
    assert 20 <= len(held) <= 60
    drops = [r for r in split("train", share=0.2).run(iter(rows)) if isinstance(r, Drop)]
    assert {(d.reason, d.failed) for d in drops} == {("other_part", False)}


def test_split_decides_row_by_row() -> None:
    """Neither order nor added rows move an instruction to the other side; another seed does."""
    rows = [pair(f"question {i}") for i in range(60)]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert set(split("heldout").run(iter(shuffled[:40]))) <= set(split("heldout").run(iter(rows)))
    other = split("heldout", seed=1, share=0.5).run(iter(rows))
    assert set(other) != set(split("heldout", share=0.5).run(iter(rows)))


def test_world_prompts_fit_their_stages() -> None:
    """The embedded world's prompts are accepted by the stages they are for."""
    assert Path(make(prompt="world/similar.md").prompt.name).name == "similar.md"
    made = make(prompt="world/similar.md").read(
        candidates("80413: largest", "=8"), [[reply("80413: smallest\n=0")]]
    )
    assert isinstance(made[0], Pair)
