"""The plan of an experiment: every step's state before anything is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairgen.engine import EngineConfig
from pairgen.journal import Journal, sample_key
from pairgen.loop.config import Experiment
from pairgen.loop.steps import program
from pairgen.pipeline.plan import PlanLine, Step, plan_line
from pairgen.sources import read_records
from pairgen.stage import LLMStage
from pairgen.stages.load import Load
from pairgen.store import read_manifest, read_rows


def plan_lines(experiment: Experiment, run: Path) -> list[PlanLine]:
    """One line per step. Row counts of steps whose inputs do not exist yet are estimates."""
    steps = program(experiment).steps
    sizes: dict[str, int | None] = {}
    lines = []
    for step in steps.values():
        rows_in = _rows_in(step, sizes)
        line = plan_line(step, run, rows_in)
        sizes[step.name] = line.rows
        lines.append(line)
    return lines


def _rows_in(step: Step, sizes: Mapping[str, int | None]) -> int | None:
    if isinstance(step.spec, Load):
        limit = step.spec.limit
        count = sum(1 for _ in read_records(step.spec.path, step.spec.split, step.spec.revision))
        return count if limit is None else min(limit, count)
    known = [sizes.get(name) for name in step.inputs]
    return None if not known or None in known else sum(n for n in known if n is not None)
