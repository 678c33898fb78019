"""Log-probs under the reference model: computed once, kept by identity, never guessed.

The identity is the reference's weights, every token of the training set, the precision and which numbers
the objective reads. Each number is placed by its row and side in a table of -inf, so a hole left at the
end is an error, not a zero.

Names: M examples of the training set, R rows of a micro-batch, S sides of a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from pairgen.errors import Damaged
from pairgen.fingerprint import digest
from pairgen.fs import make_dirs, write_atomic
from pairgen.train.config import TrainConfig
from pairgen.train.crew import Crew
from pairgen.train.encode import Encoded
from pairgen.train.example import CHOSEN, REJECTED, SIDES, STRANGER, Example
from pairgen.train.model import Policy
from pairgen.train.outputs import measure
from pairgen.train.packing import MicroBatch, micro_batches
from pairgen.train.ranks import Ranks
from pairgen.train.sides import Outputs

CHUNK = 256  # examples packed together; any number gives the same log-probs


@dataclass(frozen=True, slots=True)
class Reference:
    """Summed log-probs [M, S] and, where the objective reads them, those of the tails; -inf where unused."""

    values_MS: Tensor
    tail_MS: Tensor | None

    @staticmethod
    def none(rows: int) -> "Reference":
        """No reference: zeros, so that a log-ratio is the log-prob."""
        return Reference(torch.zeros(rows, len(SIDES)), None)


def cached_logps(
    config: TrainConfig, policy: Policy, crew: Crew, weights: str, data: Encoded, out: Path, ranks: Ranks
) -> Reference:
    """The table for a training set, kept in `out/reference/`. `weights` is the reference model's digest.

    Raises Damaged when a side has no value.
    """
    tail, wanted = "tail" in config.needs, _wanted(config, data.examples)
    key = digest({"weights": weights, "data": data.digest, "bf16": policy.bf16, "device": policy.device.type,
                  "tail": tail, "rows": len(wanted)})
    path = out / "reference" / f"{key[:16]}.safetensors"
    table = ranks.told(lambda: _kept(path))
    if table is None:
        table = compute_logps(config, policy, crew, data.examples, wanted, ranks)
        if ranks.first:
            make_dirs(path.parent)
            tails = {} if table.tail_MS is None else {"tail": table.tail_MS}
            write_atomic(path, save({"logps": table.values_MS, **tails}))
    _check(table, data.examples, wanted, path)
    return table


def _kept(path: Path) -> Reference | None:
    if not path.is_file():
        return None
    parts = load(path.read_bytes())
    return Reference(parts["logps"], parts.get("tail"))


def compute_logps(
    config: TrainConfig, policy: Policy, crew: Crew, examples: Sequence[Example], rows: Iterable[int], ranks: Ranks
) -> Reference:
    """Log-probs of some rows of the training set, on the CPU; -inf everywhere else."""
    table = torch.full((2, len(examples), len(SIDES)), -torch.inf)
    # rows of one prompt together, so that it is computed once
    ordered = sorted(rows, key=lambda i: (examples[i].prompt.tobytes(), i))

    def look(batch: MicroBatch) -> Outputs:
        with torch.no_grad():  # a worker thread does not inherit it
            return measure(policy, batch, config.needs, certainty=False)

    def work(index: Tensor) -> None:
        parts = max(crew.parts, ranks.size)
        plan = micro_batches([examples[i] for i in index.tolist()], config.micro_tokens, parts, REFERRED)
        for out in ranks.map(look, plan, crew.map):
            table[0, index[out.rows_R]] = out.values_RS.nan_to_num(nan=-torch.inf)
            if out.tail_RS is not None:
                table[1, index[out.rows_R]] = out.tail_RS.nan_to_num(nan=-torch.inf)

    policy.model.eval()
    for first in range(0, len(ordered), CHUNK):
        work(torch.tensor(ordered[first : first + CHUNK]))
    policy.model.train()
    return Reference(table[0], table[1] if "tail" in config.needs else None)


REFERRED = (CHOSEN, REJECTED, STRANGER)
"""The sides that objectives compare with a reference."""


def _wanted(config: TrainConfig, examples: Sequence[Example]) -> list[int]:
    """Rows that are compared with the reference: pairs, or every row when completions stand alone."""
    alone = any(term.objective.on == "unpaired" for term in config.objective)
    return [i for i, e in enumerate(examples) if alone or (e.chosen is not None and e.rejected is not None)]


def wanted(config: TrainConfig, examples: Sequence[Example], rows: Iterable[int]) -> list[int]:
    """Those of `rows` that are compared with the reference."""
    picked = list(rows)
    return [picked[i] for i in _wanted(config, [examples[i] for i in picked])]


def _check(table: Reference, examples: Sequence[Example], rows: Sequence[int], path: Path) -> None:
    whole = len(table.values_MS) == len(examples)
    there = [(i, side) for i in rows for side in REFERRED if examples[i].sides[side] is not None]
    i, s = torch.tensor(there, dtype=torch.long).reshape(-1, 2).T
    tables = [table.values_MS] + ([] if table.tail_MS is None else [table.tail_MS])
    if not whole or not all(bool(torch.isfinite(t[i, s]).all()) for t in tables):
        raise Damaged(f"{path}: reference log-probs are missing or not finite; delete the file and run again")
