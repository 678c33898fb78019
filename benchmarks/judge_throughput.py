"""What does pairgen cost on top of vLLM? The same judge requests through pairgen's engine (and journal),
and through a bare `LLM.generate` on the same token ids, in alternating rounds of one process.

    python benchmarks/judge_throughput.py [--model FOLDER] [--requests 1000] [--rounds 3] [--json]

Both sides draw n=4 samples with the same seeds, with an empty prefix cache at the start of each round.
The second ratio compares processor time, which a busy machine disturbs less than the clock.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pairgen.engine import Completion, Engine, Request, Sampling
from pairgen.engines.vllm import ENGINE, TURN
from pairgen.prompts import load_prompt

Ask = Callable[[Request], Awaitable[list[Completion]]]
TARGET = 0.9


def judge_requests(count: int, n: int, seed: int) -> list[Request]:
    """Judge prompts over random digits, in the form of the shipped world's judge."""
    rng = random.Random(seed)
    prompt = load_prompt("world/judge.md")
    requests = []
    for _ in range(count):
        digits = "".join(rng.choice("0123456789") for _ in range(6))
        answers = {f"answer_{side}": f"={rng.choice(digits)}" for side in "ab"}
        messages = prompt.render(instruction=f"{digits}: largest", **answers)
        sampling = Sampling(temperature=1.0, max_tokens=16)
        requests.append(Request(messages, sampling, seed=rng.randrange(2**31), n=n))
    return requests


async def through_pairgen(ask: Ask, requests: list[Request], concurrency: int) -> int:
    """Answer all requests; returns completion tokens."""
    gate = asyncio.Semaphore(concurrency)

    async def one(request: Request) -> int:
        async with gate:
            return sum(sample.completion_tokens for sample in await ask(request))

    return sum(await asyncio.gather(*map(one, requests)))


def bare(llm: Any, tokenizer: Any, requests: list[Request]) -> Callable[[], int]:
    """The same work as one `LLM.generate` call, its inputs made beforehand."""
    from vllm import SamplingParams

    prompts = [
        {"prompt_token_ids": tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in r.messages],
            tokenize=True, add_generation_prompt=True, return_dict=False,
        )}
        for r in requests
    ]
    params = [
        SamplingParams(n=r.n, seed=r.seed, temperature=s.temperature, max_tokens=s.max_tokens)
        for r in requests for s in [r.sampling]
    ]

    def run() -> int:
        with TURN:
            outputs = llm.generate(prompts, params, use_tqdm=False)
        return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)

    return run


def asker(engine: Engine, folder: Path, name: str) -> tuple[Ask, Callable[[], None]]:
    """How to ask: through an empty journal where there is one, else straight; and how to finish."""
    if name == "bare engine":

        async def straight(request: Request) -> list[Completion]:
            return engine.decode(await engine.send(request))

        return straight, lambda: None
    from pairgen.journal import Journal, Journaled

    journal = Journal.open(folder / "journal.db")
    return Journaled(engine, journal).complete, journal.close


async def on_thread(engine: Any, call: Callable[[Any], Any]) -> Any:
    """Run something with the backend on the engine's own thread."""
    found: list[Any] = []
    await engine._worker.do(lambda backend: found.append(call(backend)))
    return found[0]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Rates of both sides by round, and their ratio."""
    engine: Any = ENGINE(model=options.model, concurrency=options.concurrency).open()
    journal = "journal" if options.journal else "bare engine"
    rates: dict[str, list[float]] = {"pairgen": [], "vllm": []}
    work: dict[str, list[float]] = {"pairgen": [], "vllm": []}
    tokens: dict[str, int] = {}
    try:
        for round_ in range(-1, options.rounds):
            requests = judge_requests(options.requests, options.n, seed=round_)
            run = await on_thread(engine, lambda b, r=requests: bare(b.llm, b.tokenizer, r))
            for side in ("pairgen", "vllm") if round_ % 2 else ("vllm", "pairgen"):
                await on_thread(engine, lambda b: b.llm.reset_prefix_cache())
                with tempfile.TemporaryDirectory() as folder:
                    ask, finish = asker(engine, Path(folder), journal)
                    started, worked = time.perf_counter(), time.process_time()
                    if side == "vllm":
                        tokens[side] = await on_thread(engine, lambda b, run=run: run())
                    else:
                        tokens[side] = await through_pairgen(ask, requests, options.concurrency)
                    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
                    finish()
                if round_ >= 0:  # the round before the first warms up
                    rates[side].append(options.requests / seconds)
                    work[side].append(cpu)
            if tokens["pairgen"] != tokens["vllm"]:
                raise SystemExit(f"the two sides drew different tokens: {tokens}")
    finally:
        await engine.close()
    ratios = [p / v for p, v in zip(rates["pairgen"], rates["vllm"], strict=True)]
    return {
        "model": options.model, "requests": options.requests, "n": options.n, "journal": options.journal,
        "pairgen_requests_per_s": rates["pairgen"], "vllm_requests_per_s": rates["vllm"],
        "tokens_per_request": tokens["vllm"] / options.requests,
        "ratio": statistics.median(ratios), "ratios": ratios, "target": TARGET,
        "cpu_ratio": sum(work["vllm"]) / sum(work["pairgen"]), "cpu_seconds": work,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="builtin:world/seed-a")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=512)
    parser.add_argument("--no-journal", dest="journal", action="store_false")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for side in ("pairgen", "vllm"):
        rates = found[f"{side}_requests_per_s"]
        rounds = ", ".join(f"{rate:.0f}" for rate in rates)
        print(f"{side:8} {statistics.median(rates):8.1f} requests/s   (rounds: {rounds})")
    print(f"ratio    {found['ratio']:8.3f}   target {TARGET}")
    print(f"cpu time {found['cpu_ratio']:8.3f}   of pairgen's is vLLM's own")


if __name__ == "__main__":
    main()
