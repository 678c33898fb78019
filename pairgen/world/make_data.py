"""Write the world's instruction pool: `python -m pairgen.world.make_data data/world/instructions.jsonl`.

One column of plain text, like any user's file: no answers, no types. One row in twelve is a drill that
Select should leave out, and 120 rows are exact repeats for the deduplication to find.
"""

import json
import random
import sys
from pathlib import Path

from pairgen.world import tasks

ROWS, REPEATS, DRILL_SHARE = 4800, 120, 1 / 12


def pool(seed: int = 0) -> list[str]:
    """The instructions of the pool: `demo` and `other` types and drills, on lists not held out."""
    rng = random.Random(seed)
    judged = tasks.group(tasks.DEMO, tasks.OTHER)
    found: dict[str, None] = {}
    while len(found) < ROWS - REPEATS:
        types = tasks.DRILLS if rng.random() < DRILL_SHARE else judged
        found[tasks.phrase(rng, tasks.sample_digits(rng), rng.choice(types))] = None
    texts = [*found, *rng.sample(list(found), REPEATS)]
    rng.shuffle(texts)
    return texts


def write_pool(out: Path) -> None:
    """`{"text": "80413: largest"}` a line."""
    out.write_text("".join(json.dumps({"text": text}) + "\n" for text in pool()), encoding="utf-8")


if __name__ == "__main__":
    write_pool(Path(sys.argv[1]))
