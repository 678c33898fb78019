"""What a finished step is: Arrow shards, sealed by a manifest that is written last.

`runs/<run>/<step>@<digest>/part-00000.arrow`, `drops/part-00000.arrow`, `manifest.json`. A folder
without a manifest is unfinished work and is cleared when its step runs again. The same rows give the
same bytes. Shards are Arrow IPC *files*: a file cut anywhere fails to open, while a stream cut between
two batches would load short without an error.
"""

from pairgen.store.manifest import (
    Manifest,
    Shard,
    Usage,
    is_done,
    read_manifest,
    seal,
    sealed_steps,
    step_folder,
)
from pairgen.store.read import read_drops, read_rows, read_shard, verify_step
from pairgen.store.write import StepOutput, StepWriter

__all__ = [
    "Manifest",
    "Shard",
    "StepOutput",
    "StepWriter",
    "Usage",
    "is_done",
    "read_drops",
    "read_manifest",
    "read_rows",
    "read_shard",
    "seal",
    "sealed_steps",
    "step_folder",
    "verify_step",
]
