"""The training loop, to be read from top to bottom: encode, reference, step, log, save.

What a step trains on is a pure function of (seed, step), and every mean is over the whole optimizer
step, so neither micro-batches nor an interruption change a result. On one machine the same config,
rows and initial weights give the same bits (with torch's number of threads, for models that are not
small enough to be trained side by side, see `crew`).

Names: M examples of the training set.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from pairgen.fingerprint import JSON, digest, folder_digest, identity
from pairgen.fs import clear_temps, make_dirs
from pairgen.records import Drop
from pairgen.train import checkpoint
from pairgen.train.checkpoint import Live, Progress
from pairgen.train.config import TrainConfig
from pairgen.train.crew import crew
from pairgen.train.encode import Encoded, TrainRow, encode
from pairgen.train.export import Keeper, export
from pairgen.train.heldout import Heldout
from pairgen.train.logps import check_trees
from pairgen.train.metrics import StepLog, numbers
from pairgen.train.model import load, positions_of
from pairgen.train.moving import Follower
from pairgen.train.notes import Notes, last_log
from pairgen.train.prompts import prompt_vectors
from pairgen.train.ranks import ALONE, Ranks
from pairgen.train.referee import Referee
from pairgen.train.schedule import Order, learning_rate, make_optimizer
from pairgen.train.sides import Known, readings
from pairgen.train.step import Diverged, Stepper


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training: optimizer steps, tokens computed, seconds, the last step's numbers, rows left out."""

    steps: int
    tokens: int
    seconds: float
    metrics: dict[str, JSON]
    drops: list[Drop]


def train(
    config: TrainConfig, rows: Iterable[TrainRow], init: Path, out: Path, *, reference: Path | None = None,
    heldout: Iterable[TrainRow] | None = None, on_step: Callable[[StepLog], None] | None = None, ranks: Ranks = ALONE,
) -> TrainResult:
    """Train the model in `init` on rows, and write the checkpoint to `out` in Hugging Face format.

    Sides are compared with the model in `reference` (`init` without one). `heldout` rows are measured
    along the way into `heldout.jsonl`. Run again after a crash, it goes on from the last kept state.
    `on_step` may raise to stop: the state is kept first. Raises UsageError when there is nothing to train
    on, and Diverged when a number is no longer finite: the weights before that step are kept.
    """
    make_dirs(out)
    clear_temps(out)
    data = _data(config, rows, init, out)
    held = None if heldout is None else _data(config, heldout, init, out)
    policy, origin = load(init, config), folder_digest(init)
    judge, judge_origin = (load(reference, config), folder_digest(reference)) if reference else (policy, origin)
    with policy.autocast():
        check_trees(policy.model, data.encoded.examples)
    with crew(policy.side_by_side) as workers:
        referee = Referee(config, workers, judge, judge_origin, out, ranks)
        known = referee.known(data.encoded, data.vectors_ME)
        eyes = held and Heldout(held.encoded.examples, referee.known(held.encoded, held.vectors_ME))
        order = Order(config, [example.prompt.tobytes() for example in data.encoded.examples])
        live = Live(policy.trained, make_optimizer(config, policy.trained), referee.follower(policy))
        run = digest({"config": identity(config), "data": data.encoded.digest, "init": origin,
                      "reference": judge_origin, "bf16": policy.bf16})
        done = checkpoint.restore(out, run, live)
        stepper, keeper = Stepper(config, policy, workers, live.optimizer, ranks), Keeper(config, init, out)

        def watch(step: int, notes: Notes) -> None:
            if eyes and (step == order.steps or step % config.heldout_every == 0):
                seen = eyes.numbers(config, policy, workers, ranks, done.rewards.mean)
                notes.heldout(step, seen)
                keeper.best(policy, step, seen)

        with Notes(config, out, done.step, silent=not ranks.first) as notes:
            moved = range(0)
            if done.step == 0:
                watch(0, notes)
            while done.step < order.steps:
                started = time.monotonic()
                torch.manual_seed(config.seed * 1_000_003 + done.step)  # for the dropout of adapters
                if live.follower and done.step not in moved:
                    if live.follower.due(done.step):
                        live.follower.move(policy.trained)
                    moved = live.follower.window(done.step, order.steps)
                    known = referee.followed(live.follower, policy, data.encoded.examples, known, order, moved)
                index, lr = order.at(done.step), learning_rate(config, done.step, order.steps)
                batch, batch_known = [data.encoded.examples[i] for i in index], known.at(index)
                try:
                    taken = stepper.take(batch, batch_known, lr, done.rewards)
                except Diverged as error:
                    raise Diverged(f"{error}; the weights before it are in {keeper.keep(policy, done.step)}") from error
                seconds = time.monotonic() - started
                done = Progress(done.step + 1, done.tokens + taken.tokens, done.seconds + seconds, taken.rewards)
                found = readings(taken.outputs, batch_known, is_reward=config.is_reward, delta=taken.rewards.mean)
                log = StepLog(done.step, order.steps, taken.loss, lr, taken.grad_norm, taken.tokens, seconds,
                              **numbers(config, found))
                notes.step(log)
                watch(done.step, notes)
                if done.step < order.steps:
                    keeper.step(policy, done.step)
                    if config.checkpoint_every and done.step % config.checkpoint_every == 0:
                        checkpoint.store(out, run, done, live)
                try:
                    if on_step:
                        on_step(log)
                except BaseException:
                    checkpoint.store(out, run, done, live)
                    raise
    export(policy, init, out)
    checkpoint.discard(out)
    return TrainResult(done.step, done.tokens, done.seconds, last_log(out).metrics(), data.encoded.drops)


@dataclass(frozen=True, slots=True)
class _Data:
    """Rows ready to train on, and the vectors of their prompts where an objective reads them."""

    encoded: Encoded
    vectors_ME: Tensor | None


def _data(config: TrainConfig, rows: Iterable[TrainRow], init: Path, out: Path) -> _Data:
    reads_vectors = bool({"embeddings", "density"} & config.needs)
    rows = list(rows) if reads_vectors else rows
    encoded = encode(rows, AutoTokenizer.from_pretrained(init), config, positions_of(init))
    return _Data(encoded, prompt_vectors(rows, encoded.examples, out) if reads_vectors else None)
