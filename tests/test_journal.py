"""What was answered is kept before anyone sees it, and never asked again."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pairgen.engine import Completion, Request, Sampling
from pairgen.errors import Damaged, Refused, RowError, Stopped, StorageError
from pairgen.failpoints import arm
from pairgen.fingerprint import JSON
from pairgen.journal import Bill, Journal, Journaled, count_answered, file, read_spent, sample_key, tables
from pairgen.records import Message
from pairgen.store import Usage

HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm(None)


def ask(text: str = "q", n: int = 1, first: int = 0, **sampling: Any) -> Request:
    """A request."""
    return Request((Message("user", text),), Sampling(**sampling), seed=7, n=n, first=first)


@dataclass
class Fake:
    """An engine that counts. Sample i of a conversation is always the same text."""

    model: str = "m"
    most: int = 1000
    delay: float = 0.0
    error: Exception | None = None
    junk: bytes | None = None
    sent: list[Request] = field(default_factory=list)

    @property
    def identity(self) -> JSON:
        return {"use": "fake", "model": self.model}

    async def send(self, request: Request) -> bytes:
        self.sent.append(request)
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        samples = range(request.first, request.first + min(request.n, self.most))
        texts = [f"{self.model}/{request.messages[-1].content}/{request.seed + i}" for i in samples]
        return self.junk if self.junk is not None else json.dumps(texts).encode()

    def decode(self, raw: bytes) -> list[Completion]:
        return [Completion(text, "stop", 3 * (i == 0), 2) for i, text in enumerate(json.loads(raw))]

    async def load_weights(self, folder: Path, weights: str) -> None:
        self.model = weights

    async def sleep(self) -> None: ...

    async def wake(self) -> None: ...

    async def close(self) -> None: ...


Work = Callable[[Journal], Awaitable[None]]


def with_journal(path: Path, work: Work) -> None:
    """Run some work on an open journal."""

    async def main() -> None:
        with Journal.open(path) as journal:
            await work(journal)

    asyncio.run(main())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.db"


# --- the file


def test_kept_across_openings(path: Path) -> None:
    """What one process put, the next one gets: raw bytes as received, with the choice each key stands for."""
    raw = b"\xff\x00 not utf-8"
    with_journal(path, lambda journal: journal.put([b"a", b"b"], raw, "who"))
    with Journal.open(path) as journal:
        assert journal.get([b"b", b"nobody", b"a"]) == {b"a": (raw, 0), b"b": (raw, 1)}
        found = journal.get([b"a", b"b"])
        assert found[b"a"][0] is found[b"b"][0]


def test_never_replaced(path: Path) -> None:
    """A late duplicate does not replace an answer that may have been used already."""

    async def work(journal: Journal) -> None:
        await journal.put([b"a"], b"first")
        await journal.put([b"a", b"b"], b"second")

    with_journal(path, work)
    with Journal.open(path) as journal:
        assert journal.get([b"a", b"b"]) == {b"a": (b"first", 0), b"b": (b"second", 1)}


def test_many_keys_at_once(path: Path) -> None:
    """A lookup of more keys than SQLite takes in one statement works."""
    keys = [i.to_bytes(32, "big") for i in range(2500)]
    with_journal(path, lambda journal: journal.put(keys, b"raw"))
    with Journal.open(path) as journal:
        assert len(journal.get([*keys, b"nobody"])) == 2500


def test_put_returns_after_the_commit(path: Path) -> None:
    """When `put` has returned, another connection sees the answer."""

    async def work(journal: Journal) -> None:
        for i in range(20):
            await journal.put([bytes([i])], b"raw")
            assert count_answered(path, [bytes([i])]) == 1

    with_journal(path, work)


def test_private(path: Path) -> None:
    """Only the owner may read what was asked and answered."""

    async def work(journal: Journal) -> None:
        await journal.put([b"a"], b"raw")
        for written in path.parent.iterdir():
            assert stat.S_IMODE(written.stat().st_mode) == 0o600, written.name

    with_journal(path, work)


def test_durable_settings(path: Path) -> None:
    """Every commit is synced, also that of the write-ahead log."""

    async def work(journal: Journal) -> None:
        writer: sqlite3.Connection = journal._writer
        assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    with_journal(path, work)


def test_second_process_is_refused(path: Path) -> None:
    """A second opener learns who has the journal; after that one is gone, it opens."""
    with Journal.open(path):
        code = "import sys; from pairgen.journal.file import Journal, Path; Journal.open(Path(sys.argv[1]))"
        run = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=HERE.parent)
        assert f"Stopped: {path.parent} is in use by process {os.getpid()} " in done.stderr
    Journal.open(path).close()


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_not_a_journal(path: Path, content: bytes) -> None:
    """A file that is no database is refused by name and stays as it is."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Damaged, match=str(path)):
        Journal.open(path)
    assert path.read_bytes() == content


