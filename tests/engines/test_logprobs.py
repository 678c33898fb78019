"""The likeliest first tokens of a reply: what a judge would have said before it says anything."""

import asyncio
import json
import math
from dataclasses import replace

import pytest

from pairgen.engine import Completion, Request, Sampling
from pairgen.engines._body import samples
from pairgen.engines._reply import pack, unpack
from pairgen.engines.scripted import ScriptedEngine
from pairgen.journal.keys import sample_key
from pairgen.records import Message


def send(engine, *requests):
    async def all_of_them():
        return await asyncio.gather(*(engine.send(request) for request in requests))

    return [engine.decode(raw) for raw in asyncio.run(all_of_them())]


def forward(models, text):
    """The log-probabilities of the first token by one plain forward pass, by the token's text."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models["a"])
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logps = AutoModelForCausalLM.from_pretrained(models["a"])(ids).logits[0, -1].double().log_softmax(-1)
    best = logps.topk(5)
    return [(tokenizer.decode([token]), value) for token, value in zip(best.indices, best.values.tolist(), strict=True)]


def test_the_first_tokens_are_those_of_a_plain_forward_pass(local, ask, models):
    """Whatever the temperature, the log-probabilities are those of the model itself."""
    asked = [replace(ask("A or B?", temperature=t, max_tokens=2), logprobs=5) for t in (0, 0.5)]
    expected = forward(models, "<bos><user>A or B?<assistant>")
    for (reply,) in send(local, *asked):
        found = reply.first_logprobs[:5]
        assert [text for text, _ in found] == [text for text, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=2e-4)


def test_an_answer_that_was_begun_is_continued(local, models):
    """A conversation that ends in the assistant's turn is not closed: the next token follows its last."""
    begun = (Message("user", "A or B?"), Message("assistant", "[["))
    ((reply,),) = send(local, Request(begun, Sampling(temperature=0, max_tokens=1), 1, logprobs=5))
    expected = forward(models, "<bos><user>A or B?<assistant>[[")
    assert [text for text, _ in reply.first_logprobs[:5]] == [text for text, _ in expected]


def test_who_does_not_ask_gets_none_and_the_same_bytes(local, ask):
    plain, asked = (replace(ask("q", n=2), logprobs=count) for count in (0, 3))
    (one, two), (three, four) = send(local, plain, asked)
    assert one.first_logprobs is None
    assert two.first_logprobs is None
    assert [replace(three, first_logprobs=None), replace(four, first_logprobs=None)] == [one, two]
    assert len(three.first_logprobs) >= 3


def test_no_key_of_a_request_made_before_there_were_any_has_changed():
    """The key as the code computed it before `logprobs` existed."""
    turns = (Message("system", "Judge."), Message("user", "A or B?"))
    request = Request(turns, Sampling(temperature=0.0, max_tokens=9, stop=("x",)), 5, n=2, first=1)
    engine = {"engine": "scripted", "model": "m"}
    key = "eb80b97f177d04812bcf24a007c1e618e0b6a0e47deb7021a3cb2200fc8fe1da"
    assert sample_key(engine, request, 1).hex() == key
    assert sample_key(engine, replace(request, logprobs=20), 1).hex() != key


def test_raw_replies_keep_them_and_are_unchanged_without():
    plain = Completion("A", "stop", 3, 1)
    assert b"first_logprobs" not in pack([plain])
    full = replace(plain, first_logprobs=(("A", -0.25), (" B", -1.5)))
    assert unpack(pack([plain, full])) == [plain, full]


def test_a_server_is_asked_for_them_and_its_answer_read(server, running_server):
    """The field of the API is read at the first token; a server that gives none gives None."""
    from pairgen.engines.openai import OpenAIConfig

    engine = OpenAIConfig(model="fake", base_url=running_server.url).open()
    top = [{"token": "A", "logprob": -0.1}, {"token": " B", "logprob": -2.5}]
    choice = {"message": {"content": "A"}, "finish_reason": "length", "logprobs": {"content": [{"top_logprobs": top}]}}
    server.body = json.dumps({"choices": [choice]}).encode()
    request = Request((Message("user", "q"),), Sampling(max_tokens=1), 1, logprobs=7)

    async def both():
        asked = engine.decode(await engine.send(request)), dict(server.last)
        server.body = None
        return asked, engine.decode(await engine.send(replace(request, logprobs=0))), dict(server.last)

    (asked, body), plain, later = asyncio.run(both())
    assert (body["logprobs"], body["top_logprobs"]) == (True, 7)
    assert asked[0].first_logprobs == (("A", -0.1), (" B", -2.5))
    assert plain[0].first_logprobs is None
    assert "logprobs" not in later


@pytest.mark.parametrize("logprobs", [None, {}, {"content": []}, {"content": [{"token": "A"}]}, {"content": None}])
def test_a_reply_without_them_is_read_all_the_same(logprobs):
    body = {"choices": [{"message": {"content": "A"}, "logprobs": logprobs}]}
    assert samples(json.dumps(body).encode())[0].first_logprobs is None


def test_a_script_is_certain_of_its_first_word():
    engine = ScriptedEngine(["A is better"])
    ((reply,),) = send(engine, Request((Message("user", "q"),), Sampling(), 1, logprobs=20))
    assert reply.first_logprobs == (("A", 0.0),)
    assert math.exp(reply.first_logprobs[0][1]) == 1
