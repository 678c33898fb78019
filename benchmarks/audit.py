"""The contrast measures of `pairgen audit` beside a plain loop and beside rapidfuzz alone.

Pairs are AlpacaEval's: GPT-4-turbo's answers against Llama-3-8B-Instruct's, repeated in fresh copies to the number
asked for. (a) `loop`: one core, one pair after another, rapidfuzz and sets. (b) `cpdist`: rapidfuzz's own pairwise
loop in C++ on all cores, Levenshtein alone: the least that any of this can cost. (c) `pairgen`: every contrast
measure, in workers, kept in the table on disk. `audit` is everything else too: style, hygiene, summaries.
Each runs in a process of its own; seconds are wall and CPU of that process and its workers, memory is the peak of
all of them together.

    python benchmarks/audit.py [--pairs 10000 100000] [--rounds 3] [--only cpdist pairgen] [--json FILE]
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "alpaca_eval" / "outputs"
SIDES = ("gpt4_1106_preview.json", "Meta-Llama-3-8B-Instruct.json")
SLAB = 10_000
LOOP_PAIRS = 2_000
WAYS = ("loop", "cpdist", "pairgen", "audit")


@dataclass(frozen=True)
class Result:
    """One way over so many pairs. Times are microseconds a pair."""

    way: str
    pairs: int
    wall: float
    cpu: float
    peak_mib: float
    load: float


def texts() -> list[tuple[str, str, str]]:
    """Instruction, chosen, rejected."""
    sides = [{row["instruction"]: row["output"] for row in json.loads((DATA / name).read_text())} for name in SIDES]
    return [(task, sides[0][task], sides[1][task]) for task in sides[0] if task in sides[1]]


def fresh(pairs: int, size: int) -> Iterator[list[tuple[str, str, str]]]:
    """Slabs of pairs. Every text is an object of its own, as it is when a file is read."""
    source = texts()
    for start in range(0, pairs, size):
        rows = (source[i % len(source)] for i in range(start, min(start + size, pairs)))
        yield [(a, (b + " ")[:-1], (c + " ")[:-1]) for a, b, c in rows]


def shared(left: str, right: str) -> int:
    """Length of the common start."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


# --- the ways, each returns the seconds its work took -------------------------------------------------


def loop(pairs: int) -> float:
    from rapidfuzz.distance import Levenshtein

    token = re.compile(r"\w+|[^\w\s]")
    spent = 0.0
    for slab in fresh(pairs, SLAB):
        began = time.perf_counter()
        for _, chosen, rejected in slab:
            left, right = token.findall(chosen), token.findall(rejected)
            one, other = set(left), set(right)
            len(one & other) / len(one | other)
            edits = Levenshtein.distance(chosen, rejected)
            edits / max(len(chosen), len(rejected))
            shared(chosen, rejected)
            shared(chosen[::-1], rejected[::-1])
            Levenshtein.distance(left, right, weights=(1, 1, 2)) / (len(left) + len(right))
            len(rejected) / len(chosen)
        spent += time.perf_counter() - began
    return spent


def cpdist(pairs: int) -> float:
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    spent = 0.0
    for slab in fresh(pairs, SLAB):
        chosen, rejected = [row[1] for row in slab], [row[2] for row in slab]
        began = time.perf_counter()
        process.cpdist(chosen, rejected, scorer=Levenshtein.distance, workers=-1)
        spent += time.perf_counter() - began
    return spent


def pairgen(pairs: int) -> float:
    import numpy as np

    from pairgen.audit.columns import Columns
    from pairgen.audit.contrast import contrast
    from pairgen.audit.table import Table
    from pairgen.audit.workers import measured

    def chunks() -> Iterator[Columns]:
        row = 1
        for slab in fresh(pairs, 1000):
            n, (prompts, chosen, rejected) = len(slab), zip(*slab, strict=True)
            none = np.full(n, np.nan)
            yield Columns(np.arange(row, row + n), list(prompts), list(chosen), list(rejected), [""] * n, none, none)
            row += n

    began = time.perf_counter()
    table = Table()
    for done in measured(chunks(), (contrast,)):
        table.add(done.found)
    assert len(table.column("jaccard")) == pairs
    return time.perf_counter() - began


def audit(pairs: int) -> float:
    import tempfile

    from pairgen.audit.read import open_source
    from pairgen.audit.run import audit as whole

    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for slab in fresh(pairs, SLAB):
            file.writelines(json.dumps({"prompt": a, "chosen": b, "rejected": c}) + "\n" for a, b, c in slab)
        file.flush()
        began = time.perf_counter()
        assert whole(open_source(file.name)).summary.pairs == pairs
        return time.perf_counter() - began


# --- measuring ----------------------------------------------------------------------------------------


def one(way: str, pairs: int) -> Result:
    """A way in this process."""
    done, peak = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(done, peak))
    watcher.start()
    before, load = _cpu(), os.getloadavg()[0]
    wall = {"loop": loop, "cpdist": cpdist, "pairgen": pairgen, "audit": audit}[way](pairs)
    cpu = _cpu() - before
    done.set()
    watcher.join()
    return Result(way, pairs, wall / pairs * 1e6, cpu / pairs * 1e6, peak[0], load)


def _cpu() -> float:
    """CPU seconds of this process and of the workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _watch(done: threading.Event, peak: list[float]) -> None:
    """Ten times a second, resident memory of this process and its children; pages they share count each time."""
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    while not done.wait(0.1):
        total = 0.0
        for pid in [os.getpid(), *_children()]:
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            except OSError:
                continue
        peak[0] = max(peak[0], total)


def _children() -> list[int]:
    listed = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return [int(pid) for pids in listed for pid in pids.split()]


def in_own_process(way: str, pairs: int) -> Result:
    command = [sys.executable, __file__, "--one", way, "--pairs", str(pairs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def show(results: list[Result]) -> None:
    """The medians of each way and number of pairs, with their ratio to cpdist."""
    print(f"{'pairs':>10} {'way':<8} {'pairs/s':>9} {'us/pair':>8} {'CPU us':>7} {'x wall':>7} {'x CPU':>7} {'MiB':>6}")
    for pairs in sorted({r.pairs for r in results}):
        for way in WAYS:
            runs = [r for r in results if (r.way, r.pairs) == (way, pairs)]
            base = [r for r in results if (r.way, r.pairs) == ("cpdist", pairs)]
            if not runs:
                continue
            wall, cpu = (statistics.median(getattr(r, name) for r in runs) for name in ("wall", "cpu"))
            peak = max(r.peak_mib for r in runs)
            ratios = [statistics.median(getattr(r, name) for r in base) if base else float("nan")
                      for name in ("wall", "cpu")]
            print(f"{pairs:>10,} {way:<8} {1e6 / wall:>9,.0f} {wall:>8.1f} {cpu:>7.1f} "
                  f"{wall / ratios[0]:>7.2f} {cpu / ratios[1]:>7.2f} {peak:>6,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3, help="of each way, alternating")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--one", choices=WAYS, help="measure once in this process")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(one(options.one, options.pairs[0]))))
        return
    results = []
    for pairs in options.pairs:
        for _ in range(options.rounds):
            results += [in_own_process(way, min(pairs, LOOP_PAIRS) if way == "loop" else pairs)
                        for way in options.only]
    show(results)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")


if __name__ == "__main__":
    main()
