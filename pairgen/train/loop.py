"""The training loop, to be read from top to bottom: encode, reference, step, log, save.

What a step trains on is a pure function of (seed, step), and every mean is over the whole optimizer
step, so neither micro-batches nor an interruption change a result. On one machine the same config,
rows and initial weights give the same bits (with torch's number of threads, for models that are not
small enough to be trained side by side, see `crew`).

Names: M examples of the training set.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from pairgen.errors import UsageError
from pairgen.fingerprint import JSON, digest, folder_digest, identity
from pairgen.fs import clear_temps, make_dirs
from pairgen.models import readable
from pairgen.records import Drop
from pairgen.train import checkpoint
from pairgen.train.checkpoint import Live, Progress
from pairgen.train.config import TrainConfig
from pairgen.train.crew import crew
from pairgen.train.encode import Encoded, TrainRow, encode
from pairgen.train.example import Example
from pairgen.train.export import Keeper, export
from pairgen.train.heldout import Heldout
from pairgen.train.logps import check_trees
from pairgen.train.metrics import StepLog, numbers
from pairgen.train.model import positions_of
from pairgen.train.notes import Notes, last_log
from pairgen.train.prompts import prompt_vectors
from pairgen.train.ranks import ALONE, Ranks
from pairgen.train.referee import Referee
from pairgen.train.reward import check_rewards
from pairgen.train.schedule import Order, learning_rate, make_optimizer
from pairgen.train.sharding import loaded, opened
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
    say: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train the model in `init` on rows, and write the checkpoint to `out` in Hugging Face format.

    Sides are compared with the model in `reference` (`init` without one). `heldout` rows are measured
    along the way into `heldout.jsonl`. Run again after a crash, it goes on from the last kept state.
    `on_step` may raise to stop: the state is kept first. Raises UsageError when there is nothing to train
    on, and Diverged when a number is no longer finite: the weights before that step are kept. Of several
    `ranks` each calls this with the same arguments, and `on_step` is called on each. `say` is told how
    attention is computed, once.
    """
    if config.keep_best and heldout is None:
        raise UsageError(f"keep_best: {config.keep_best} is a number of held-out rows: give some")
    make_dirs(out)
    ranks.told(lambda: clear_temps(out))
    data = _data(config, rows, init, out)
    held = None if heldout is None else _data(config, heldout, init, out, heldout=True)
    policy, origin = loaded(init, config, ranks), folder_digest(init)
    if say and ranks.first:
        say(f"{policy.attention}; {'bf16' if policy.bf16 else 'fp32'} on {policy.device.type}")
    judge, judge_origin = policy, origin
    if reference:
        judge, judge_origin = loaded(reference, config, ranks), folder_digest(reference)
    with policy.autocast():
        check = check_rewards if config.is_reward else check_trees
        opened(policy, lambda: check(policy.model, data.encoded.examples))
    run = digest({"config": identity(config), "data": data.encoded.digest, "init": origin,
                  "reference": judge_origin, "bf16": policy.bf16})
    with crew(policy.side_by_side and ranks.size == 1) as workers:
        referee = Referee(config, workers, judge, judge_origin, out, ranks)
        known = referee.known(data.encoded, data.vectors_ME)
        eyes = Heldout(held.encoded.examples, referee.known(held.encoded, held.vectors_ME)) if held else None
        live = Live(policy.trained, make_optimizer(config, policy.trained), referee.follower(policy))
        done = checkpoint.restore(out, run, live, ranks)
        order = Order(config, [example.prompt.tobytes() for example in data.encoded.examples])
        stepper, keeper = Stepper(config, policy, workers, live.optimizer, ranks), Keeper(config, init, out, ranks)
        if done.step == 0 and ranks.first:
            keeper.clear()
        with Notes(config, out, done.step, silent=not ranks.first) as notes:
            training = _Training(config, data.encoded.examples, order, stepper, referee, live, known, eyes, notes,
                                 keeper, done)
            training.look_at_the_start()
            while training.done.step < order.steps:
                log = training.step()
                training.keep()
                if training.due(config.checkpoint_every):
                    checkpoint.store(out, run, training.done, live, ranks)
                if stop := ranks.agreed(_stop(on_step, log)):
                    checkpoint.store(out, run, training.done, live, ranks)
                    raise stop
    export(policy, init, out, ranks)
    done, metrics = training.done, ranks.told(lambda: last_log(out).metrics())
    if ranks.first:
        checkpoint.discard(out)
    return TrainResult(done.step, done.tokens, done.seconds, metrics, data.encoded.drops)