def test_foreign_database(path: Path) -> None:
    """A database of another program, or of a later pairgen, is refused."""
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(Damaged, match="expected version 2"):
        Journal.open(path)
    path.unlink()
    Journal.open(path).close()
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 3")
    later.close()
    with pytest.raises(Damaged, match="expected version 2"):
        Journal.open(path)


def test_altered_reply(path: Path) -> None:
    """A reply whose bytes changed on disk is refused, not served."""
    with_journal(path, lambda journal: journal.put([b"a"], b"the answer is A"))
    path.write_bytes(path.read_bytes().replace(b"answer is A", b"answer is B"))
    with Journal.open(path) as journal, pytest.raises(Damaged, match="crc"):
        journal.get([b"a"])


def test_torn_log(path: Path) -> None:
    """A write-ahead log whose tail was torn or zeroed loses no committed answer before it."""

    async def work(journal: Journal) -> None:
        for i in range(50):
            await journal.put([bytes([i])], b"raw" * 400)
        for name in ("journal.db", "journal.db-wal"):
            (path.parent / f"copy-{name}").write_bytes((path.parent / name).read_bytes())

    with_journal(path, work)
    copy, log = path.parent / "copy-journal.db", path.parent / "copy-journal.db-wal"
    log.write_bytes(log.read_bytes()[:-5000] + bytes(5000))
    with Journal.open(copy) as journal:
        assert len(journal.get([bytes([i]) for i in range(45)])) == 45


def test_closed(path: Path) -> None:
    """A closed journal takes nothing more and does not keep anyone waiting."""

    async def work() -> None:
        journal = Journal.open(path)
        waiting = [asyncio.create_task(journal.put([bytes([i])], b"raw")) for i in range(50)]
        await asyncio.sleep(0)
        journal.close()
        await asyncio.gather(*waiting)
        with pytest.raises(StorageError, match="closed"):
            await journal.put([b"x"], b"raw")

    asyncio.run(work())
    assert count_answered(path, [bytes([i]) for i in range(50)]) == 50


@pytest.mark.parametrize("point", ["journal.begin", "journal.commit", "journal.committed"])
@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_failed_commit_stops_everyone(path: Path, point: str, action: str) -> None:
    """After a failed commit every waiter and every later put is told at once; nobody waits forever."""

    async def work(journal: Journal) -> None:
        await journal.put([b"before"], b"raw")
        arm(f"{point}:1:{action}")
        puts = (journal.put([bytes([i])], b"raw") for i in range(100))
        results = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), 5)
        assert all(isinstance(result, StorageError) for result in results)
        assert str(path) in str(results[0])
        with pytest.raises(StorageError):
            await asyncio.wait_for(journal.put([b"late"], b"raw"), 1)
        assert set(journal.get([b"before", b"late"])) == {b"before"}

    with_journal(path, work)
    arm(None)
    with_journal(path, lambda journal: journal.put([b"late"], b"raw"))
    assert count_answered(path, [b"before", b"late"]) == 2


def test_full_database(path: Path) -> None:
    """When SQLite itself finds no room, the message says what to do; after that the journal goes on."""

    async def work(journal: Journal) -> None:
        journal._writer.execute("PRAGMA max_page_count = 20")
        puts = (journal.put([bytes([i])], b"raw" * 1000) for i in range(200))
        with pytest.raises(StorageError, match="full; free some space"):
            await asyncio.gather(*puts)

    with_journal(path, work)
    with_journal(path, lambda journal: journal.put([b"after"], b"raw"))
    assert count_answered(path, [b"after"]) == 1


