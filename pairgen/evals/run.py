"""Run a benchmark: check it, ask everything, read everything, keep every reply."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pairgen.engine import Completion, Request
from pairgen.errors import RowError
from pairgen.evals.benchmark import Benchmark, EvalItem, I, self_check
from pairgen.evals.select import selected
from pairgen.fingerprint import JSON, identity

Complete = Callable[[Request], Awaitable[list[Completion]]]
Answer = list[Completion] | RowError


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What a benchmark found: its identity, its numbers as plain JSON, and the rows behind them."""

    id: str
    identity: JSON
    metrics: dict[str, dict[str, JSON]]
    rows: tuple[EvalItem, ...]


async def run_benchmark(
    benchmark: Benchmark[I], complete: Complete, concurrency: int, told: Callable[[int], None] | None = None
) -> EvalResult:
    """Ask every item with at most `concurrency` requests in flight. `told` hears how many there are in all.

    An item with a request that the engine refuses for good is unscored. Any other error stops the run.
    """
    self_check(benchmark)
    items = selected(benchmark)
    requests = [benchmark.ask(item) for item in items]
    if told is not None:
        told(sum(map(len, requests)))
    answers = iter(await _ask_all([r for batch in requests for r in batch], complete, concurrency))
    rows = tuple(
        _row(benchmark, item, [next(answers) for _ in batch])
        for item, batch in zip(items, requests, strict=True)
    )
    return result_of(benchmark, rows)


def result_of(benchmark: Benchmark[I], rows: Sequence[EvalItem]) -> EvalResult:
    """The result that rows amount to: the same for rows just read and rows read back from disk."""
    metrics = {name: value.to_json() for name, value in benchmark.metrics(rows).items()}
    return EvalResult(benchmark.id, benchmark_identity(benchmark), metrics, tuple(rows))


def benchmark_identity(benchmark: Benchmark[I]) -> JSON:
    """Everything that can change a score, the model left out."""
    return {
        "version": benchmark.version, "outside": benchmark.outside(), "options": identity(benchmark),
    }


def _row(benchmark: Benchmark[I], item: I, answers: Sequence[Answer]) -> EvalItem:
    replies: list[list[Completion]] = []
    for answer in answers:
        if isinstance(answer, RowError):
            return EvalItem(item.id, item.group, "", (), (), error=str(answer))
        replies.append(answer)
    return benchmark.read(item, replies)


async def _ask_all(requests: Sequence[Request], complete: Complete, concurrency: int) -> list[Answer]:
    """The answers in the order of the requests; the first error cancels what is in flight."""
    answers: dict[int, Answer] = {}
    waiting = iter(enumerate(requests))

    async def worker() -> None:
        for index, request in waiting:
            try:
                answers[index] = await complete(request)
            except RowError as refused:
                answers[index] = refused

    workers = [asyncio.create_task(worker()) for _ in range(min(concurrency, len(requests)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [answers[index] for index in range(len(requests))]
