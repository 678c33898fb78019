"""Stepwise DPO (sDPO, 2403.19270): the rows in chunks, one training each; every chunk begins from the model
of the chunk before, and is compared with it.

Better references set a higher bar, so the paper orders chunks from easy to hard; ours keep the order of
the rows. A stage that is done is not trained again; the last one is, as `train` would.
"""

import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pairgen.errors import UsageError
from pairgen.fingerprint import digest, folder_digest, identity
from pairgen.fs import make_dirs, write_atomic
from pairgen.train.config import TrainConfig
from pairgen.train.encode import TrainRow
from pairgen.train.loop import TrainResult, train
from pairgen.train.metrics import StepLog
from pairgen.train.ranks import ALONE, Ranks

DONE = "STAGE"  # no .json: those are files of a model


def train_staged(
    config: TrainConfig, rows: Iterable[TrainRow], init: Path, out: Path, chunks: int, *,
    heldout: Iterable[TrainRow] | None = None, on_step: Callable[[StepLog], None] | None = None, ranks: Ranks = ALONE,
    say: Callable[[str], None] | None = None,
) -> list[TrainResult]:
    """Train on `chunks` equal parts of the rows in turn, into `out/stage-1`, `out/stage-2`…, the last into `out`.

    Learning rate and warm-up start anew in each, as in the paper. Returns the results of the stages that
    ran now, the last always. Raises UsageError when there are fewer rows than chunks.
    """
    every, held = list(rows), None if heldout is None else list(heldout)
    if len(every) < chunks:
        raise UsageError(f"{chunks} chunks of {len(every)} rows: give more rows or fewer chunks")
    size = math.ceil(len(every) / chunks)
    results: list[TrainResult] = []
    for stage in range(chunks):
        part = every[stage * size : (stage + 1) * size]
        last = stage + 1 == chunks
        folder = out if last else out / f"stage-{stage + 1}"
        known = digest({"config": identity(config), "init": folder_digest(init), "rows": [row.id for row in part]})
        if not ranks.told(partial(_is_done, folder, known)):
            make_dirs(folder)
            results.append(train(config, part, init, folder, heldout=held, on_step=on_step, ranks=ranks,
                                 say=say if stage == 0 else None))
            if ranks.first and not last:
                write_atomic(folder / DONE, json.dumps({"identity": known}).encode())
            ranks.wait()
        init = folder
    return results


def _is_done(folder: Path, known: str) -> bool:
    record = folder / DONE
    return record.is_file() and json.loads(record.read_bytes())["identity"] == known
