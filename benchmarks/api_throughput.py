"""API throughput: a whole job (rows, prompts, journal with fsync, shards, manifest) against a local server.

Each case runs `pairgen`'s own runner in one process and the scripted server in another, beside a bare
aiohttp client that only sends and reads. Reported are requests per second of the job, its share of the
ideal, extra 429s after the first second, launch to first request, and peak memory.

    python benchmarks/api_throughput.py [--case fast latency tail limit launch memory] [--json]
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@contextmanager
def server(**options: Any) -> Iterator[str]:
    """A scripted server; its base URL."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "api_server.py"), *flags], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def get(url: str) -> dict[str, Any]:
    """GET JSON."""
    with urllib.request.urlopen(url) as answer:
        return json.loads(answer.read())


# --- the two clients, each in a process of its own ---------------------------------------------------


def write_rows(path: Path, rows: int) -> None:
    """A prompt a line."""
    with path.open("w") as file:
        for i in range(rows):
            file.write(json.dumps({"instruction": f"Question {i}: why is it so, and since when?"}) + "\n")


def job(url: str, rows: int, concurrency: int) -> dict[str, float]:
    """One run of two steps, load and respond; the seconds are those of the step that asks."""
    from pairgen.journal import Journal
    from pairgen.pipeline.config import Pipeline, parse_parts
    from pairgen.pipeline.plan import base_steps
    from pairgen.pipeline.run import Runner

    engine = {"use": "openai", "model": "bench", "base_url": f"{url}/v1", "concurrency": concurrency}
    tree = {
        "name": "bench", "engines": {"policy": engine},
        "stages": [{"id": "answered", "use": "respond", "engine": "policy", "n": 1}],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", rows)
        pipeline = Pipeline.model_validate(parse_parts({**tree, "data": {"path": str(folder / "rows.jsonl")}}))
        with Journal.open(folder / "journal.db") as journal:
            runner = Runner(folder, pipeline, journal, lambda event: None)
            seconds = asyncio.run(_stages(runner, base_steps(pipeline)))
    return {"seconds": seconds, "cpu": time.process_time(), "peak_mib": _peak()}


async def _stages(runner: Any, steps: Any) -> float:
    named = {step.name: step for step in steps.values()}
    seconds = 0.0
    for step in named.values():
        began = time.perf_counter()
        manifest = await runner.stage(step, named)
        seconds = time.perf_counter() - began
        assert not manifest.drops, manifest.drops
    await runner.engines.close()
    return seconds


def bare(url: str, rows: int, concurrency: int) -> dict[str, float]:
    """The same calls with nothing around them."""
    return {"seconds": asyncio.run(_bare(url, rows, concurrency)), "cpu": time.process_time(), "peak_mib": _peak()}


async def _bare(url: str, rows: int, concurrency: int) -> float:
    import aiohttp

    numbers = iter(range(rows))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def worker() -> None:
            for i in numbers:
                body = {"model": "bench", "messages": [{"role": "user", "content": f"Question {i}"}]}
                async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                    json.loads(await answer.read())

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return time.perf_counter() - began


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(what: str, url: str, rows: int, concurrency: int) -> dict[str, float]:
    """Measure a client in a fresh process."""
    get(f"{url}/reset")
    command = [sys.executable, __file__, "--one", what, url, str(rows), str(concurrency)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# --- the cases -----------------------------------------------------------------------------------------


def compare(rows: int, concurrency: int, ideal: float | None, rounds: int = 1, **options: Any) -> dict[str, Any]:
    """Both clients against the same server; the best of some rounds each, since other work shares the cores."""
    found: dict[str, Any] = {"rows": rows, "concurrency": concurrency, **options}
    with server(**options) as url:
        for what in ("bare", "job"):
            runs = [in_own_process(what, url, rows, concurrency) for _ in range(rounds)]
            best = min(runs, key=lambda r: r["seconds"])
            found[what] = {**best, "per_second": rows / best["seconds"]}
            if ideal is not None:
                found[what]["of_ideal"] = found[what]["per_second"] / ideal
    found["job_over_bare"] = found["job"]["seconds"] / found["bare"]["seconds"]
    return found


def limited(rows: int, concurrency: int, tell: str, latency: float) -> dict[str, Any]:
    """1,200 requests a minute that nobody told us of."""
    with server(rpm=1200, tell=tell, latency=latency) as url:
        ran = in_own_process("job", url, rows, concurrency)
        stats = get(f"{url}/stats")
    extra = stats["refused_late"] / max(1, stats["answered_late"])
    return {
        "tell": tell, "latency": latency, "rows": rows, "seconds": ran["seconds"], "refused": stats["refused"],
        "extra_429s_after_1s": extra, "goodput": rows / ran["seconds"] / 20,
    }


def launch(rounds: int = 3) -> dict[str, Any]:
    """Seconds from starting the command to the server's first request, for ten prompts."""
    found = []
    with server() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", 10)
        tree = {
            "name": "launch", "data": {"path": str(folder / "rows.jsonl")},
            "engines": {"policy": {"use": "openai", "model": "bench", "base_url": f"{url}/v1"}},
            "stages": [{"id": "answered", "use": "respond", "engine": "policy"}],
        }
        (folder / "pipeline.yaml").write_text(json.dumps(tree))
        for i in range(rounds):
            get(f"{url}/reset")
            began = time.time()
            subprocess.run(
                [sys.executable, "-m", "pairgen", "run", str(folder / "pipeline.yaml"), "--run-dir",
                 str(folder / f"run{i}"), "--quiet"], check=True, capture_output=True, cwd=HERE.parent,
            )
            found.append({"first": get(f"{url}/stats")["first"] - began, "whole": time.time() - began})
    return min(found, key=lambda f: f["first"])


def memory(sizes: tuple[int, ...], concurrency: int) -> list[dict[str, Any]]:
    """Peak memory at growing sizes."""
    found = []
    with server() as url:
        for rows in sizes:
            ran = in_own_process("job", url, rows, concurrency)
            found.append({"rows": rows, "peak_mib": ran["peak_mib"], "per_second": rows / ran["seconds"]})
    return found


CASES = {
    "fast": lambda: compare(10_000, 64, None, rounds=2),
    "latency": lambda: compare(10_240, 512, 1024.0, latency=0.5),
    "tail": lambda: compare(1_280, 64, None, latency=0.5, slow_share=0.01, slow=5.0),
    "limit": lambda: [
        limited(400, 64, "nothing", 0.0), limited(400, 64, "nothing", 0.5), limited(400, 64, "retry", 0.0),
        limited(400, 64, "headers", 0.1),
    ],
    "launch": launch,
    "memory": lambda: memory((2_000, 20_000, 200_000), 64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--one", nargs=4, metavar=("WHAT", "URL", "ROWS", "CONCURRENCY"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.one:
        what, url, rows, concurrency = options.one
        print(json.dumps({"job": job, "bare": bare}[what](url, int(rows), int(concurrency))))
        return
    results = {}
    for name in options.case:
        results[name] = CASES[name]()
        if not options.json:
            print(f"{name}: {json.dumps(results[name], indent=1)}", flush=True)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