def test_writer_bug_stops_everyone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a bug in the writer thread reaches the waiters."""

    def explode(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pairgen.journal.file.insert", explode)

    async def work(journal: Journal) -> None:
        with pytest.raises(StorageError, match="ZeroDivisionError"):
            await asyncio.wait_for(journal.put([b"a"], b"raw"), 5)

    with_journal(path, work)


KILLED = """
import asyncio, os, sys, pathlib
from pairgen.journal import Journal
async def main():
    with Journal.open(pathlib.Path(sys.argv[1])) as journal:
        async def worker(w):
            for i in range(10_000):
                await journal.put([f"{w}-{i}".encode()], b"raw" * 100)
                os.write(1, f"{w}-{i}\\n".encode())
        await asyncio.gather(*map(worker, range(16)))
asyncio.run(main())
"""


def test_kill_loses_nothing_acknowledged(path: Path) -> None:
    """After SIGKILL at any moment, everything `put` had returned for is there."""
    kept: list[bytes] = []
    for _ in range(5):
        path.unlink(missing_ok=True)
        for log in path.parent.glob("journal.db-*"):
            log.unlink()
        run = [sys.executable, "-c", KILLED, str(path)]
        child = subprocess.Popen(run, stdout=subprocess.PIPE, cwd=HERE.parent)
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(100 + 400 * len(kept))]
        child.kill()
        acknowledged += child.stdout.read().splitlines(keepends=True)
        child.wait()
        keys = [line.strip() for line in acknowledged if line.endswith(b"\n")]
        assert count_answered(path, keys) == len(keys)
        kept.append(keys[-1])


@pytest.mark.parametrize("point", ["journal.create", "journal.begin", "journal.commit", "journal.committed"])
def test_kill_at_a_commit(path: Path, point: str) -> None:
    """Killed around a commit, the journal opens again and holds the transaction whole or not at all."""
    child = os.fork()
    if child == 0:
        arm(f"{point}:1")
        with_journal(path, lambda journal: journal.put([b"a", b"b"], b"raw"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with Journal.open(path) as journal:
        assert len(journal.get([b"a", b"b"])) == (2 if point == "journal.committed" else 0)


def test_count_answered(path: Path) -> None:
    """Counting needs no lock, no journal, and no file."""
    assert count_answered(path, [b"a"]) == 0
    with_journal(path, lambda journal: journal.put([b"a", b"b"], b"raw"))
    with Journal.open(path):
        assert count_answered(path, [b"a", b"a", b"b", b"c"]) == 2


# --- keys


def test_key_is_what_was_asked() -> None:
    """Every field that can change an answer changes the key; how many are asked for at once does not."""
    asked = ask(n=4)
    changed = [
        replace(asked, messages=(Message("system", "q"),)),
        replace(asked, messages=(Message("user", "q "),)),
        replace(asked, messages=(Message("user", "q"), Message("user", "q"))),
        replace(asked, seed=8),
        *[replace(asked, sampling=Sampling(**change)) for change in
          ({"temperature": 0.6}, {"top_p": 0.9}, {"max_tokens": 9}, {"stop": ("x",)})],
    ]
    keys = {sample_key({"model": "m"}, request, 0) for request in [asked, *changed]}
    keys |= {sample_key({"model": "m"}, asked, 1), sample_key({"model": "n"}, asked, 0)}
    assert len(keys) == len(changed) + 3
    assert sample_key("e", replace(asked, n=9, first=3), 0) == sample_key("e", asked, 0)
    assert {len(key) for key in keys} == {32}


def test_key_survives_any_text() -> None:
    """A lone surrogate in a message has a key of its own."""
    assert sample_key("e", ask("\ud800"), 0) != sample_key("e", ask("\ud801"), 0)


def test_key_is_stable() -> None:
    """The key of a known request never changes: a change here would buy every journal again."""
    key = sample_key({"use": "openai", "model": "gpt"}, ask("What is 2 + 2?", temperature=0.5), 3)
    assert key.hex() == "c9fe264c22c9ca060df4cd8cb57d64d2fd9114038d809147e33d96ed29ea2c21"


# --- the engine


def test_bought_once(path: Path) -> None:
    """What was answered is served from the journal, in the same process and in the next."""
    engine = Fake()

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        assert await answers.complete(ask(n=3)) == await answers.complete(ask(n=3))
        assert (answers.usage.requests, answers.usage.reused) == (1, 3)
        assert (answers.usage.prompt_tokens, answers.usage.completion_tokens) == (3, 6)

    with_journal(path, work)

    async def again(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        assert [c.text for c in await answers.complete(ask(n=3))] == ["m/q/7", "m/q/8", "m/q/9"]
        assert answers.usage.requests == 0

    with_journal(path, again)
    assert len(engine.sent) == 1


def test_more_samples_pay_for_the_new_ones(path: Path) -> None:
    """Asking for 8 after 4 buys 4 more and gives the eight texts that asking for 8 at once gives."""
    engine = Fake()

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        await answers.complete(ask(n=4))
        grown = await answers.complete(ask(n=8))
        assert [(r.first, r.n) for r in engine.sent] == [(0, 4), (4, 4)]
        assert grown == [replace(c, prompt_tokens=p.prompt_tokens) for c, p in
                         zip(await Journaled(Fake(), None).complete(ask(n=8)), grown, strict=True)]

    with_journal(path, work)


def test_gaps_are_filled(path: Path) -> None:
    """Each unbroken run of missing samples is one request."""
    engine = Fake()

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        await answers.complete(ask(n=1, first=2))
        await answers.complete(ask(n=2, first=5))
        texts = [c.text for c in await answers.complete(ask(n=8))]
        assert texts == [f"m/q/{7 + i}" for i in range(8)]
        assert [(r.first, r.n) for r in engine.sent[2:]] == [(0, 2), (3, 2), (7, 1)]

    with_journal(path, work)


def test_short_replies_are_kept_and_continued(path: Path) -> None:
    """A server that gives fewer choices than asked is asked for the rest, and what came is kept."""
    engine = Fake(most=3)

    async def work(journal: Journal) -> None:
        texts = [c.text for c in await Journaled(engine, journal).complete(ask(n=8))]
        assert texts == [f"m/q/{7 + i}" for i in range(8)]
        assert [(r.first, r.n) for r in engine.sent] == [(0, 8), (3, 5), (6, 2)]

    with_journal(path, work)


def test_empty_reply_is_a_row_error(path: Path) -> None:
    """A reply without any choice costs one row and is not asked for ever."""

    async def work(journal: Journal) -> None:
        with pytest.raises(RowError, match="empty_reply"):
            await Journaled(Fake(most=0), journal).complete(ask(n=2))

    with_journal(path, work)


def test_malformed_reply_is_kept_and_costs_one_row(path: Path) -> None:
    """A reply that cannot be decoded is kept as evidence, answers nothing, and is asked again next time."""
    engine = Fake(junk=b"<html>oops")

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        with pytest.raises(RowError, match="unreadable_reply"):
            await answers.complete(ask())
        engine.junk = None
        assert [c.text for c in await answers.complete(ask())] == ["m/q/7"]

    with_journal(path, work)
    kept = sqlite3.connect(path).execute("SELECT raw, note FROM replies ORDER BY id").fetchall()
    assert kept[0] == (b"<html>oops", '{"model":"m","use":"fake"}')


@pytest.mark.parametrize("error", [RowError("too_long", "x"), Stopped("server down")])
def test_errors_are_never_kept(path: Path, error: Exception) -> None:
    """A request that failed is asked anew by whoever asks again."""
    engine = Fake(error=error)

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        for _ in range(2):
            with pytest.raises(type(error)):
                await answers.complete(ask())
        engine.error = None
        await answers.complete(ask())
        assert len(engine.sent) == 3

    with_journal(path, work)


def test_same_request_in_flight_is_sent_once(path: Path) -> None:
    """Rows that ask the same thing at the same moment pay once, also when they want different numbers."""
    engine = Fake(delay=0.02)

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        results = await asyncio.gather(*(answers.complete(ask(n=1 + i % 4)) for i in range(40)))
        assert sum(r.n for r in engine.sent) == 4
        assert all(result[0] == results[0][0] for result in results)

    with_journal(path, work)


def test_weights_are_part_of_the_question(path: Path) -> None:
    """New weights behind the same engine are asked afresh."""
    engine = Fake()

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        await answers.complete(ask())
        await engine.load_weights(Path(), "iteration 1")
        assert [c.text for c in await answers.complete(ask())] == ["iteration 1/q/7"]

    with_journal(path, work)


def test_without_a_journal_it_asks_every_time() -> None:
    """The same code path works with nothing kept."""
    engine = Fake(most=2)

    async def work() -> None:
        answers = Journaled(engine, None)
        assert len(await answers.complete(ask(n=3))) == 3
        assert len(await answers.complete(ask(n=3))) == 3
        assert len(engine.sent) == 4

    asyncio.run(work())


def test_nothing_is_bought_that_cannot_be_kept(path: Path) -> None:
    """After a failed commit no request is sent."""
    engine = Fake()

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        arm("journal.commit:1:enospc")
        rows = (answers.complete(ask(str(i))) for i in range(8))
        results = await asyncio.gather(*rows, return_exceptions=True)
        assert all(isinstance(result, StorageError) for result in results)
        with pytest.raises(StorageError):
            await answers.complete(ask("more"))
        assert len(engine.sent) <= 8

    with_journal(path, work)


def test_cancelled_caller_keeps_the_purchase(path: Path) -> None:
    """An answer in flight when its row is cancelled is awaited by `drain` and kept; nothing more is sent."""
    engine = Fake(delay=0.05)

    async def work(journal: Journal) -> None:
        answers = Journaled(engine, journal)
        rows = [asyncio.create_task(answers.complete(ask(str(i // 2)))) for i in range(20)]
        await asyncio.sleep(0.01)
        for row in rows:
            row.cancel()
        await answers.drain()
        assert len(engine.sent) == 10
        with pytest.raises(Stopped):
            await answers.complete(ask("new"))

    with_journal(path, work)
    assert count_answered(path, [sample_key(engine.identity, ask(str(i)), 0) for i in range(10)]) == 10


def test_drain_does_not_wait_for_ever(path: Path) -> None:
    """A server that hangs is left after the time given; a disk that is full is not waited for at all."""

    async def work(journal: Journal) -> None:
        for wait, limit in ((0.1, 1.0), (60.0, 0.1)):
            answers = Journaled(Fake(delay=60), journal)
            row = asyncio.create_task(answers.complete(ask()))
            await asyncio.sleep(0.01)
            if wait == 60.0:
                journal.failed = StorageError("disk full")
            began = time.monotonic()
            await answers.drain(wait)
            assert time.monotonic() - began < limit
            with pytest.raises(asyncio.CancelledError):
                await row

    with_journal(path, work)


# --- speed


def test_waiting_answers_share_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that come in together cost a few syncs, not one each: that is what makes durability cheap."""
    groups: list[int] = []
    insert = tables.insert

    def counted(connection: sqlite3.Connection, group: list[Any]) -> None:
        groups.append(len(group))
        insert(connection, group)

    monkeypatch.setattr(file, "insert", counted)

    async def work(journal: Journal) -> None:
        await asyncio.gather(*(journal.put([i.to_bytes(4, "big")], b"raw") for i in range(4000)))

    with_journal(path, work)
    assert sum(groups) == 4000
    assert len(groups) < 100


