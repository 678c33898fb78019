"""Log-probs of every pair under the reference model: computed once, kept by identity, never guessed.

The identity is the reference's weights, every token of the training set and the precision. Each pair's
two numbers are placed by its index; a hole left at the end is an error, not a zero.

Names: M examples of the training set, K branches of a micro-batch.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from pairgen.errors import Damaged
from pairgen.fingerprint import digest
from pairgen.fs import make_dirs, write_atomic
from pairgen.train.crew import Crew
from pairgen.train.encode import Encoded, Example
from pairgen.train.logps import branch_logps
from pairgen.train.model import Policy
from pairgen.train.packing import MicroBatch, micro_batches

CHUNK = 256  # examples packed together; any number gives the same log-probs


def cached_logps(
    policy: Policy, crew: Crew, weights: str, data: Encoded, out: Path, micro_tokens: int
) -> Tensor:
    """Chosen and rejected log-probs, [M, 2] fp32, NaN for demonstrations. `weights` is the model's digest.

    Kept in `out/reference/`. Raises Damaged when a pair has no value.
    """
    key = digest({"weights": weights, "data": data.digest, "bf16": policy.bf16, "device": policy.device.type})
    path = out / "reference" / f"{key[:16]}.safetensors"
    if path.is_file():
        logps_M2: Tensor = load(path.read_bytes())["logps"]
    else:
        logps_M2 = compute_logps(policy, crew, data.examples, micro_tokens)
        make_dirs(path.parent)
        write_atomic(path, save({"logps": logps_M2}))
    is_pair_M = torch.tensor([e.rejected is not None for e in data.examples])
    if len(logps_M2) != len(is_pair_M) or not torch.isfinite(logps_M2[is_pair_M]).all():
        raise Damaged(f"{path}: reference log-probs are missing or not finite; delete the file and run again")
    return logps_M2


def compute_logps(policy: Policy, crew: Crew, examples: Sequence[Example], micro_tokens: int) -> Tensor:
    """Log-probs of the pairs among the examples, [M, 2] on the CPU; NaN for demonstrations."""
    logps_M2 = torch.full((len(examples), 2), torch.nan)
    pairs = [i for i, example in enumerate(examples) if example.rejected is not None]

    @torch.no_grad()
    def work(batch: MicroBatch) -> Tensor:
        with policy.autocast():
            return branch_logps(policy.model, batch.to(policy.device)).cpu()

    policy.model.eval()
    for first in range(0, len(pairs), CHUNK):
        index = torch.tensor(pairs[first : first + CHUNK])
        batches = micro_batches([examples[i] for i in index.tolist()], micro_tokens, crew.parts)
        for batch, logps_K in zip(batches, crew.map(work, batches), strict=True):
            rows = index[batch.rows_R]
            logps_M2[rows, 0] = logps_K[batch.chosen_R]
            logps_M2[rows, 1] = logps_K[batch.rejected_P]
    policy.model.train()
    return logps_M2
