"""A reward model at work: conversations in, numbers out. Ours, or any sequence classifier of one label.

Conversations of one prompt are a prompt tree, where the model's own numbers show that trees are right
for it; otherwise (encoders, heads of other shapes) each conversation is a plain forward pass, without
padding, so that no model can misread it.

Names: K branches.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pairgen.engines._local import quiet
from pairgen.errors import UsageError
from pairgen.records import Messages
from pairgen.train.crew import SMALL, Crew, crew
from pairgen.train.example import CHOSEN, Branch, Example
from pairgen.train.model import positions_of
from pairgen.train.packing import MicroBatch, micro_batches
from pairgen.train.render import Conversation, Ids, Renderer, Tokens, Unfit
from pairgen.train.reward import HEAD, RewardScorer, check_rewards, is_reward_model

CHUNK = 512
"""Conversations looked at together for prompts they share."""


@dataclass(slots=True)
class RewardModel:
    """A reward model ready to score. `batch_tokens` are computed at once; `trees` is None until it is known."""

    model: Any
    renderer: Renderer
    positions: int
    batch_tokens: int
    trees: bool | None = field(default=None)

    @classmethod
    def load(cls, folder: str | Path, *, batch_tokens: int = 8192, chat_template: str | None = None) -> "RewardModel":
        """Open a folder: fp32 on a CPU, the checkpoint's own precision on a GPU.

        Raises UsageError when there is no sequence classifier of one label in it.
        """
        config = _one_label(Path(folder))
        cuda = torch.cuda.is_available()
        with quiet():
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, config=config, dtype=(config.dtype or torch.float32) if cuda else torch.float32)
        renderer = Renderer(AutoTokenizer.from_pretrained(folder), chat_template)
        return cls(model.to("cuda" if cuda else "cpu").eval(), renderer, positions_of(Path(folder)), batch_tokens)

    def score(self, conversations: Sequence[Messages]) -> list[float]:
        """The reward of each conversation, in order. Raises UsageError for one that cannot be scored."""
        found = []
        for i, score in enumerate(self.scores(conversations)):
            if isinstance(score, Unfit):
                raise UsageError(f"conversation {i} cannot be scored: {': '.join(map(str, score.args))}")
            found.append(score)
        return found

    def scores(self, conversations: Iterable[Messages]) -> Iterator[float | Unfit]:
        """The same, streamed, with the reason in place of a number where there is none: too long, no answer."""
        chunk: list[Messages] = []
        for conversation in conversations:
            chunk.append(conversation)
            if len(chunk) == CHUNK:
                yield from self._scored(chunk)
                chunk = []
        yield from self._scored(chunk)

    def _scored(self, chunk: Sequence[Messages]) -> list[float | Unfit]:
        rendered = self._rendered(chunk)
        found: list[Any] = list(rendered)
        there = [i for i, ids in enumerate(rendered) if not isinstance(ids, Unfit)]
        examples = _examples([(chunk[i][:-1], found[i]) for i in there])
        with crew(self._is_small) as workers:
            if self.trees is None and examples:
                self.trees = self._takes_trees(examples)
            scores = self._in_trees(examples, workers) if self.trees else self._plain(examples)
        for i, score in zip(there, scores, strict=True):
            found[i] = score
        return found

    @property
    def _is_small(self) -> bool:
        """Whether one core each for several batches is faster than all for one."""
        size: int = sum(p.numel() for p in self.model.parameters())
        return size < SMALL and self.model.device == torch.device("cpu")

    def _rendered(self, chunk: Sequence[Messages]) -> list[Ids | Unfit]:
        """The tokens of every conversation, or why it has none."""
        texts: list[Any] = []
        for messages in chunk:
            try:
                if not messages or messages[-1].role != "assistant":
                    raise Unfit("no-answer", "it does not end with an assistant turn")
                texts.append(self.renderer.text(Conversation(messages, (len(messages) - 1,))))
            except Unfit as unfit:
                texts.append(unfit)
        tokens = iter(self.renderer.tokens([text for text in texts if not isinstance(text, Unfit)]))
        return [text if isinstance(text, Unfit) else self._fitting(next(tokens)) for text in texts]

    def _fitting(self, tokens: Tokens) -> Ids | Unfit:
        if len(tokens.ids) > self.positions:
            return Unfit("too-long", f"{len(tokens.ids)} tokens, the model takes {self.positions}")
        return tokens.ids

    def _takes_trees(self, examples: Sequence[Example]) -> bool:
        """Whether this model's rewards in trees are its own."""
        if not isinstance(getattr(self.model, HEAD, None), nn.Linear):
            return False
        try:
            check_rewards(self.model, examples)
        except (UsageError, TypeError, ValueError, RuntimeError):  # a forward that takes other arguments
            return False
        finally:
            self.model.eval()
        return True

    def _in_trees(self, examples: Sequence[Example], workers: Crew) -> list[float]:
        scorer, scores = RewardScorer(self.model), [0.0] * len(examples)

        def work(batch: MicroBatch) -> list[float]:
            with torch.no_grad():  # a worker thread does not inherit it
                rewards_K: list[float] = scorer(batch.to(self.model.device)).tolist()
            return rewards_K

        plan = micro_batches(examples, self.batch_tokens, workers.parts) if examples else []
        for batch, rewards_K in zip(plan, workers.map(work, plan), strict=True):
            for row, branch_S in zip(batch.rows_R.tolist(), batch.branch_RS.tolist(), strict=True):
                scores[row] = rewards_K[branch_S[CHOSEN]]
        return scores

    @torch.no_grad()
    def _plain(self, examples: Sequence[Example]) -> list[float]:
        """Forward passes of conversations of one length, so that nothing is padded."""
        scores = [0.0] * len(examples)
        by_length: dict[int, list[int]] = defaultdict(list)
        ids: list[Ids] = []
        for i, example in enumerate(examples):
            assert example.chosen is not None
            ids.append(np.concatenate([example.prompt, example.chosen.ids]))
            by_length[len(ids[-1])].append(i)
        for length, rows in by_length.items():
            alone = getattr(self.model.config, "pad_token_id", None) is None  # then transformers takes one at a time
            size = 1 if alone else max(1, self.batch_tokens // length)
            for first in range(0, len(rows), size):
                some = rows[first : first + size]
                ids_BT = torch.tensor(np.stack([ids[i] for i in some]), dtype=torch.long, device=self.model.device)
                logits_B = self.model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).logits[:, 0]
                for i, score in zip(some, logits_B.float().tolist(), strict=True):
                    scores[i] = score
        return scores