def test_replay_is_cheap(path: Path) -> None:
    """A resumed run reads its answers back at thousands a second (in processor time; the floor is low)."""

    async def work(journal: Journal) -> None:
        answers = Journaled(Fake(), journal)
        requests = [ask(f"{i} " * 200) for i in range(4000)]
        await asyncio.gather(*map(answers.complete, requests))
        began = time.process_time()
        for request in requests:
            await answers.complete(request)
        assert 4000 / (time.process_time() - began) > 5000

    with_journal(path, work)


# --- what it cost


def bill(step: str, requests: int = 1, cost: float = 0.25, unpriced: int = 0) -> Bill:
    return Bill(step, Usage(requests, 0, 10, 3, cost, unpriced))


def test_spending_is_summed_over_processes(path: Path) -> None:
    """What was paid for a step is known to whoever opens the journal next, duplicates included."""

    async def work(journal: Journal) -> None:
        await asyncio.gather(*(journal.put([bytes([i])], b"x", "", bill("a")) for i in range(3)))
        await journal.put([b"z"], b"y", "", bill("b", cost=1.0, unpriced=1))

    with_journal(path, work)
    with_journal(path, work)
    with Journal.open(path) as journal:
        assert journal.spent("a") == Usage(6, 0, 60, 18, 1.5, 0)
        assert journal.spent() == Usage(8, 0, 80, 24, 3.5, 2)
        assert journal.spent("nobody") == Usage()
    assert read_spent(path, "b").cost == 2.0
    assert read_spent(path.with_name("none.db")) == Usage()


