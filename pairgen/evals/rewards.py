"""Models that score answers by themselves: reward models, and the rewards a trained policy implies.

A reward model is any sequence classifier of one label. The implicit reward of a policy trained with a
reference (DPO) is sum_t log p(y_t|x) - log p_ref(y_t|x) over the tokens of the answer, its end-of-turn token
included; beta and the partition function cancel within a prompt. Without a reference (RewardBench,
2403.13787, table 7): `norm` is minus the Euclidean norm of the tokens' log-probs, `average` their mean, `sum`
their sum. Nothing is ever cut: an answer that does not fit a model leaves its item unscored, with the reason.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from transformers import AutoTokenizer

from pairgen.engines._local import quiet
from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem
from pairgen.evals.items import ChoiceItem, PairItem, RatingItem
from pairgen.fingerprint import JSON, folder_digest
from pairgen.records import Message, Messages
from pairgen.train.annotator import RewardModel
from pairgen.train.config import TrainConfig
from pairgen.train.crew import crew
from pairgen.train.example import CHOSEN, Branch, Example
from pairgen.train.logps import check_trees, token_logps
from pairgen.train.model import Policy, load, positions_of
from pairgen.train.packing import MicroBatch, micro_batches
from pairgen.train.render import Conversation, Renderer, Tokens, Unfit

Rule = Literal["sum", "average", "norm"]
AnyItem = PairItem | ChoiceItem | RatingItem
ITEMS = 256
"""Items scored together, for prompts that they share."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and the answers to score."""

    prompt: Messages
    answers: tuple[str, ...]

    def conversation(self, answer: str) -> Messages:
        """The prompt with an answer."""
        return (*self.prompt, Message("assistant", answer))


class Scorer(Protocol):
    """What gives every answer a number; higher is better."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    @property
    def identity(self) -> JSON:
        """Everything that decides its numbers."""

    def scores(self, asked: Sequence[Asked]) -> list[tuple[float, ...] | Unfit]:
        """The numbers of each prompt's answers, or why there are none."""


def asked_of(item: AnyItem) -> Asked:
    """An item as a scoring model sees it: the conversation and its answers, the better ones first."""
    prompt = item.messages or (Message("user", item.instruction),)
    if isinstance(item, PairItem):
        return Asked(prompt, (item.chosen, item.rejected))
    return Asked(prompt, item.answers if isinstance(item, ChoiceItem) else (item.answer,))


def score_rows(items: Sequence[AnyItem], scorer: Scorer) -> Iterator[EvalItem]:
    """Each item with its scores, in order; one with an answer that cannot be scored is unscored."""
    if strange := next((item for item in items if not isinstance(item, AnyItem)), None):
        raise UsageError(f"{scorer.name} scores answers, and {type(strange).__name__} items have none to score")
    left = iter(items)
    while some := list(islice(left, ITEMS)):
        for item, found in zip(some, scorer.scores([asked_of(item) for item in some]), strict=True):
            if isinstance(found, Unfit):
                yield item.row(error=": ".join(map(str, found.args[:2])))
            else:
                yield item.row(scores=found)


@dataclass(frozen=True)
class Rewards:
    """A reward model in a folder. `batch_tokens` are computed at once."""

    folder: Path
    batch_tokens: int = 8192

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def identity(self) -> JSON:
        return {"scorer": "reward", "weights": folder_digest(self.folder)}

    def scores(self, asked: Sequence[Asked]) -> list[tuple[float, ...] | Unfit]:
        numbers = iter(list(self._model.scores([one.conversation(a) for one in asked for a in one.answers])))
        return [_together([next(numbers) for _ in one.answers]) for one in asked]

    @cached_property
    def _model(self) -> RewardModel:
        return RewardModel.load(self.folder, batch_tokens=self.batch_tokens)


@dataclass(frozen=True)
class Implicit:
    """The reward that a policy implies. Without a reference `rule` says what its own log-probs are worth."""

    policy: Path
    reference: Path | None = None
    rule: Rule = "sum"
    chat_template: str | None = None
    batch_tokens: int = 8192

    @property
    def name(self) -> str:
        return f"{self.policy.name} (implicit)"

    @property
    def identity(self) -> JSON:
        reference = folder_digest(self.reference) if self.reference else None
        return {"scorer": "implicit", "weights": folder_digest(self.policy), "reference": reference,
                "rule": self.rule, "chat_template": self.chat_template}

    def scores(self, asked: Sequence[Asked]) -> list[tuple[float, ...] | Unfit]:
        own = self._policy.sums(asked)
        if self._reference is None:
            return [_together([s if isinstance(s, Unfit) else s.by(self.rule) for s in some]) for some in own]
        other = self._reference.sums(asked)
        return [_together(list(map(_ratio, mine, theirs))) for mine, theirs in zip(own, other, strict=True)]

    @cached_property
    def _policy(self) -> "TokenSums":
        return TokenSums.of(self.policy, self.chat_template, self.batch_tokens)

    @cached_property
    def _reference(self) -> "TokenSums | None":
        return TokenSums.of(self.reference, self.chat_template, self.batch_tokens) if self.reference else None


