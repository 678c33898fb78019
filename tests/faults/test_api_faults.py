"""An API that misbehaves by a seeded schedule: the run completes, pays once, and ends with the same bytes."""

import time
from collections import Counter
from collections.abc import Callable
from random import Random

import oracle
import pytest
from lab import CONCURRENCY, Lab

from pairgen.export import Wanted, export_step
from pairgen.store import read_drops, sealed_steps

Make = Callable[..., Lab]
QUICK = {"engine": {"timeout": 5.0, "silence": 1.0, "retries": 8, "retry_seconds": 60}}


def _reasons(lab: Lab) -> Counter[str]:
    return Counter(drop.reason for folder, _ in sealed_steps(lab.run) for drop in read_drops(folder))


def test_a_mixture_of_everything_that_passes(calm: Lab, make_lab: Make) -> None:
    """20 % limits, server errors, cuts, hangs, drips, pages and doubled answers: no answer is asked again."""
    lab = make_lab("mix", "mix:0:20", changes=QUICK)
    done = lab.struck(None)
    assert done.code == 0, done.out
    assert len(lab.server.lines("refused")) > 5
    assert set(Counter(line["key"] for line in lab.server.lines("billed")).values()) == {1}
    assert oracle.audit(lab, calm) == 0
    oracle.spending_is_told(lab.run, lab.server)


REASONS = {"filtered": "content_filter", "toolong": "too_long", "400": "bad_request"}


def test_killed_in_bad_weather(make_lab: Make, option: Callable[[str, int], int], rng: Random) -> None:
    """SIGKILL at random moments on top of the mixture and of rows that are refused for good.

    Every row is answered, or a drop for the reason the server gave; no answer that was kept is bought
    again; the shards are those of a server that only refuses.
    """
    wanted = option("kills", 6)
    rows = [f"question {i}" for i in range(8 * wanted)]
    calm, lab = (make_lab(name, *faults, rows=rows, changes=QUICK)
                 for name, faults in (("calm", ("doomed",)), ("storm", ("doomed", "mix:0:20"))))
    assert calm.struck(None).code == 0
    kills = 0
    for at in sorted(rng.sample(range(1, int(0.95 * calm.server.billed)), wanted)):
        if (kill := lab.kill_at(at)) is not None:
            kills += 1
            oracle.answers_are_kept(lab, kill)
    assert lab.struck(None).code == 0
    twice = oracle.audit(lab, calm, kills)
    told, doomed = _reasons(lab), {line["key"]: line.get("fault") for line in lab.server.lines("refused")}
    refused = Counter(REASONS[fault] for fault in doomed.values() if fault in REASONS)
    assert all(0 < told[reason] <= count for reason, count in refused.items()), (told, refused)
    assert not {"server_error", "timeout", "cut_off", "server_busy", "bad_reply"} & told.keys()
    calls = Counter(line["event"] for line in lab.server.lines())
    print(f"{kills} kills, {len(rows)} rows: {dict(calls)}, {twice} bought twice, drops {dict(told)}")


@pytest.mark.parametrize(("fault", "reason"), [
    ("filtered:0:9", "content_filter"), ("toolong:0:9", "too_long"), ("400:0:9", "bad_request"),
    ("empty:0:9", "empty_reply"), ("junk:0:9", "bad_reply"),
])
def test_what_is_wrong_with_a_row_costs_that_row(make_lab: Make, fault: str, reason: str) -> None:
    """A row the server refuses for good is a drop with the true reason, and is asked once."""
    lab = make_lab("row", fault)
    done = lab.struck(None)
    assert done.code == 0, done.out
    assert _reasons(lab)[reason] > 2
    assert set(Counter(line["key"] for line in lab.server.lines("arrived")).values()) == {1}
    oracle.every_row_is_accounted_for(lab.run)


@pytest.mark.parametrize("kind", ["renamed", "nousage", "big", "many"])
def test_strange_but_whole_answers_are_answers(make_lab: Make, kind: str) -> None:
    """Another model's name, no usage, 10 MB, too many choices: the answer is taken, and not asked again."""
    lab = make_lab("strange", f"{kind}:0:20")
    done = lab.struck(None)
    assert done.code == 0, done.out
    assert set(Counter(line["key"] for line in lab.server.lines("billed")).values()) == {1}
    assert not {"bad_reply", "reply_too_big"} & _reasons(lab).keys()
    oracle.every_row_is_accounted_for(lab.run)