def test_a_journal_of_the_first_version_is_upgraded(path: Path) -> None:
    """A journal made before spending was kept opens with its answers, and counts from then on."""
    with_journal(path, lambda journal: journal.put([b"a"], b"kept"))
    old = sqlite3.connect(path)
    old.executescript("DROP TABLE spending; PRAGMA user_version = 1;")
    old.close()
    assert count_answered(path, [b"a"]) == 1
    assert read_spent(path) == Usage()
    with_journal(path, lambda journal: journal.put([b"b"], b"new", "", bill("s")))
    with Journal.open(path) as journal:
        assert journal.get([b"a"]) == {b"a": (b"kept", 0)}
        assert journal.spent("s").requests == 1


def test_a_purse_never_promises_more_than_it_holds() -> None:
    """Whatever order answers come in and whatever they cost, what is spent stays within the budget."""
    import random

    from pairgen.journal import Purse

    async def go(seed: int) -> Purse:
        rng, purse = random.Random(seed), Purse(10.0, 1.0)

        async def buy() -> None:
            async with purse.aside(0.7):
                await asyncio.sleep(rng.random() / 500)
                purse.pay(0.7 if rng.random() < 0.5 else 0.1)
                assert purse.spent <= 10.0

        told = await asyncio.wait_for(
            asyncio.gather(*(buy() for _ in range(60)), return_exceptions=True), timeout=10
        )
        assert all(t is None or isinstance(t, Stopped) for t in told)
        return purse

    for seed in range(10):
        purse = asyncio.run(go(seed))
        assert 9.3 < purse.spent <= 10.0


