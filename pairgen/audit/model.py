"""What a model makes of the pairs: how likely it finds both sides, what reward it implies, which one it prefers.

Measured on a sample, because a model reads some thousand pairs in the time in which the rest of an audit reads
a million. A prompt is put to the model as one user turn, as the audit reads it.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pairgen import fs
from pairgen.audit.columns import Columns, Measured, Numbers
from pairgen.audit.read import Source
from pairgen.audit.stats import rate, stat
from pairgen.audit.summary import DatasetAudit, Rate, Stat
from pairgen.audit.table import Table
from pairgen.audit.verdict import findings
from pairgen.engine import EngineConfig
from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem
from pairgen.evals.judging import PairBenchmark
from pairgen.fingerprint import digest
from pairgen.records import Message, Preference

SAMPLE = 512
"""Pairs a model reads by default: the standard error of a share is then at most .022."""
LABELS = {
    "chosen_logp": "log-prob of chosen", "rejected_logp": "log-prob of rejected",
    "chosen_logp_token": "log-prob of chosen, per token", "rejected_logp_token": "log-prob of rejected, per token",
    "implicit_margin": "implicit reward margin", "judge_prefers_chosen": "judge prefers chosen",
}
RATES = {
    "likelier": ("chosen is the likelier side", "chosen_logp", "rejected_logp"),
    "likelier_token": ("chosen is likelier per token", "chosen_logp_token", "rejected_logp_token"),
}


@dataclass(frozen=True, slots=True)
class Models:
    """What reads the pairs: a policy's folder, with a reference's for the implicit reward; a judge with its prompt.

    `folder` keeps the judge's answers, so that none is asked for twice. `advise` also draws the policy's own
    answers (with engine `engine`) and says which objective suits the data.
    """

    policy: Path | None = None
    reference: Path | None = None
    judge: EngineConfig | None = None
    prompt: str = "judge.md"
    sample: int = SAMPLE
    seed: int = 0
    folder: Path = Path("runs/audit")
    advise: bool = False
    engine: str = "auto"
    budget: float | None = None


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pairs of the sample and where they stand in the table."""

    places: list[int]
    rows: list[int]
    prompts: list[str]
    chosen: list[str]
    rejected: list[str]

    def __len__(self) -> int:
        return len(self.places)


def under_models(found: DatasetAudit, source: Source, table: Table, asked: Models,
                 say: Say = lambda line: None) -> DatasetAudit:
    """The audit with what the models say of a sample of its pairs; their columns join the table."""
    drawn = _draw(source, len(table), asked)
    columns: Measured = {}
    notes = [f"model measures are of {len(drawn):,} pairs drawn at random"]
    if asked.policy is not None:
        say(f"reading {len(drawn):,} pairs with {asked.policy.name}")
        columns |= _likelihood(drawn, len(table), asked)
    if asked.judge is not None:
        say(f"judging {len(drawn):,} pairs in both orders with {asked.judge.model}")
        columns |= _judged(found.name, drawn, len(table), asked)
    advice: tuple[str, ...] = ()
    if asked.advise and asked.policy is not None:
        say(f"drawing own answers of {asked.policy.name}")
        advice = _advice(drawn, asked)
    table.join(columns)
    read = replace(
        found, model=tuple(_stats(columns)), model_rates=tuple(_rates(columns, table)), advice=advice,
        notes=(*found.notes, *notes),
    )
    return replace(read, findings=findings(read))


def _draw(source: Source, total: int, asked: Models) -> Drawn:
    """A sample without replacement, in the order of the source. Pairs with an empty side have no log-prob."""
    rng = np.random.default_rng(asked.seed)
    picked = set(rng.choice(total, min(asked.sample, total), replace=False).tolist())
    drawn, at = Drawn([], [], [], [], []), 0
    for chunk in source.chunks():
        for i in range(len(chunk)):
            if at + i in picked and chunk.chosen[i].strip() and chunk.rejected[i].strip():
                _take(drawn, chunk, i, at + i)
        at += len(chunk)
    if not drawn.places:
        raise UsageError(f"{source.path}: no pair with two answers for a model to read")
    return drawn


def _take(drawn: Drawn, chunk: Columns, i: int, place: int) -> None:
    drawn.places.append(place)
    drawn.rows.append(int(chunk.rows[i]))
    drawn.prompts.append(chunk.prompts[i])
    drawn.chosen.append(chunk.chosen[i])
    drawn.rejected.append(chunk.rejected[i])


def _spread(drawn: Drawn, values: Sequence[float] | Numbers, total: int) -> Numbers:
    """Values of the sample at their places, nan elsewhere, `[N]`."""
    column = np.full(total, np.nan)
    column[drawn.places] = values
    return column


# --- log-probs ----------------------------------------------------------------------------------------


def _likelihood(drawn: Drawn, total: int, asked: Models) -> Measured:
    """Log-probs of both sides under the policy, and the implicit margin where there is a reference."""
    assert asked.policy is not None
    own = _sums(asked.policy, drawn)
    columns = {
        name: _spread(drawn, values, total)
        for name, values in zip(("chosen_logp", "rejected_logp"), own[:, :, 0].T, strict=True)
    }
    columns |= {
        f"{name}_token": columns[name] / _spread(drawn, tokens, total)
        for name, tokens in zip(("chosen_logp", "rejected_logp"), own[:, :, 1].T, strict=True)
    }
    if asked.reference is not None:
        other = _sums(asked.reference, drawn)
        ratios = own[:, :, 0] - other[:, :, 0]
        columns["implicit_margin"] = _spread(drawn, ratios[:, 0] - ratios[:, 1], total)
    return dict(columns)


