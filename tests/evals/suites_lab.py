"""What tests of suites share: a suite by name, rows as a file, judged pairs."""

import json
from pathlib import Path
from typing import Any

from pairgen.evals.benchmark import Benchmark, EvalItem, EvalReply
from pairgen.evals.items import PairItem
from pairgen.registry import find


def suite(use: str, path: Path | None = None, **options: Any) -> Any:
    """A suite over a file."""
    where = None if path is None else str(path)
    return find("pairgen.evals.suites", use).BENCHMARK(**{"id": use, **options}, use=use, path=where)


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judged(item: PairItem, first: str | None, second: str | None) -> EvalItem:
    """A pair with a winner in each order: chosen, rejected, tie or None."""
    replies = []
    for order, word in (("chosen_first", first), ("rejected_first", second)):
        gold = "tie" if item.tie else "A" if order == "chosen_first" else "B"
        letter = word if word in (None, "tie") else "AB"[(word == "chosen") != (order == "chosen_first")]
        replies.append(EvalReply("greedy", order, 0, "", letter, "ok" if letter else "none", gold, 1))
    return item.row(replies)


def means(benchmark: Benchmark[Any], rows: list[EvalItem]) -> dict[str, float | None]:
    """A benchmark's official numbers."""
    return {name: value.mean for name, value in benchmark.official(rows).items()}
