"""Freed memory is kept while a training lasts and given back after it."""

import resource
import subprocess
import sys
from pathlib import Path

SCRIPT = """
from pathlib import Path
from pairgen.train.heap import kept_heap

def held():
    return int(Path("/proc/self/statm").read_text().split()[1])

before = held()
with kept_heap():
    parts = [bytearray(b"x") * (1 << 20) for _ in range(200)]
    del parts
    inside = held()
print(before, inside, held())
"""


def test_memory_freed_inside_stays_and_goes_at_the_end() -> None:
    if not sys.platform.startswith("linux") or not Path("/proc/self/statm").exists():
        return
    out = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout
    before, inside, after = (int(pages) * resource.getpagesize() / 2**20 for pages in out.split())
    assert inside - before > 150
    assert after - before < 20
