"""Entries with inputs of their own: rewards of a head, log-probs per token, and the papers' authors' code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pairgen.train.golden.check import Entry, Fields, compare
from pairgen.train.golden.evaluate import Row, gradients, mean, pair_loss, pairs, side, tensor, values
from pairgen.train.golden.names import AUTHORS, DPO_TRAINER, NEMO_ALIGNER, Term, Unknown, meaning
from pairgen.train.objectives import Pairs, Rewards, Side, Unpaired, with_ld
from pairgen.train.objectives.coupled import contrasts

REWARD_INPUTS = frozenset({"rewards_chosen", "rewards_rejected", "margin", "center_rewards_coefficient"})
AUTHORS_INPUTS = frozenset({"chosen_rows", "rejected_rows", "status", "prompt_embeddings_in_status_order"})


def of_reward_models(section: Mapping[str, Fields]) -> Iterator[Entry]:
    """Bradley-Terry: margin and centering are among an entry's fields."""
    for name, golden in section.items():
        yield compare(f"reward_modelling {name}", "", golden, partial(_reward_model, golden), REWARD_INPUTS)


def _reward_model(golden: Fields) -> Fields:
    chosen_B, rejected_B = (tensor(golden[f"rewards_{s}"]).requires_grad_() for s in ("chosen", "rejected"))
    margin = golden["margin"]
    x = Rewards(chosen_B, rejected_B, None if margin is None else tensor(margin))
    term = Term("bt" if margin is None else "bt-margin", {"center": golden["center_rewards_coefficient"] or 0.0})
    loss = mean(x, term)
    both_B = torch.cat([chosen_B, rejected_B]).detach()
    metrics = {
        "min_reward": both_B.min(), "mean_reward": both_B.mean(), "max_reward": both_B.max(),
        "accuracy": (chosen_B > rejected_B).double().mean(), "margin": (chosen_B - rejected_B).detach().mean(),
    }
    grads = gradients(loss, chosen_B, rejected_B)
    return {"loss": loss, "grad_chosen": grads[0], "grad_rejected": grads[1], "metrics": metrics}


def of_tokens(section: Mapping[str, Any]) -> Iterator[Entry]:
    """Losses of one small batch whose log-probs are given token by token."""
    for name, golden in section.get("results", {}).items():
        yield compare(f"token_level {name}", "", golden, partial(_tokens, name, section))


def _tokens(name: str, section: Mapping[str, Any]) -> Fields:
    what = meaning(name, float(section["beta"]), DPO_TRAINER)
    x = Pairs(_token_side(section, "chosen", "rejected"), _token_side(section, "rejected", "chosen"))
    found: dict[str, Any] = {"loss": pair_loss(x, what)}
    if what.ld is not None:
        shortened = with_ld(x, what.ld)
        found |= {"ref_chosen": shortened.chosen.ref_B, "ref_rejected": shortened.rejected.ref_B}
    return found


def _token_side(section: Mapping[str, Any], name: str, other: str) -> Side:
    policy, ref, squares = (
        section[f"{key}_{name}{end}"]
        for key, end in (("policy", "_token_logps"), ("ref", "_token_logps"), ("log_sum_sq_probs", ""))
    )
    shorter = [min(len(a), len(b)) for a, b in zip(policy, section[f"policy_{other}_token_logps"], strict=True)]
    certainty = [sum(p) / len(p) - sum(q) / len(q) for p, q in zip(policy, squares, strict=True)]
    return Side(
        tensor([sum(t) for t in policy]), tensor([sum(t) for t in ref]), tensor([len(t) for t in policy]),
        tail_B=tensor([sum(t[n:]) for t, n in zip(policy, shorter, strict=True)]),
        ref_tail_B=tensor([sum(t[n:]) for t, n in zip(ref, shorter, strict=True)]),
        certainty_B=tensor(certainty),
    )


