"""The pipeline's own cost per row: everything but the model.

Rows go through respond and pair with scripted replies, journaled and sharded as in a real run. The
figures are rows per second and peak memory at N and at 10 N rows: memory must not grow with rows.

    python benchmarks/row_cost.py [--rows 20000] [--json]
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TREE = {
    "name": "row-cost",
    "engines": {"policy": {"use": "scripted", "model": "scripted", "replies": [
        {"match": "(?s)^Below are a user question", "reply": (
            "[User Question Modified]\nAnother question about the same thing?\n"
            "[The start of Assistant's answer to the modified instruction]\n" + "A fitting answer to it. " * 20
            + "\n[The end of Assistant's answer to the modified instruction]"
        )},
        {"match": "", "reply": "A plain answer of some forty words. " * 10},
    ]}},
    "stages": [
        {"id": "answered", "use": "respond", "engine": "policy"},
        {"id": "pairs", "use": "pair", "engine": "policy"},
    ],
}


def measure(rows: int) -> dict[str, float]:
    """Rows per second and peak memory of one run in this process."""
    from pairgen.journal import Journal
    from pairgen.pipeline.config import Pipeline, parse_parts
    from pairgen.pipeline.plan import base_steps
    from pairgen.pipeline.run import Runner

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "instructions.jsonl"
        with source.open("w") as file:
            file.writelines(json.dumps({"instruction": f"Question {i}: why is it so?"}) + "\n" for i in range(rows))
        pipeline = Pipeline.model_validate(parse_parts({**TREE, "data": {"path": str(source)}}))
        began = time.perf_counter()
        with Journal.open(folder / "journal.db") as journal:
            runner = Runner(folder, pipeline, journal, lambda event: None)
            asyncio.run(_steps(runner, base_steps(pipeline)))
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "seconds": seconds, "rows_per_second": 2 * rows / seconds, "peak_mib": peak}


async def _steps(runner, steps) -> None:
    named = {step.name: step for step in steps.values()}
    for step in named.values():
        await runner.stage(step, named)
    await runner.engines.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--one", action="store_true", help="measure once in this process")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.rows)))
        return
    results = [_in_own_process(options.rows * factor) for factor in (1, 10)]
    if options.json:
        print(json.dumps(results))
        return
    for r in results:
        speed = f"{r['rows_per_second']:>7,.0f} rows/s through an LLM stage"
        print(f"{r['rows']:>8,} rows  {speed}  peak {r['peak_mib']:,.0f} MiB")
    print(f"memory at 10x the rows: {results[1]['peak_mib'] / results[0]['peak_mib']:.2f}x")


def _in_own_process(rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", "--rows", str(rows)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
