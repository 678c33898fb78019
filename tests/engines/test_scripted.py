"""Scripts in YAML and in code."""

import asyncio
import time

import pytest
from pydantic import ValidationError

from pairgen.engines.scripted import ENGINE, ScriptedEngine
from pairgen.errors import RowError, UsageError


def reply(engine, request):
    return [sample.text for sample in engine.decode(asyncio.run(engine.send(request)))]


def script(**options):
    return ENGINE.model_validate({"use": "scripted", **options}).open()


def test_the_first_rule_that_matches_answers_with_its_groups(ask):
    engine = script(replies=[
        {"match": r"add (?P<left>\d+)", "reply": "{{left}} and more"}, {"match": "add", "reply": "second"},
    ])
    assert reply(engine, ask("please add 12")) == ["12 and more"]
    assert reply(engine, ask("please add it")) == ["second"]


def test_samples_walk_through_a_list_by_seed(ask):
    engine = script(default=["a", "b", "c"])
    assert reply(engine, ask("q", n=4, seed=3)) == ["a", "b", "c", "a"]


def test_what_fills_a_hole_is_not_scanned_again(ask):
    engine = script(replies=[{"match": "(?P<all>.*)", "reply": "you said {{all}}"}])
    assert reply(engine, ask("{{seed}}")) == ["you said {{seed}}"]


@pytest.mark.parametrize(
    "rule", [{"match": "(", "reply": "x"}, {"match": "x", "reply": "{{name}}"}, {"match": "x"}]
)
def test_a_rule_that_cannot_work_is_refused_when_read(rule):
    with pytest.raises(ValidationError):
        ENGINE.model_validate({"use": "scripted", "replies": [rule]})


def test_a_list_in_code_is_used_up_in_order(ask):
    engine = ScriptedEngine(["one", "two"])
    assert reply(engine, ask("q")) == ["one"]
    assert reply(engine, ask("q")) == ["two"]
    with pytest.raises(UsageError, match="2 replies"):
        reply(engine, ask("q"))


def test_a_function_in_code_sees_conversation_and_seed_and_may_refuse(ask):
    def answer(messages, seed):
        if "bad" in messages[-1].content:
            raise RowError("refused", "by script")
        return f"{messages[-1].content} {seed}"

    engine = ScriptedEngine(answer)
    assert reply(engine, ask("q", n=2, seed=5)) == ["q 5", "q 6"]
    with pytest.raises(RowError):
        reply(engine, ask("bad"))
    assert len(engine.asked) == 2


def test_each_option_off_its_default_changes_identity_or_time(ask):
    plain = script().identity
    assert script(default="other").identity != plain
    assert script(replies=[{"match": "x", "reply": "y"}]).identity != plain
    assert script(model="named").identity != plain
    assert script(latency=0.1, jitter=0.1).identity == plain
    started = time.perf_counter()
    reply(script(latency=0.05), ask("q"))
    assert time.perf_counter() - started >= 0.05
