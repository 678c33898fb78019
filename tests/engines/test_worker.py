"""The thread that owns a model: order, commands, and no way to hang."""

import asyncio
import threading

import pytest

from pairgen.engines._worker import Command, Job, Worker
from pairgen.errors import Stopped, UsageError


class Toy:
    """Answers one job a step. `log` keeps what it was told, in order."""

    context = 10

    def __init__(self):
        self.jobs, self.log, self.broken = [], [], False

    @property
    def busy(self):
        return bool(self.jobs)

    def admit(self, jobs):
        self.jobs += jobs
        self.log.append(len(jobs))

    def step(self):
        if self.broken:
            raise MemoryError("no room")
        job = self.jobs.pop(0)
        job.reply = b"done"
        return [job]

    def forget(self, job):
        self.jobs.remove(job)

    def load(self, folder):
        self.log.append(folder)

    def sleep(self):
        raise UsageError("no bed")

    def close(self):
        self.log.append("closed")


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def worker(toy):
    worker = Worker("toy", lambda: toy)
    yield worker
    worker.stop()


def jobs(count):
    return [Job(None, [], asyncio.get_running_loop().create_future()) for _ in range(count)]


async def waited(burst):
    return await asyncio.wait_for(asyncio.gather(*(j.waiter for j in burst), return_exceptions=True), 10)


def test_a_burst_is_admitted_whole_and_answered(worker, toy):
    async def go():
        burst = jobs(5)
        worker.post(burst)
        return await waited(burst)

    assert asyncio.run(go()) == [b"done"] * 5
    assert toy.log == [5]


def test_a_command_waits_for_what_is_in_flight_and_holds_what_comes_after(worker, toy):
    async def go():
        first, second = jobs(3), jobs(2)
        worker.post(first)
        swap = asyncio.ensure_future(worker.do(lambda backend: backend.load("new")))
        await asyncio.sleep(0)
        worker.post(second)
        await swap
        return await waited(first + second)

    assert asyncio.run(go()) == [b"done"] * 5
    assert toy.log == [3, "new", 2]


def test_a_crash_tells_everyone_waiting_and_everyone_later(worker, toy):
    async def go():
        toy.broken = True
        burst = jobs(3)
        worker.post(burst)
        told = await waited(burst)
        with pytest.raises(Stopped, match="MemoryError: no room"):
            worker.post(jobs(1))
        return told

    told = asyncio.run(go())
    assert all(isinstance(error, Stopped) for error in told)
    assert "the engine died (MemoryError: no room)" in str(told[0])
    assert isinstance(told[0].__cause__, MemoryError)


def test_a_crash_in_a_command_reaches_its_caller_and_ends_the_engine(worker):
    async def go():
        with pytest.raises(ZeroDivisionError):
            await worker.do(lambda backend: 1 / 0)
        await asyncio.sleep(0.05)
        with pytest.raises(Stopped, match="ZeroDivisionError"):
            worker.post(jobs(1))

    asyncio.run(go())


def test_an_error_of_the_users_in_a_command_leaves_the_engine_alive(worker):
    async def go():
        with pytest.raises(UsageError, match="no bed"):
            await worker.do(lambda backend: backend.sleep())
        burst = jobs(1)
        worker.post(burst)
        return await waited(burst)

    assert asyncio.run(go()) == [b"done"]


def test_a_model_that_does_not_load_raises_where_it_is_opened():
    def make():
        raise UsageError("no such model")

    with pytest.raises(UsageError, match="no such model"):
        Worker("toy", make)


def test_closing_tells_those_who_wait_and_frees_the_model(toy):
    async def go():
        worker = Worker("toy", lambda: toy)
        gate = threading.Event()
        worker.post(Command(lambda backend: gate.wait(5), __import__("concurrent.futures").futures.Future()))
        burst = jobs(2)
        worker.post(burst)
        worker._closing = True
        gate.set()
        await asyncio.to_thread(worker.stop)
        return await waited(burst)

    told = asyncio.run(go())
    assert all(isinstance(error, Stopped) or error == b"done" for error in told)
    assert toy.log[-1] == "closed"


def test_a_dropped_job_is_not_computed(worker, toy):
    async def go():
        gate = threading.Event()
        hold = asyncio.ensure_future(worker.do(lambda backend: gate.wait(5)))
        await asyncio.sleep(0)
        burst = jobs(2)
        worker.post(burst)
        worker.drop(burst[0])
        gate.set()
        await hold
        return await asyncio.wait_for(burst[1].waiter, 10)

    assert asyncio.run(go()) == b"done"
