"""Small models on a CPU: micro-batches side by side, one core each, in place of all cores in each layer.

A layer of a small model is too short to be cut up: its threads mostly wait for each other, and where
other processes compete for the cores they wait so long that two threads are slower than one (a padded
loop over a 0.86M model on two busy cores: 0.7 s a step with one thread, 4.4 s with two). Micro-batches
never wait, and since their results are taken in order, the bits do not depend on the number of cores.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from pairgen.train.heap import kept_heap

T = TypeVar("T")
R = TypeVar("R")
SMALL = 16_000_000
"""Fewer parameters than this is a small model: 64 MB in fp32, as in the engines."""
PARTS = 4
"""The least number of micro-batches a step is cut into, so that up to so many cores have work."""


class Crew:
    """Applies a function to micro-batches, results in order. Without workers it is `map`."""

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        self._pool = pool

    @property
    def parts(self) -> int:
        """The least number of micro-batches a step should have."""
        return PARTS if self._pool else 1

    @property
    def shared(self) -> bool:
        """Whether several micro-batches are in work at once, so that none may touch the parameters' `grad`."""
        return self._pool is not None

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """The results of `work`, in order."""
        return self._pool.map(work, items) if self._pool else map(work, items)


@contextmanager
def crew(side_by_side: bool) -> Iterator[Crew]:
    """Workers for a small model on a CPU, none otherwise. Torch's number of threads is put back after."""
    if not side_by_side:
        with kept_heap():
            yield Crew(None)
        return
    threads = torch.get_num_threads()
    workers = min(PARTS, len(os.sched_getaffinity(0)))
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers, "train", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Crew(pool)
    finally:
        torch.set_num_threads(threads)
