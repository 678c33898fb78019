"""What every engine promises, whatever is behind it."""

import asyncio
import json

import pytest

from pairgen.errors import RowError
from pairgen.fingerprint import canonical


def send(engine, *requests):
    """The replies to requests sent together, in order."""

    async def all_of_them():
        return await asyncio.gather(*(engine.send(request) for request in requests))

    return asyncio.run(all_of_them())


def texts(engine, raw):
    return [sample.text for sample in engine.decode(raw)]


def test_a_reply_holds_n_samples_and_charges_the_prompt_once(engine, ask):
    (raw,) = send(engine, ask("what is it?", n=4))
    samples = engine.decode(raw)
    assert len(samples) == 4
    assert samples[0].prompt_tokens > 0
    assert [s.prompt_tokens for s in samples[1:]] == [0, 0, 0]
    assert all(s.completion_tokens > 0 for s in samples)
    assert all(s.finish in ("stop", "length") for s in samples)


def test_a_nucleus_narrows_the_choice_to_the_greedy_one(local, ask):
    narrow, greedy = send(local, ask("q", top_p=1e-6), ask("q", temperature=0))
    assert texts(local, narrow) == texts(local, greedy)


def test_samples_differ_by_seed(engine, ask):
    (raw,) = send(engine, ask("what is it?", n=4))
    assert len(set(texts(engine, raw))) == 4


def test_four_and_four_more_are_eight(engine, ask):
    eight, four, more = send(engine, ask("q", n=8), ask("q", n=4), ask("q", n=4, first=4))
    assert texts(engine, eight) == texts(engine, four) + texts(engine, more)


def test_replies_do_not_depend_on_order_or_company(engine, ask):
    requests = [ask(f"question {i} " * (1 + i % 3), n=2, seed=i) for i in range(12)]
    together = send(engine, *requests)
    backwards = send(engine, *reversed(requests))
    alone = [send(engine, request)[0] for request in requests[:3]]
    assert together == backwards[::-1]
    assert alone == together[:3]


def test_the_same_requests_in_the_same_order_give_the_same_bytes(engine, ask):
    requests = [ask(f"question {i}", n=3, seed=i) for i in range(8)]
    assert send(engine, *requests) == send(engine, *requests)


def test_greedy_samples_are_all_the_same(engine, ask):
    (raw,) = send(engine, ask("q", n=3, temperature=0, seed=11))
    if engine.identity["engine"] != "scripted":
        assert len(set(texts(engine, raw))) == 1
    assert len(engine.decode(raw)) == 3


def test_a_reply_cut_at_max_tokens_says_length(engine, ask):
    (raw,) = send(engine, ask("q", max_tokens=3))
    (sample,) = engine.decode(raw)
    assert (sample.finish, sample.completion_tokens) == ("length", 3)


def test_a_stop_string_ends_the_reply_and_is_not_in_it(engine, ask):
    (full,) = send(engine, ask("q", max_tokens=30))
    text = texts(engine, full)[0]
    stop = text[4:6]
    (cut,) = send(engine, ask("q", max_tokens=30, stop=(stop,)))
    assert texts(engine, cut) == [text[: text.index(stop)]]


def test_decoding_is_pure(engine, ask):
    (raw,) = send(engine, ask("q", n=2))
    assert engine.decode(raw) == engine.decode(bytes(raw))
    json.loads(raw)


def test_identity_is_plain_json_that_holds_no_place(engine):
    text = canonical(engine.identity).decode()
    assert "/tmp" not in text
    assert "127.0.0.1" not in text


def test_a_lone_surrogate_in_the_question_is_survived(engine, ask):
    (raw,) = send(engine, ask("odd \ud800 text"))
    assert len(engine.decode(raw)) == 1


def test_a_cancelled_request_leaves_the_engine_working(engine, ask):
    async def cancel_one():
        task = asyncio.create_task(engine.send(ask("gone", max_tokens=100)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return await engine.send(ask("here"))

    assert asyncio.run(cancel_one()) == send(engine, ask("here"))[0]


def test_a_prompt_beyond_the_context_is_one_bad_row(local, ask):
    async def both():
        return await asyncio.gather(
            local.send(ask("x" * 400)), local.send(ask("fine")), return_exceptions=True
        )

    long, fine = asyncio.run(both())
    assert isinstance(long, RowError)
    assert long.reason == "too_long"
    assert len(local.decode(fine)) == 1


def test_a_reply_may_fill_the_context_and_no_more(local, ask):
    (raw,) = send(local, ask("x" * 240, max_tokens=100))
    (sample,) = local.decode(raw)
    assert sample.finish == "length"
    assert sample.prompt_tokens + sample.completion_tokens == 256


def test_new_weights_change_identity_and_answers_and_can_be_taken_back(local, ask, models):
    question = ask("q", n=2)

    async def swap():
        before, at_first = local.identity, await local.send(question)
        waiting = asyncio.gather(*(local.send(ask(str(i))) for i in range(8)))
        await asyncio.sleep(0)
        await local.load_weights(models["b"], "digest-b")
        between, in_between = local.identity, await local.send(question)
        await waiting
        await local.load_weights(models["a"], "any name")
        return before, at_first, between, in_between, local.identity, await local.send(question)

    before, at_first, between, in_between, after, in_the_end = asyncio.run(swap())
    assert between["weights"] == "digest-b"
    assert before == after != between
    assert at_first == in_the_end != in_between


def test_the_prompt_has_one_bos(local, ask, models):
    from transformers import AutoTokenizer

    (raw,) = send(local, ask("ab", max_tokens=1))
    assert local.decode(raw)[0].prompt_tokens == len(["<bos>", "<user>", "a", "b", "<assistant>"])
    double = AutoTokenizer.from_pretrained(models["a"])("<bos><user>ab<assistant>")["input_ids"]
    assert double[:2] == [1, 1], "the tokenizer must be one that invites the mistake"


def test_sleeping_and_waking_change_nothing(engine, ask):
    async def nap():
        await engine.sleep()
        await engine.wake()
        return await engine.send(ask("q"))

    assert asyncio.run(nap()) == send(engine, ask("q"))[0]


@pytest.mark.parametrize("kind", ["scripted", "openai", "vllm", "transformers"])
def test_importing_an_engine_imports_nothing_heavy(kind):
    import subprocess
    import sys

    code = (
        f"import sys, pairgen.engines.{kind}; "
        "print([m for m in ('torch', 'vllm', 'transformers', 'openai', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
