"""vLLM in this process: the same answers as transformers, true swaps, and a tidy process."""

import asyncio
import importlib.util
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from pairgen.engine import Request, Sampling
from pairgen.errors import Stopped, UsageError
from pairgen.records import Message

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
SEED_MODEL = Path(__file__).parents[2] / "data" / "world" / "seed-a"


def open_engine(kind, model, **options):
    from pairgen.registry import find

    options |= {"kv_cache_gib": 0.1} if kind == "vllm" else {}
    return find("pairgen.engines", kind).ENGINE(model=str(model), **options).open()


def texts(engine, requests):
    """Open, answer, close."""

    async def go():
        try:
            raws = await asyncio.gather(*(engine.send(r) for r in requests))
            return [[s.text for s in engine.decode(raw)] for raw in raws]
        finally:
            await engine.close()

    return asyncio.run(go())


def greedy(count):
    """Prompts of many lengths in the style of the world's tasks."""
    rng = random.Random(0)
    return [
        Request(
            (Message("user", f"{rng.randrange(10**5)}: largest " + "(A) (B) [[A]] " * rng.randrange(6)),),
            Sampling(temperature=0, max_tokens=24), seed=i,
        )
        for i in range(count)
    ]


def test_greedy_answers_equal_those_of_transformers_on_200_prompts(models):
    model = SEED_MODEL if (SEED_MODEL / "model.safetensors").exists() else models["a"]
    requests = greedy(200)
    assert texts(open_engine("vllm", model), requests) == texts(open_engine("transformers", model), requests)


@pytest.mark.parametrize("tied", [True, False])
def test_swapped_weights_answer_like_a_fresh_engine_of_them(tmp_path, tied, write_model):
    for seed, name in enumerate("ab"):
        write_model(tmp_path / name, seed, tied)
    requests = greedy(12)
    fresh = texts(open_engine("vllm", tmp_path / "b"), requests)

    async def swapped():
        engine = open_engine("vllm", tmp_path / "a")
        try:
            before = [engine.decode(await engine.send(r))[0].text for r in requests]
            started = time.perf_counter()
            await engine.load_weights(tmp_path / "b", "b")
            seconds = time.perf_counter() - started
            after = [engine.decode(await engine.send(r))[0].text for r in requests]
            with pytest.raises(UsageError, match="safetensors"):
                await engine.load_weights(tmp_path, "none")
            return before, [[text] for text in after], seconds
        finally:
            await engine.close()

    before, after, seconds = asyncio.run(swapped())
    assert after == fresh
    assert [[text] for text in before] != fresh
    assert seconds < 1


def test_many_seeded_requests_at_once_are_all_answered(models):
    requests = [
        Request((Message("user", f"{i} " * 40),), Sampling(temperature=1, max_tokens=4), seed=i, n=4)
        for i in range(150)
    ]
    assert all(len(found) == 4 for found in texts(open_engine("vllm", models["a"]), requests))


def test_a_crash_inside_vllm_fails_the_waiting_and_hangs_nobody(models, ask):
    def boom():
        raise RuntimeError("lost the model")

    async def go():
        engine = open_engine("vllm", models["a"])
        try:
            await engine._worker.do(lambda backend: setattr(backend.engine, "step", boom))
            sent = asyncio.gather(*(engine.send(ask(str(i))) for i in range(20)), return_exceptions=True)
            late = asyncio.gather(engine.send(ask("x")), return_exceptions=True)
            return await asyncio.wait_for(sent, 10), await late
        finally:
            await engine.close()

    told, later = asyncio.run(go())
    assert all(isinstance(e, Stopped) and "lost the model" in str(e) for e in [*told, *later])


def test_two_engines_live_side_by_side_and_close_in_any_order(models, ask):
    async def go():
        one = open_engine("vllm", models["a"])
        two = open_engine("vllm", models["b"])
        both = await asyncio.gather(one.send(ask("q")), two.send(ask("q")))
        await one.close()
        again = await two.send(ask("q"))
        await two.close()
        three = open_engine("vllm", models["a"])
        first = await three.send(ask("q"))
        await three.close()
        return both, again, first

    (one, two), again, first = asyncio.run(go())
    assert (again, first) == (two, one)
    assert one != two


def test_the_process_is_left_as_it_was(models, ask):
    import torch

    def state():
        return (
            torch.get_num_threads(), torch.set_num_threads, sys.excepthook, signal.getsignal(signal.SIGINT),
            random.getstate(), torch.get_rng_state().tolist(),
        )

    before = state()
    engine = open_engine("vllm", models["a"], threads=1)
    assert state() == before
    texts(engine, [ask("q")])


def test_a_folder_that_holds_no_model_is_a_usage_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError):
        open_engine("vllm", tmp_path)