def _one_label(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: no model here (no config.json)")
    config = AutoConfig.from_pretrained(folder)
    if not is_reward_model(config):
        found = ", ".join(config.architectures or ()) or "unnamed"
        raise UsageError(f"{folder}: not a reward model but {found}; make one with pairgen train --objective bt")
    if config.num_labels != 1:
        raise UsageError(f"{folder}: a classifier of {config.num_labels} labels; a reward model has one")
    return config


def _examples(conversations: Sequence[tuple[Messages, Ids]]) -> list[Example]:
    """Conversations as branches of the tokens that all conversations of their prompt begin with."""
    groups: dict[Messages, list[Ids]] = defaultdict(list)
    for prompt, ids in conversations:
        groups[prompt].append(ids)
    shared = {prompt: _shared(group) for prompt, group in groups.items()}
    examples = []
    for prompt, ids in conversations:
        start = shared[prompt]
        answer = Branch(ids[start:], np.ones(len(ids) - start, dtype=np.bool_))
        examples.append(Example("", 1.0, ids[:start], (answer, None, None, None)))
    return examples


def _shared(group: Sequence[Ids]) -> int:
    """How many tokens all begin with, less than the shortest has."""
    shortest = min(map(len, group)) - 1
    same = np.all([ids[:shortest] == group[0][:shortest] for ids in group], axis=0)
    return int(shortest if same.all() else same.argmin())