def of_authors(section: Mapping[str, Any], rows: Mapping[str, Row], ids: Sequence[str]) -> Iterator[Entry]:
    """What the authors of relative PO, reward-aware PO and HALOs publish; `_` names are inputs."""
    for name, golden in section.items():
        if not name.startswith("_"):
            batch = Batch(rows, tuple(ids), section)
            yield compare(f"authors {name}", "", golden, partial(_authors, name, golden, batch), AUTHORS_INPUTS)


@dataclass(frozen=True, slots=True)
class Batch:
    """The file's rows, those of its batch, and the section's inputs."""

    by_id: Mapping[str, Row]
    ids: tuple[str, ...]
    inputs: Mapping[str, Any]

    @property
    def rows(self) -> list[Row]:
        """The rows of the batch, in order."""
        return [self.by_id[i] for i in self.ids]


def _authors(name: str, golden: Fields, batch: Batch) -> Fields:
    x, beta = pairs(batch.rows), float(batch.rows[0]["beta"])
    if name.startswith("NeMo-Aligner "):
        return _nemo(name.removeprefix("NeMo-Aligner "), beta, x, batch.inputs)
    if found := re.search(r"SLiC\S*", name):
        return _pairwise(x, meaning(found[0], beta, AUTHORS).terms[0])
    if not name.startswith("Yin RPO "):
        raise Unknown("no loss here is called so")
    if "no embeddings" in name:
        return _without_embeddings(x, beta)
    term = meaning(name.removeprefix("Yin RPO "), beta, AUTHORS).terms[0]
    if term.use == "relative-po-unpaired":
        return _relative_unpaired(term, golden, batch.by_id)
    embeddings = torch.stack([tensor(e) for e in batch.inputs["_embeddings (row i = prompt of batch row i)"]])
    return _pairwise(replace(x, embedding_BE=embeddings), term)


def _nemo(name: str, beta: float, x: Pairs, inputs: Mapping[str, Any]) -> Fields:
    scores = inputs["_gt_rewards for the NeMo entries"]
    chosen, rejected = (
        replace(s, score_B=tensor(scores[key])) for s, key in ((x.chosen, "chosen"), (x.rejected, "rejected"))
    )
    term = meaning(name, beta, NEMO_ALIGNER).terms[0]
    return {**_pairwise(Pairs(chosen, rejected), term), "acc": (x.c > x.j).double().mean()}


def _pairwise(x: Pairs, term: Term) -> Fields:
    return _fields(values(x, term), x.chosen, x.rejected)


def _fields(values_B: Tensor, chosen: Side, rejected: Side) -> Fields:
    loss = values_B.mean()
    grads = gradients(loss, chosen.logps_B, rejected.logps_B)
    return {"losses": values_B, "loss_mean": loss, "grad_chosen": grads[0], "grad_rejected": grads[1]}


def _without_embeddings(x: Pairs, beta: float) -> Fields:
    """Their code without an encoder weighs every contrast 1, not 1/N. We refuse instead; the contrasts are the same."""
    return _fields(contrasts(x.c, x.j, x.c.new_ones(()), beta).mean(1), x.chosen, x.rejected)


def _relative_unpaired(term: Term, golden: Fields, rows: Mapping[str, Row]) -> Fields:
    """Their losses are one per desirable row; ours are scaled so that the mean over all completions is theirs."""
    chosen, rejected = (side([rows[i] for i in golden[f"{s}_rows"]], s) for s in ("chosen", "rejected"))
    embeddings = [tensor(e) for e in golden["prompt_embeddings_in_status_order"]]
    own = {s: torch.stack([e for e, is_of in zip(embeddings, golden["status"], strict=True) if is_of == s])
           for s in ("chosen", "rejected")}
    x = Unpaired(chosen, rejected, desirable_embedding_BE=own["chosen"], undesirable_embedding_BE=own["rejected"])
    values_B = values(x, term)
    count = len(chosen.logps_B)
    return {**_fields(values_B, chosen, rejected), "losses": values_B[:count] * count / len(values_B)}
