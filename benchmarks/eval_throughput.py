"""What does `pairgen eval` cost on top of vLLM? RewardBench pairs in both orders, greedy and four votes each,
through a whole evaluation (journal, parsing, sealed rows, metrics, baselines, report) and through a bare
`LLM.generate` on the same conversations, in alternating rounds of one process.

    python benchmarks/eval_throughput.py --data filtered_llmbar_hep.jsonl [--limit 1403] [--rounds 2] [--json]

The model is the shipped seed with its context stretched to fit the prompts (rotary positions, so it computes; what
it says of them is of no interest). Both sides render and tokenise within the time measured, and start each round
with an empty prefix cache.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from judge_throughput import on_thread

from pairgen.engine import Engine, EngineConfig, Request
from pairgen.engines.vllm import ENGINE, TURN
from pairgen.evals.benchmark import Benchmark
from pairgen.evals.select import selected
from pairgen.evals.suites.rewardbench import BENCHMARK
from pairgen.fingerprint import JSON
from pairgen.loop.assess import Assessment
from pairgen.loop.assessed import conclude
from pairgen.pipeline.sitting import Sitting
from pairgen.resources import resolve

TARGET = 1.1
CONTEXT = 8192
LIVE: dict[str, Engine] = {}


class Warm(EngineConfig):
    """The engine that is open already, and stays so."""

    def answers_as(self, weights: str | None = None) -> JSON:
        return LIVE[self.use].identity

    def open(self) -> Engine:
        return Kept(LIVE[self.use])


class Kept:
    """An engine that others close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def close(self) -> None:
        """Not by this one."""


def stretched(folder: Path) -> Path:
    """The shipped seed with a context of CONTEXT tokens."""
    shutil.copytree(resolve("builtin:world/seed-a"), folder)
    for name, field in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        cells = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(cells | {field: CONTEXT}))
    return folder


def bare(llm: Any, tokenizer: Any, requests: list[Request]) -> int:
    """The requests as one `LLM.generate` call; completion tokens."""
    from vllm import SamplingParams

    chats = [[{"role": m.role, "content": m.content} for m in r.messages] for r in requests]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    params = [
        SamplingParams(n=r.n, seed=r.seed, temperature=s.temperature, top_p=s.top_p, max_tokens=s.max_tokens)
        for r in requests for s in [r.sampling]
    ]
    with TURN:
        outputs = llm.generate([{"prompt_token_ids": some} for some in ids], params, use_tqdm=False)
    return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)


async def whole(benchmark: Benchmark[Any], concurrency: int, out: Path) -> int:
    """The evaluation into a new folder, report and all; completion tokens."""
    assessment = Assessment(benchmark, Warm(use="warm", model="seed", concurrency=concurrency))
    with Sitting(out, assessment.setup, {assessment.step.name: assessment.step}, config="", command="") as sitting:
        manifest = await sitting.work(assessment.run)
        conclude(out, assessment, manifest, command="benchmark", config="")
    return int(manifest.log["completion_tokens"])


async def timed(call: Callable[[], Any]) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of the processor, completion tokens."""
    started, worked = time.perf_counter(), time.process_time()
    tokens = await call()
    return time.perf_counter() - started, time.process_time() - worked, tokens


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Times of both sides by round, and their ratio."""
    sampling = {"temperature": 1.0, "max_tokens": options.max_tokens}
    benchmark: Any = BENCHMARK(
        id="rewardbench", use="rewardbench", path=options.data, limit=options.limit, votes=4, sampling=sampling,
        prompt="judge_verdict_only.md",
    )
    requests = [request for item in selected(benchmark) for request in benchmark.ask(item)]
    seconds: dict[str, list[float]] = {"eval": [], "bare": []}
    work: dict[str, list[float]] = {"eval": [], "bare": []}
    tokens: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as root:
        model = stretched(Path(root) / "model")
        engine: Any = ENGINE(model=str(model), concurrency=options.concurrency, max_model_len=CONTEXT).open()
        LIVE["warm"] = engine
        calls = {
            "bare": lambda _: on_thread(engine, lambda b: bare(b.llm, b.tokenizer, requests)),
            "eval": lambda out: whole(benchmark, options.concurrency, out),
        }
        try:
            for round_ in range(options.rounds):
                for side in ("eval", "bare") if round_ % 2 else ("bare", "eval"):
                    await on_thread(engine, lambda b: b.llm.reset_prefix_cache())
                    out = Path(root) / f"{side}-{round_}"
                    clock, cpu, tokens[side] = await timed(lambda side=side, out=out: calls[side](out))
                    seconds[side].append(clock)
                    work[side].append(cpu)
        finally:
            await engine.close()
    ratios = [a / b for a, b in zip(seconds["eval"], seconds["bare"], strict=True)]
    return {
        "items": len(requests) // 4, "requests": len(requests), "tokens": tokens, "seconds": seconds,
        "ratio": statistics.median(ratios), "ratios": ratios, "cpu_ratio": sum(work["eval"]) / sum(work["bare"]),
        "cpu_seconds": work, "target": TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="RewardBench rows: the 1,403 of LLMBar and HumanEvalPack")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['items']:,} items, {found['requests']:,} requests; completion tokens {found['tokens']}")
    for side, times in found["seconds"].items():
        print(f"{side:>5}: {', '.join(f'{t:.1f} s' for t in times)}")
    print(f"pairgen eval takes {found['ratio']:.3f} of the bare engine's time (target at most {TARGET}); "
          f"{found['cpu_ratio']:.3f} of its processor time")


if __name__ == "__main__":
    main()
