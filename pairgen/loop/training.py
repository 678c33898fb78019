"""The training step of an iteration: make room, train, seal the checkpoint, make its weights known."""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairgen import __version__
from pairgen.fingerprint import file_digest
from pairgen.loop.config import Experiment
from pairgen.loop.steps import Training
from pairgen.models import model_folder
from pairgen.pipeline.plan import Step, model_digest
from pairgen.pipeline.progress import Meter
from pairgen.pipeline.run import Runner, log_of
from pairgen.store import Manifest, Usage, read_rows, seal

if TYPE_CHECKING:
    from pairgen.train.loop import TrainResult


async def run_training(
    experiment: Experiment, runner: Runner, step: Step, sources: Sequence[Step], probe: Step | None = None
) -> Manifest:
    """Train, unless it is done, and let the engines find the weights under the step's name.

    The rows of `probe` are measured along the way.
    """
    folder = step.folder(runner.folder)
    manifest = runner.reuse(step)
    if manifest is None:
        await runner.engines.sleep()
        meter = Meter(step.name, None, runner.listen)
        result = _train(experiment, runner, step, sources, meter, probe)
        manifest = _sealed(step, sources, folder, result, meter)
        _free_accelerator()
        await runner.engines.wake()
    runner.weights[step.name] = folder, str(manifest.metrics["weights"])
    return manifest


def _train(
    experiment: Experiment, runner: Runner, step: Step, sources: Sequence[Step], meter: Meter, probe: Step | None
) -> "TrainResult":
    """Until the first step there is nothing to keep; from then on a stop keeps the state first."""
    from pairgen.train.loop import train

    spec: Training = step.spec
    rows: Iterator[Any] = chain.from_iterable(read_rows(s.folder(runner.folder)) for s in sources)
    meter.tell(Usage(), note="reading rows and weights", force=True)

    def on_step(log: Any) -> None:
        if runner.abrupt:
            runner.abrupt = False
            meter.ready()
        runner.check_stop()
        meter.done, meter.total = log.step, log.steps
        meter.tell(Usage(), note=f"loss {log.loss:.4f}")

    with runner.abruptly():
        init = runner.weights[spec.init][0] if spec.init else model_folder(experiment.engines[spec.policy])
        held: Iterator[Any] | None = read_rows(probe.folder(runner.folder)) if probe else None
        return train(spec.config, rows, init, step.folder(runner.folder), heldout=held, on_step=on_step)


def _sealed(
    step: Step, sources: Sequence[Step], folder: Path, result: "TrainResult", meter: Meter
) -> Manifest:
    drops = Counter(drop.reason for drop in result.drops)
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != "log.jsonl")
    manifest = Manifest(
        name=step.name, use=step.spec.use, identity=step.identity, digest=step.digest,
        inputs={s.name: s.digest for s in sources}, drops=dict(sorted(drops.items())), failed=drops.total(),
        metrics={
            **result.metrics, "weights": model_digest(folder), "steps": result.steps, "tokens": result.tokens,
        },
        files={path.name: file_digest(path) for path in files},
        code_version=__version__, log=log_of(meter.seconds, Usage()),
    )
    seal(folder, manifest)
    meter.done = meter.total = result.steps
    meter.drops = drops.total()
    meter.tell(Usage(), "done", f"{result.tokens:,} tokens trained on", force=True)
    return manifest


def _free_accelerator() -> None:
    """Return what training held, before the engine takes its memory again."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