def _sums(folder: Path, drawn: Drawn) -> Numbers:
    """`[M, 2, 2]`: summed log-prob and tokens of chosen and rejected of M pairs; nan where a text does not fit."""
    from pairgen.evals.rewards import Asked, TokenSums

    model = TokenSums.of(folder, None, 8192)
    asked = [
        Asked((Message("user", prompt),), (chosen, rejected))
        for prompt, chosen, rejected in zip(drawn.prompts, drawn.chosen, drawn.rejected, strict=True)
    ]
    found = model.sums(asked)
    return np.array([[_pair(side) for side in sides] for sides in found], dtype=np.float64)


def _pair(side: Any) -> tuple[float, float]:
    total = getattr(side, "total", None)
    return (float("nan"), float("nan")) if total is None else (total, float(side.tokens))


# --- a judge ------------------------------------------------------------------------------------------


def _judged(name: str, drawn: Drawn, total: int, asked: Models) -> Measured:
    """The share of a pair's two verdicts that name chosen; a tie or one that cannot be read counts half."""
    from pairgen.evals.suites.pairs import Pairs
    from pairgen.loop.assess import Assessment
    from pairgen.pipeline.sitting import Sitting
    from pairgen.store import read_rows

    assert asked.judge is not None
    folder = asked.folder / f"{name}-judged"
    file = folder / f"sample-{digest([*drawn.rows, *drawn.chosen])[:8]}.jsonl"
    fs.make_dirs(folder)
    fs.write_atomic(file, "".join(map(_line, range(len(drawn)), drawn.prompts, drawn.chosen, drawn.rejected)).encode(
        "utf-8", "replace"))
    suite: PairBenchmark = Pairs.model_validate({
        "id": "judged", "use": "pairs", "path": str(file), "prompt": asked.prompt, "on_bad_row": "skip",
    })
    assessment = Assessment(suite, asked.judge)
    steps = {assessment.step.name: assessment.step}
    with Sitting(folder, assessment.setup, steps, config="", command="pairgen audit", budget=asked.budget) as sitting:
        asyncio.run(sitting.work(assessment.run))
    rows: Iterator[EvalItem] = read_rows(assessment.step.folder(folder))
    shares = {row.id: _share(row) for row in rows}
    found = [shares.get(str(i), float("nan")) for i in range(len(drawn))]
    return {"judge_prefers_chosen": _spread(drawn, found, total)}


def _line(i: int, prompt: str, chosen: str, rejected: str) -> str:
    return json.dumps({"id": str(i), "prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n"


def _share(row: EvalItem) -> float:
    named = [float(r.right) if r.answer in ("A", "B") else 0.5 for r in row.replies]
    return sum(named) / len(named) if named else float("nan")


# --- advice and numbers -------------------------------------------------------------------------------


def _advice(drawn: Drawn, asked: Models) -> tuple[str, ...]:
    """Which objective suits these pairs for this model, why, and what that rests on (2408.06266, section 5.3.2)."""
    from pairgen.train.advise import advise

    rows = [
        Preference(str(i), (Message("user", prompt),), (Message("assistant", chosen),),
                   (Message("assistant", rejected),), "pair", "audit")
        for i, (prompt, chosen, rejected) in enumerate(zip(drawn.prompts, drawn.chosen, drawn.rejected, strict=True))
    ]
    assert asked.policy is not None
    with tempfile.TemporaryDirectory() as out:
        found = advise(iter(rows), asked.policy, Path(out), reference=asked.reference, engine=asked.engine)
    return (f"{found.recommendation}: {found.reason}", *found.caveats)


def _stats(columns: Measured) -> Iterator[Stat]:
    for name, label in LABELS.items():
        if name in columns and np.isfinite(columns[name].astype(np.float64)).any():
            yield stat(name, label, columns[name])


def _rates(columns: Measured, table: Table) -> Iterator[Rate]:
    numbers = table.column("row")
    for name, (label, chosen, rejected) in RATES.items():
        if chosen in columns:
            gap = columns[chosen].astype(np.float64) - columns[rejected].astype(np.float64)
            yield _rate(name, label, gap, numbers)
    if "implicit_margin" in columns:
        yield _rate("implicit_right", "implicit reward prefers chosen", columns["implicit_margin"], numbers)
    if "judge_prefers_chosen" in columns:
        share = columns["judge_prefers_chosen"].astype(np.float64)
        yield _rate("judge_agrees", "judge prefers chosen in both orders", share - 0.75, numbers)
        yield _rate("judge_disagrees", "judge prefers rejected in both orders", 0.25 - share, numbers)


def _rate(name: str, label: str, gap: Any, numbers: Any) -> Rate:
    known = np.isfinite(gap)
    hits = known & (gap > 0)
    return rate(name, label, int(hits.sum()), int(known.sum()), tuple(numbers[hits][:5].astype(int).tolist()))
