"""The evaluation step of an iteration: ask the items, keep every reply, seal the numbers."""

from collections.abc import Sequence

from pairgen.engine import Completion, Request
from pairgen.evals.run import run_benchmark
from pairgen.loop.steps import Evaluation
from pairgen.pipeline.plan import Step
from pairgen.pipeline.progress import Meter
from pairgen.pipeline.run import Runner
from pairgen.store import Manifest, StepWriter


async def evaluate(runner: Runner, step: Step, sources: Sequence[Step]) -> Manifest:
    """Run a benchmark with the step's weights, unless that is done."""
    manifest = runner.reuse(step)
    if manifest is not None:
        return manifest
    runner.check_stop()
    spec: Evaluation = step.spec
    benchmark = spec.benchmark.at([s.folder(runner.folder) for s in sources])
    meter = Meter(step.name, None, runner.listen)
    async with runner.answering(step, meter) as answers:

        def told(requests: int) -> None:
            meter.total = requests

        async def complete(request: Request) -> list[Completion]:
            runner.check_stop()
            replies = await answers.complete(request)
            meter.done += 1
            meter.tell(answers.usage)
            return replies

        result = await run_benchmark(benchmark, complete, runner.concurrency(step), told)
    with StepWriter(step.folder(runner.folder), spec.writes, runner.setup.shard_rows) as writer:
        for row in result.rows:
            writer.add(row)
        meter.rows = len(result.rows)
        return runner.finish(step, sources, writer, meter, answers, result.metrics)
