"""Measures over a stream of chunks on all cores: in order, with a bounded number of chunks in flight.

Workers are fresh interpreters, never forks: a fork of a process with threads may hang. A chunk's texts cross to a
worker once; only numbers come back.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice

from pairgen.audit.columns import Columns, Measure, Measured
from pairgen.errors import Stopped

IN_FLIGHT = 2
"""Chunks a worker: one that it measures, one that waits for it."""
WORTH_STARTING = 4
"""Up to so many chunks are measured here, in less time than workers need to start."""


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk and its columns."""

    chunk: Columns
    found: Measured


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def measured(chunks: Iterable[Columns], measures: Sequence[Measure], workers: int | None = None) -> Iterator[Done]:
    """Every chunk with its columns, in the order of the chunks. `workers` is the number of cores by default.

    With one worker, or for a few chunks, everything happens here. Raises Stopped when a worker dies, and
    whatever a measure raises.
    """
    workers = workers or cores()
    source = iter(chunks)
    first = list(islice(source, WORTH_STARTING + 1)) if workers > 1 else []
    if len(first) <= WORTH_STARTING:
        yield from (Done(chunk, measure(chunk, measures)) for chunk in chain(first, source))
        return
    yield from _spread(chain(first, source), measures, workers)


def measure(chunk: Columns, measures: Sequence[Measure]) -> Measured:
    """All columns of a chunk. A name that two measures give is a mistake and raises ValueError."""
    columns: Measured = {"row": chunk.rows}
    for one in measures:
        found = one(chunk)
        if twice := columns.keys() & found.keys():
            raise ValueError(f"columns measured twice: {', '.join(sorted(twice))}")
        columns |= found
    return columns


def _spread(chunks: Iterable[Columns], measures: Sequence[Measure], workers: int) -> Iterator[Done]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_settle)
    waiting: deque[tuple[Columns, Future[Measured]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(measure, chunk, measures)))
            if len(waiting) == IN_FLIGHT * workers:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    except BrokenProcessPool as error:
        rows = f" near row {waiting[0][0].rows[0]:,}" if waiting else ""
        raise Stopped(
            f"a worker died{rows}, most likely for want of memory: run again with fewer than {workers} workers "
            "(--workers)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(waiting: deque[tuple[Columns, Future[Measured]]]) -> Done:
    """The oldest chunk in flight, once it is measured."""
    done = Done(waiting[0][0], waiting[0][1].result())
    waiting.popleft()
    return done


def _settle() -> None:
    """Leave Ctrl-C to the parent, and go when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_outlive_nobody, daemon=True).start()


def _outlive_nobody() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