@dataclass(frozen=True, slots=True)
class Sums:
    """Of an answer's tokens: how many, the sum of their log-probs, and that of the squares."""

    tokens: int
    total: float
    squares: float

    def by(self, rule: Rule) -> float:
        """What the answer is worth by a rule without a reference."""
        return {"sum": self.total, "average": self.total / self.tokens, "norm": -math.sqrt(self.squares)}[rule]


class TokenSums:
    """A language model that reads answers and writes none."""

    def __init__(self, config: TrainConfig, model: Policy, renderer: Renderer, positions: int) -> None:
        self._config, self._model, self._renderer, self._positions = config, model, renderer, positions
        self._checked = False

    @classmethod
    def of(cls, folder: Path, chat_template: str | None, batch_tokens: int) -> "TokenSums":
        """Open a folder: fp32 weights, on a GPU computed in bf16. Raises UsageError where there is no model."""
        config = TrainConfig(objective="dpo", learning_rate=1.0, micro_tokens=batch_tokens)
        with quiet():
            renderer = Renderer(AutoTokenizer.from_pretrained(folder), chat_template)
        return cls(config, load(folder, config), renderer, positions_of(folder))

    def sums(self, asked: Sequence[Asked]) -> list[list[Sums | Unfit]]:
        """The sums of every answer, or why there are none."""
        read = list(self._read([one.conversation(answer) for one in asked for answer in one.answers]))
        measured = iter(self._measured([example for example in read if isinstance(example, Example)]))
        found = iter([example if isinstance(example, Unfit) else next(measured) for example in read])
        return [[next(found) for _ in one.answers] for one in asked]

    def _read(self, conversations: Sequence[Messages]) -> Iterator[Example | Unfit]:
        """Each conversation as a prompt and the tokens of its last turn, or why it is none."""
        texts: list[Any] = []
        for messages in conversations:
            try:
                texts.append(self._renderer.text(Conversation(messages, (len(messages) - 1,))))
            except Unfit as unfit:
                texts.append(unfit)
        tokens = iter(self._renderer.tokens([text for text in texts if not isinstance(text, Unfit)]))
        for text in texts:
            yield text if isinstance(text, Unfit) else self._example(next(tokens))

    def _example(self, tokens: Tokens) -> Example | Unfit:
        first, last = tokens.spans[0]
        if last > self._positions:
            return Unfit("too-long", f"{last} tokens, the model takes {self._positions}")
        if not 0 < first < last or not tokens.faithful:
            return Unfit("unfaithful", "the tokens of the answer do not decode to it")
        answer = Branch(tokens.ids[first:last], np.ones(last - first, dtype=np.bool_))
        return Example("", 1.0, tokens.ids[:first], (answer, None, None, None))

    def _measured(self, examples: Sequence[Example]) -> list[Sums]:
        self._model.model.eval()
        if examples and not self._checked:
            with self._model.autocast():
                check_trees(self._model.model, examples)
            self._model.model.eval()
            self._checked = True
        sums: list[Any] = [None] * len(examples)
        with crew(self._model.side_by_side) as workers:
            plan = micro_batches(examples, self._config.micro_tokens, workers.parts) if examples else []
            for batch, found_K in zip(plan, workers.map(self._look, plan), strict=True):
                for row, branch_S in zip(batch.rows_R.tolist(), batch.branch_RS.tolist(), strict=True):
                    sums[row] = found_K[branch_S[CHOSEN]]
        return sums

    def _look(self, batch: MicroBatch) -> list[Sums]:
        with torch.no_grad(), self._model.autocast():  # a worker thread does not inherit it
            logps_N = token_logps(self._model, batch.to(self._model.device)).logps_N.float().cpu()
        total_K, squares_K = (
            torch.zeros(len(batch.tokens_K)).index_add(0, batch.branch_N, x_N) for x_N in (logps_N, logps_N.square())
        )
        return [Sums(*some) for some in
                zip(batch.tokens_K.tolist(), total_K.tolist(), squares_K.tolist(), strict=True)]


def _ratio(mine: Sums | Unfit, theirs: Sums | Unfit) -> float | Unfit:
    if isinstance(mine, Unfit):
        return mine
    return theirs if isinstance(theirs, Unfit) else mine.total - theirs.total


def _together(numbers: Sequence[float | Unfit]) -> tuple[float, ...] | Unfit:
    """All numbers of an item, or the first reason why one is missing."""
    found = [number for number in numbers if not isinstance(number, Unfit)]
    return tuple(found) if len(found) == len(numbers) else next(n for n in numbers if isinstance(n, Unfit))
