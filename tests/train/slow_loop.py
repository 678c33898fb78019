"""Preference training the slow and obvious way: padded forwards of a plain Hugging Face model, the loss written out
where it is used, torch's own optimizers. Nothing of the trainer is used, so that its curves can be compared with these.

Names: B rows, T tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from pairgen.records import Demonstration, Labelled, Preference

Row = Demonstration | Preference | Labelled
CHOSEN, REJECTED, STRANGER, GOLD = range(4)


@dataclass(frozen=True)
class Told:
    """What a model says of a completion: log-probs and certainties of its tokens."""

    logps_T: Tensor
    certainty_T: Tensor

    @property
    def logp(self) -> Tensor:
        return self.logps_T.sum()


@dataclass
class Step:
    """The rows of a step as a loss sees them: by side, what policy and reference say. `memory` lasts a training."""

    policy: list[dict[int, Told]]
    reference: list[dict[int, Told]]
    rows: Sequence[Row]
    memory: dict[str, Any] = field(default_factory=dict)

    def logps(self, side: int, of: str = "policy") -> Tensor:
        """[B]: summed log-probs of the rows that have the side."""
        return torch.stack([told[side].logp for told in getattr(self, of) if side in told])

    def ratios(self, side: int) -> Tensor:
        """[B]: log policy/reference."""
        return self.logps(side) - self.logps(side, "reference")

    def tokens(self, side: int) -> Tensor:
        """[B]: target tokens."""
        return torch.tensor([float(len(told[side].logps_T)) for told in self.policy if side in told])


Loss = Callable[[Step], Tensor]


@dataclass(frozen=True)
class Recipe:
    """What is not the loss. `rate` gives the learning rate of a step, by number and of how many."""

    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer]
    rate: Callable[[int, int], float]
    batch: int
    steps: int
    clip: float


def curve(init: Path, rows: Sequence[Row], loss: Loss, recipe: Recipe, strangers: bool = False,
          reference: Path | None = None) -> list[float]:
    """The loss before every step. Rows are taken in order, round and round."""
    tokenizer, policy = AutoTokenizer.from_pretrained(init), LlamaForCausalLM.from_pretrained(init)
    judge = LlamaForCausalLM.from_pretrained(reference or init)
    sides = [_sides(tokenizer, row) for row in rows]
    if strangers:
        sides = [{**own, STRANGER: (own[next(iter(own))][0], other)}
                 for own, other in zip(sides, _lent(sides), strict=True)]
    optimizer, memory, found = recipe.optimizer(list(policy.parameters())), {}, []
    for number in range(recipe.steps):
        first = number * recipe.batch % len(rows)
        batch = sides[first : first + recipe.batch]
        with torch.no_grad():
            known = told_by(judge, batch)
        step = Step(told_by(policy, batch), known, rows[first : first + recipe.batch], memory)
        found.append(descend(loss(step), policy.parameters(), optimizer, recipe, number))
    return found


def reward_curve(init: Path, rows: Sequence[Preference], loss: Callable[[Tensor, Tensor, Sequence[Preference]], Tensor],
                 recipe: Recipe) -> list[float]:
    """The same for a reward model: a linear layer on the last state of a whole rendered conversation."""
    tokenizer, decoder = AutoTokenizer.from_pretrained(init), LlamaForCausalLM.from_pretrained(init).model
    draw = torch.Generator().manual_seed(0)
    head_D = torch.empty(1, decoder.config.hidden_size).normal_(std=decoder.config.initializer_range, generator=draw)
    parameters = [*decoder.parameters(), head_D.requires_grad_()]
    optimizer, found = recipe.optimizer(parameters), []

    def rewards(texts: Sequence[str]) -> Tensor:
        states = [decoder(torch.tensor([tokenizer.encode(text, add_special_tokens=False)])).last_hidden_state[0, -1]
                  for text in texts]
        return torch.stack(states) @ head_D[0]

    for number in range(recipe.steps):
        first = number * recipe.batch % len(rows)
        batch = rows[first : first + recipe.batch]
        sides = [rewards([f"<bos><user>{r.prompt[0].content}<assistant>{side(r)}<eos>\n" for r in batch])
                 for side in (lambda r: r.chosen[0].content, lambda r: r.rejected[0].content)]
        found.append(descend(loss(*sides, batch), parameters, optimizer, recipe, number))
    return found


def descend(value: Tensor, parameters: Any, optimizer: torch.optim.Optimizer, recipe: Recipe, number: int) -> float:
    """One optimizer step; the loss before it."""
    optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(list(parameters), recipe.clip or math.inf)
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(number, recipe.steps)
    optimizer.step()
    return value.item()


def told_by(model: Any, batch: Sequence[dict[int, tuple[list[int], list[int]]]]) -> list[dict[int, Told]]:
    """One padded forward of all sides of all rows."""
    flat = [pair for sides in batch for pair in sides.values()]
    longest = max(len(prompt) + len(answer) for prompt, answer in flat)
    ids_BT = torch.tensor([prompt + answer + [0] * (longest - len(prompt) - len(answer)) for prompt, answer in flat])
    here_BT = torch.tensor([[1] * (n := len(p) + len(a)) + [0] * (longest - n) for p, a in flat])
    logps_BTV = model(input_ids=ids_BT, attention_mask=here_BT).logits.log_softmax(-1)
    found = iter([_told(logps_TV, *pair) for logps_TV, pair in zip(logps_BTV, flat, strict=True)])
    return [{side: next(found) for side in sides} for sides in batch]


def _told(logps_TV: Tensor, prompt: list[int], answer: list[int]) -> Told:
    rows_TV = logps_TV[len(prompt) - 1 : len(prompt) + len(answer) - 1]
    logps_T = rows_TV.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return Told(logps_T, (logps_T - (2 * rows_TV).logsumexp(-1)).detach())


def _sides(tokenizer: Any, row: Row) -> dict[int, tuple[list[int], list[int]]]:
    """Prompt and completion, as ids, by side; the completion ends with its end-of-turn token."""
    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    asked = row.messages[0] if isinstance(row, Demonstration) else row.prompt[0]
    prompt = ids(f"<bos><user>{asked.content}<assistant>")
    if isinstance(row, Demonstration):
        answers = {CHOSEN: row.messages[1]}
    elif isinstance(row, Labelled):
        answers = {CHOSEN if row.desirable else REJECTED: row.completion[0]}
    else:
        answers = {CHOSEN: row.chosen[0], REJECTED: row.rejected[0]} | ({GOLD: row.gold[0]} if row.gold else {})
    return {side: (prompt, ids(f"{answer.content}<eos>")) for side, answer in answers.items()}


def _lent(sides: Sequence[dict[int, tuple[list[int], list[int]]]]) -> list[list[int]]:
    """For each row a completion of the next one that asks something else, the first following the last; of
    a pair the chosen one where the lender's place is even, the rejected where it is odd."""
    prompts = [next(iter(own.values()))[0] for own in sides]
    lent = []
    for i in range(len(sides)):
        lender = next(k % len(sides) for k in range(i + 1, i + len(sides)) if prompts[k % len(sides)] != prompts[i])
        order = (REJECTED, CHOSEN) if lender % 2 else (CHOSEN, REJECTED)
        lent.append(next(sides[lender][side][1] for side in order if side in sides[lender]))
    return lent
