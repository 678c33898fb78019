"""The training loop, to be read from top to bottom: encode, reference, step, log, save.

What a step trains on is a pure function of (seed, step), and every mean is over the whole optimizer
step, so neither micro-batches nor an interruption change a result. On one machine the same config,
rows and initial weights give the same bits (with torch's number of threads, for models that are not
small enough to be trained side by side, see `crew`).

Names: M examples of the training set.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer

from pairgen.fingerprint import JSON, digest, folder_digest, identity
from pairgen.fs import append_line, clear_temps, make_dirs, write_atomic
from pairgen.records import Demonstration, Drop, Preference
from pairgen.train import checkpoint
from pairgen.train.checkpoint import Progress
from pairgen.train.config import TrainConfig
from pairgen.train.crew import crew
from pairgen.train.encode import encode
from pairgen.train.logps import check_trees
from pairgen.train.metrics import StepLog
from pairgen.train.model import Policy, load, positions_of, save
from pairgen.train.reference import cached_logps
from pairgen.train.step import optimizer_step


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training: optimizer steps, tokens computed, seconds, the last step's numbers, rows left out."""

    steps: int
    tokens: int
    seconds: float
    metrics: dict[str, JSON]
    drops: list[Drop]


def train(
    config: TrainConfig, rows: Iterable[Demonstration | Preference], init: Path, out: Path, *,
    reference: Path | None = None, on_step: Callable[[StepLog], None] | None = None,
) -> TrainResult:
    """Train the model in `init` on rows, and write the checkpoint to `out` in Hugging Face format.

    Pairs are compared with the model in `reference` (`init` without one). Run again after a crash, it
    goes on from the last kept state. `on_step` may raise to stop: the state is kept first. Raises
    UsageError when there is nothing to train on and PairgenError when the loss is no longer finite.
    """
    make_dirs(out)
    clear_temps(out)
    data = encode(rows, AutoTokenizer.from_pretrained(init), config, positions_of(init))
    examples, steps = data.examples, total_steps(config, len(data.examples))
    policy, origin = load(init, config), folder_digest(init)
    judge, judge_origin = (load(reference, config), folder_digest(reference)) if reference else (policy, origin)
    with policy.autocast():
        check_trees(policy.model, examples)
    with crew(policy.side_by_side) as workers:
        ref_M2 = torch.zeros(len(examples), 2)
        if config.needs_reference:
            ref_M2 = cached_logps(judge, workers, judge_origin, data, out, config.micro_tokens)
        optimizer = make_optimizer(config, policy)
        run = digest({"config": identity(config), "data": data.digest, "init": origin,
                      "reference": judge_origin, "bf16": policy.bf16})
        done = checkpoint.restore(out, run, policy.trained, optimizer)
        _cut_log(out / "log.jsonl", done.step)
        while done.step < steps:
            started = time.monotonic()
            torch.manual_seed(config.seed * 1_000_003 + done.step)  # for the dropout of adapters
            lr, index = learning_rate(config, done.step, steps), batch_at(config, done.step, len(examples))
            batch, ref_B2 = [examples[i] for i in index], ref_M2[index]
            tally = optimizer_step(config, policy, workers, optimizer, batch, ref_B2, lr)
            seconds = time.monotonic() - started
            done = Progress(done.step + 1, done.tokens + tally.tokens, done.seconds + seconds)
            log, last = tally.log(done.step, steps, lr, seconds), done.step == steps
            if last or done.step % config.log_every == 0:
                append_line(out / "log.jsonl", json.dumps(asdict(log)).encode())
            if not last and config.checkpoint_every and done.step % config.checkpoint_every == 0:
                checkpoint.store(out, run, done, policy.trained, optimizer)
            try:
                if on_step:
                    on_step(log)
            except BaseException:
                checkpoint.store(out, run, done, policy.trained, optimizer)
                raise
    save(policy, init, out)
    checkpoint.discard(out)
    final = StepLog(**json.loads((out / "log.jsonl").read_bytes().splitlines()[-1]))
    return TrainResult(done.step, done.tokens, done.seconds, final.metrics(), data.drops)


def total_steps(config: TrainConfig, rows: int) -> int:
    """Optimizer steps of a run; the last of an epoch may be smaller."""
    steps = config.epochs * math.ceil(rows / config.batch_size)
    return min(steps, config.max_steps or steps)


def batch_at(config: TrainConfig, step: int, rows: int) -> list[int]:
    """The rows of a step: each epoch is one shuffle of all rows, drawn from (seed, epoch)."""
    epoch, place = divmod(step, math.ceil(rows / config.batch_size))
    order = list(range(rows))
    random.Random(f"{config.seed}/{epoch}").shuffle(order)
    return order[place * config.batch_size : (place + 1) * config.batch_size]


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The rate of a step: linear warm-up, then down to `final_lr_ratio` of the peak at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    shape = {"linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress)), "constant": 1.0}
    floor = config.final_lr_ratio
    return config.learning_rate * (floor + (1 - floor) * shape[config.schedule])


def make_optimizer(config: TrainConfig, policy: Policy) -> torch.optim.Optimizer:
    """AdamW; norms and biases (one-dimensional) do not decay."""
    trained = policy.trained.values()
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, betas=config.betas,
                             eps=config.eps, fused=True)


def _cut_log(path: Path, step: int) -> None:
    """Keep the lines of the steps that are kept: those after the restored one are taken again."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
        write_atomic(path, b"".join(whole))
