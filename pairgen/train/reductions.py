"""From losses of rows to the loss of a step: terms, weights, and what each sum is divided by."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pairgen.train.config import Term, TrainConfig
from pairgen.train.example import CHOSEN, GOLD, REJECTED, Example
from pairgen.train.objectives import Pairs, RunningMean, rewards_of, running_mean, with_divergence, with_ld, wpo_weight
from pairgen.train.sides import Reading


def step_totals(config: TrainConfig, examples: Sequence[Example]) -> list[float]:
    """What each term's sum over the step is divided by: weighted values it returns, or their target tokens."""
    return [_total(term, examples) for term in config.objective]


def _total(term: Term, examples: Sequence[Example]) -> float:
    on = term.objective.on
    if on in {"targets", "golds"}:
        side = CHOSEN if on == "targets" else GOLD
        branches = [(e.weight, b) for e in examples if (b := e.sides[side]) is not None]
        return sum(weight * (int(b.targets.sum()) if term.per_token else 1) for weight, b in branches)
    chosen = sum(e.weight for e in examples if e.sides[CHOSEN] is not None)
    rejected = sum(e.weight for e in examples if e.sides[REJECTED] is not None)
    if on == "unpaired":
        return chosen + rejected
    return sum(e.weight for e in examples if e.sides[CHOSEN] is not None and e.sides[REJECTED] is not None)


def step_loss(config: TrainConfig, found: Mapping[str, Reading], totals: Sequence[float]) -> Tensor:
    """The share of these rows in the step's loss; of all rows, the loss."""
    loss = torch.zeros(())
    for term, total in zip(config.objective, totals, strict=True):
        reading = found[term.objective.on]
        if not len(reading.weights_B):  # a step of demonstrations alone has no pairs, and no total to divide by
            continue
        loss_B = term_loss(term, reading.view)
        if term.objective.coupled:  # the whole step is here, and rows have no weights
            loss = loss + term.weight * loss_B.mean()
        else:
            loss = loss + term.weight / total * (reading.weights_B * loss_B).sum()
    return loss


def term_loss(term: Term, view: object) -> Tensor:
    """A term's values, [B]: its loss, on log-probs changed as its options say."""
    if not isinstance(view, Pairs):
        return term.objective.loss(view, **term.params)
    wpo_B = wpo_weight(view) if term.wpo else None
    if term.ld_alpha < 1:
        view = with_ld(view, term.ld_alpha)
    if term.divergence != "reverse-kl":
        view = with_divergence(view, term.divergence, term.divergence_alpha)
    loss_B = term.objective.loss(view, **term.params)
    return loss_B if wpo_B is None else wpo_B * loss_B


def advanced(config: TrainConfig, found: Mapping[str, Reading], mean: RunningMean) -> RunningMean:
    """The running mean of implicit rewards with those of this step, of the term that reads it."""
    term = next(term for term in config.objective if "delta" in term.needs)
    return running_mean(mean, rewards_of(found[term.objective.on].view, float(term.params["beta"])))