def _stop(on_step: Callable[[StepLog], None] | None, log: StepLog) -> BaseException | None:
    """What `on_step` raises, so that the state can be kept first, by all ranks."""
    try:
        if on_step:
            on_step(log)
    except BaseException as error:
        return error
    return None


@dataclass(slots=True)
class _Training:
    """What changes from step to step, and what a step needs."""

    config: TrainConfig
    examples: Sequence[Example]
    order: Order
    stepper: Stepper
    referee: Referee
    live: Live
    known: Known
    eyes: Heldout | None
    notes: Notes
    keeper: Keeper
    done: Progress
    compared: range = range(0)  # the steps whose rows `known` compares with the moving reference

    def step(self) -> StepLog:
        """Take the next step and note its numbers."""
        started, number, config = time.monotonic(), self.done.step, self.config
        # for the dropout of adapters, which ranks draw apart
        torch.manual_seed(config.seed * 1_000_003 + number + 7_368_787_001 * self.stepper.ranks.rank)
        self._follow(number)
        rows, lr = self.order.at(number), learning_rate(config, number, self.order.steps)
        known = self.known.at(rows)
        try:
            taken = self.stepper.take([self.examples[i] for i in rows], known, lr, self.done.rewards)
        except Diverged as error:
            kept = self.keeper.keep(self.stepper.policy, number)
            raise Diverged(f"{error}; the weights before it are in {kept}") from error
        seconds = time.monotonic() - started
        self.done = Progress(number + 1, self.done.tokens + taken.tokens, self.done.seconds + seconds, taken.rewards)
        found = readings(taken.outputs, known, is_reward=config.is_reward, delta=taken.rewards.mean)
        log = StepLog(number + 1, self.order.steps, taken.loss, lr, taken.grad_norm, taken.tokens, seconds,
                      **numbers(config, found))
        self.notes.step(log)
        return log

    def _follow(self, step: int) -> None:
        """Move the reference when it is due, and compare the rows of the coming steps with it."""
        follower, policy = self.live.follower, self.stepper.policy
        if follower is None or step in self.compared:
            return
        if follower.due(step):
            follower.move(policy.trained)
        self.compared = follower.window(step, self.order.steps)
        self.known = self.referee.followed(follower, policy, self.examples, self.known, self.order, self.compared)

    def keep(self) -> None:
        """After a step: held-out numbers, and the checkpoints that are due."""
        last = self.done.step == self.order.steps
        if last or self.due(self.config.heldout_every):
            self._look()
        if self.due(self.config.save_every):
            self.keeper.keep(self.stepper.policy, self.done.step)

    def due(self, every: int) -> bool:
        """Whether something done every so many steps is due now; after the last step the run itself is saved."""
        return bool(every) and self.done.step % every == 0 and self.done.step < self.order.steps

    def look_at_the_start(self) -> None:
        """The held-out numbers of a model that has not been trained yet."""
        if self.done.step == 0:
            self._look()

    def _look(self) -> None:
        if self.eyes:
            seen = self.eyes.numbers(self.config, self.stepper.policy, self.stepper.crew, self.stepper.ranks,
                                     self.done.rewards.mean)
            self.notes.heldout(self.done.step, seen)
            self.keeper.best(self.stepper.policy, self.done.step, seen)


@dataclass(frozen=True, slots=True)
class _Data:
    """Rows ready to train on, and the vectors of their prompts where an objective reads them."""

    encoded: Encoded
    vectors_ME: Tensor | None


def _data(config: TrainConfig, rows: Iterable[TrainRow], init: Path, out: Path, heldout: bool = False) -> _Data:
    reads_vectors = bool({"embeddings", "density"} & config.needs)
    rows = list(rows) if reads_vectors else rows
    with readable(init, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(init)
    encoded = encode(rows, tokenizer, config, positions_of(init), heldout=heldout)
    return _Data(encoded, prompt_vectors(rows, encoded.examples, out) if reads_vectors else None)