def test_a_row_that_always_fails_costs_itself(make_lab: Make) -> None:
    """A server that fails on some requests only, however often they are asked, loses those rows only."""
    lab = make_lab("poison", "poison", changes={"engine": {"retries": 2, "retry_seconds": 20}})
    done = lab.struck(None)
    assert done.code == 0, done.out
    assert _reasons(lab)["server_error"] > 0
    oracle.every_row_is_accounted_for(lab.run)


@pytest.mark.parametrize(("fault", "code", "word"), [
    ("nomodel", 2, "does not offer"), ("redirect", 2, "base_url"), ("html", 2, "web page"), ("401", 77, "key"),
])
def test_what_cannot_work_stops_at_once(make_lab: Make, fault: str, code: int, word: str) -> None:
    """A wrong model, address or key is one line within seconds, after one round of calls."""
    lab = make_lab("wrong", fault)
    began = time.monotonic()
    done = lab.struck(None)
    assert done.code == code, done.out
    assert word in done.out
    assert time.monotonic() - began < 20
    assert len(lab.server.lines("refused")) <= CONCURRENCY


@pytest.mark.parametrize(("fault", "code"), [("nomodel", 2), ("401", 77), ("", 75)])
def test_a_run_that_cannot_go_on_ends_in_one_line(make_lab: Make, fault: str, code: int) -> None:
    """In a process of its own, to its very end: nothing that was still in flight complains after that line."""
    lab = make_lab("line", *filter(None, [fault]), more=["--quiet"])
    if not fault:
        lab.server.close()
    done = lab.launch().wait()
    assert done.code == code, done.out
    assert len(done.out.splitlines()) == 1, done.out


def test_the_budget_is_never_passed(calm: Lab, make_lab: Make) -> None:
    """Launched again with a little more each time, the ledger's sum never passes the budget, and it ends."""
    price = {"price": {"input": 1.0, "output": 100.0}}
    lab = make_lab("budget", changes={"engine": price})

    def billed() -> float:
        lines = lab.server.lines("billed")
        return sum(line["prompt_tokens"] * 1e-6 + line["completion_tokens"] * 1e-4 for line in lines)

    lab.more = ["--budget", "0.25"]
    done = lab.struck(None)
    assert done.code == 75, done.out
    assert "budget" in done.out
    assert 0.0 < billed() <= 0.25
    lab.more = ["--budget", "100"]
    assert lab.struck(None).code == 0
    told = sum(manifest.log["cost"] for _, manifest in sealed_steps(lab.run))
    assert told == pytest.approx(billed(), rel=1e-9)
    oracle.audit(lab, calm)


def test_spending_is_told_over_all_processes(calm: Lab, make_lab: Make) -> None:
    """Stopped and run again, the manifests tell what all processes sent together, to the token."""
    import signal

    lab = make_lab("stopped", latency=(0.05, 0.1))
    running = lab.launch()
    while lab.server.billed < 20:
        time.sleep(0.01)
    running.signal(signal.SIGTERM)
    assert running.wait().code == 75
    assert lab.struck(None).code == 0
    assert oracle.audit(lab, calm) == 0
    oracle.spending_is_told(lab.run, lab.server)


@pytest.mark.parametrize(("fault", "code"), [("echo500:0:6", 0), ("echo400:9:6", 0), ("echo401:20", 77)])
def test_a_key_the_server_repeats_is_in_nothing_a_run_writes(make_lab: Make, fault: str, code: int) -> None:
    """Journal, shards, drops, manifests, logs, report, terminal and exports with their cards: the key is in none."""
    lab = make_lab("echo", fault)
    done = lab.struck(None)
    assert done.code == code, done.out
    assert lab.server.lines("refused")
    for folder, manifest in sealed_steps(lab.run):
        for to in ("jsonl", "parquet") if manifest.rows else ():
            export_step(folder, Wanted(to, lab.root / "exports" / to / manifest.name))
    assert code or (lab.run / "report.html").is_file()
    oracle.no_key_in_any_file(lab.root)
    if "400" in fault:
        details = [drop.detail for folder, _ in sealed_steps(lab.run) for drop in read_drops(folder)]
        assert any("[key]" in detail for detail in details)