# --- what is refused


REFUSED = Refused("bad_request", "no such field", "the host refuses every request: no such field")


async def _refusals(answers: Journaled, count: int) -> list[str]:
    """How so many requests that the engine refuses end."""
    ends = await asyncio.gather(*(answers.complete(ask(f"bad {i}")) for i in range(count)), return_exceptions=True)
    return [type(end).__name__ for end in ends]


def test_when_all_are_refused_it_is_no_rows_fault(path: Path) -> None:
    """Eight refusals and never an answer: the eighth says what is wrong with every request."""

    async def work(journal: Journal) -> None:
        answers = Journaled(Fake(error=REFUSED), journal, step="s")
        assert await _refusals(answers, 8) == ["Refused"] * 7 + ["UsageError"]

    with_journal(path, work)


def test_refused_rows_that_are_left_over_are_rows(path: Path) -> None:
    """Where the step was answered before, by another process or from the journal, refusals cost their rows only."""

    async def work(journal: Journal) -> None:
        await Journaled(Fake(), journal, step="s").complete(ask("good"))
        later = Journaled(Fake(error=REFUSED), journal, step="s")
        assert await _refusals(later, 20) == ["Refused"] * 20
        renamed = Journaled(Fake(error=REFUSED), journal, step="t")
        await renamed.complete(ask("good"))
        assert await _refusals(renamed, 20) == ["Refused"] * 20

    with_journal(path, work)
