"""The processes of one training. Alone by default; under torchrun each computes its share of a step.

Every rank plans the same micro-batches and takes every `size`-th one; what they found is gathered, so
that each rank knows the whole step and objectives that mix rows are exact across ranks. All ranks go
through the same collectives in the same order: one with a smaller share takes a turn that does not
count. Where files decide what is done, the first rank looks and tells the others.
"""

import atexit
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, NoReturn, TypeVar

from pairgen.errors import PairgenError, Stopped, UsageError

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = timedelta(hours=1)
"""How long a rank waits for the others, who may be writing a large checkpoint. One that died is noticed at once."""
LAST_WORDS = 2.0
"""Seconds that a rank with nothing to say leaves the one that has to print it, before it ends too."""


@dataclass(frozen=True, slots=True)
class Turn(Generic[T]):
    """An item for this rank. One that does not count keeps it in step with the others: its gradient is nil."""

    item: T
    counts: bool


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def turns(self, items: Sequence[T]) -> list[Turn[T]]:
        """This rank's share of a list that all ranks hold, as many turns as every other rank has."""
        found = [Turn(item, True) for item in items[self.rank :: self.size]]
        idle = math.ceil(len(items) / self.size) - len(found)
        return found + [Turn(item, False) for item in items[:idle]]

    def map(self, work: Callable[[T], R], items: Sequence[T],
            how: Callable[[Callable[[T], R], Iterable[T]], Iterable[R]] = map) -> list[R]:
        """`work` of all items, each computed by one rank and known to all. `how` is the crew's map."""
        turns = self.turns(items)
        found = how(work, [turn.item for turn in turns])
        return self.gathered([each for turn, each in zip(turns, found, strict=True) if turn.counts])

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all ranks, rank by rank."""
        if self.size == 1:
            return items
        import torch.distributed as dist

        shares: list[Any] = [None] * self.size
        dist.all_gather_object(shares, items)
        return [item for share in shares for item in share]

    def told(self, look: Callable[[], T]) -> T:
        """What the first rank sees: for all that hangs on files, which another rank may see sooner or later."""
        if self.size == 1:
            return look()
        import torch.distributed as dist

        seen: list[Any] = [look() if self.first else None]
        dist.broadcast_object_list(seen)
        found: T = seen[0]
        return found

    def wait(self) -> None:
        """Until all ranks are here."""
        self.gathered([None])

    def agreed(self, error: BaseException | None) -> BaseException | None:
        """What all ranks stop for if one must: its own error there, word of it on the others."""
        words = self.gathered([None if error is None else (str(error), getattr(error, "exit_code", 1))])
        if error is None and (told := next((word for word in words if word), None)):
            return Elsewhere(*told)
        return error


ALONE = Ranks()


class Elsewhere(PairgenError):
    """Another rank stopped, and says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def join() -> Iterator[Ranks]:
    """The ranks that torchrun started, or ALONE: reads RANK, WORLD_SIZE and LOCAL_RANK.

    An error on any rank ends all of them, and one of them raises it: the others leave without a word.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    import torch.distributed as dist

    ranks = Ranks(int(os.environ["RANK"]), size)
    _connect(ranks)
    try:
        yield ranks
    except BaseException as error:
        _end(error)
    ranks.wait()
    dist.destroy_process_group()
    atexit.register(_leave)


def _leave() -> None:
    """End without taking the interpreter apart: torch's threads of a group that is gone then sometimes abort
    the process (one time in ten with torch 2.13 and gloo), after all is done and written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if getattr(sys, "last_type", None) else 0)


def _connect(ranks: Ranks) -> None:
    """Objects and CPU tensors go over gloo, CUDA tensors over nccl, each rank on the GPU of its local number."""
    import torch
    import torch.distributed as dist

    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=PATIENCE)
        return
    local = int(os.environ.get("LOCAL_RANK", ranks.rank))
    if local >= torch.cuda.device_count():
        raise UsageError(f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; "
                         "start as many processes with --nproc-per-node")
    torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE)


def _end(error: BaseException) -> NoReturn:
    """Raise the error on the rank that had it first; elsewhere leave quietly, with its exit code."""
    lost = _is_loss(error)
    if lost:
        time.sleep(LAST_WORDS / 4)  # whoever closed the connection has claimed the word by now
    if not isinstance(error, Elsewhere) and _speaks(otherwise=lost):
        if lost:
            raise Stopped("another process of this training was ended; the same command goes on "
                          "from the last state kept") from error
        raise error
    time.sleep(LAST_WORDS)
    os._exit(130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 75 if lost else 1))


def _is_loss(error: BaseException) -> bool:
    """Whether another rank went away in the middle of something."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def _speaks(otherwise: bool) -> bool:
    """Whether this is the first rank that claims the word; `otherwise` if the list went with its keeper."""
    from torch.distributed import distributed_c10d

    try:
        return bool(distributed_c10d._get_default_store().add("pairgen/stopped", 1) == 1)
    except RuntimeError:
        return otherwise
