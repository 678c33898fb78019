"""Entries whose inputs are several rows of the file at once: losses that mix rows, or keep a running mean."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from pairgen.train.golden.check import Entry, Fields, compare
from pairgen.train.golden.evaluate import (
    Row,
    gradients,
    mean,
    metrics,
    pair_loss,
    pairs,
    running,
    tensor,
    unpaired,
    values,
)
from pairgen.train.golden.names import DPO_TRAINER, KTO_TRAINER, OLD_DPO_TRAINER, Term, Unknown, meaning
from pairgen.train.objectives import Pairs, RunningMean, Unpaired
from pairgen.train.objectives.coupled import kto_pair_sides

INPUTS = frozenset({"kl_policy_logps", "kl_ref_logps", "desirable_weight", "undesirable_weight", "rows"})


def of_batches(section: Mapping[str, Any], rows: Mapping[str, Row], ids: Sequence[str]) -> Iterator[Entry]:
    """Every entry of the section; `ids` are the rows of its batch."""
    for name, golden in section.items():
        source, _, loss = name.partition(":")
        label = f"batch {name}"
        if source == "trl_1_13":
            yield from _bco(label, loss, rows, golden)
        elif source in TRAINERS:
            own = re.findall(r"r\d\d", loss) or ids
            yield compare(label, "", golden, partial(TRAINERS[source], loss, rows, own, golden), INPUTS)
        else:
            yield Entry(label, (), f"no trainer here is called {source!r}")


def _chosen(rows: Mapping[str, Row], ids: Sequence[str]) -> list[Row]:
    if missing := [i for i in ids if i not in rows]:
        raise Unknown(f"the file has no row {', '.join(missing)}")
    return [rows[i] for i in ids]


def _beta(rows: Sequence[Row]) -> float:
    """The one beta of a batch."""
    betas = {float(row["beta"]) for row in rows}
    if len(betas) != 1:
        raise Unknown(f"a batch has one beta, its rows have {sorted(betas)}")
    return betas.pop()


def _dpo(name: str, by_id: Mapping[str, Row], ids: Sequence[str], _: Fields) -> Fields:
    rows = _chosen(by_id, ids)
    x, beta = pairs(rows), _beta(rows)
    loss = pair_loss(x, meaning(name, beta, DPO_TRAINER))
    return {**_gradients(loss, x), "loss_mean": loss, "metrics": metrics(beta * x.c, beta * x.j, x)}


def _old_dpo(name: str, by_id: Mapping[str, Row], ids: Sequence[str], _: Fields) -> Fields:
    rows = _chosen(by_id, ids)
    beta = _beta(rows)
    x = running(pairs(rows), RunningMean(), beta)[0]
    values_B = values(x, meaning(name, beta, OLD_DPO_TRAINER).terms[0])
    return {**_gradients(values_B.mean(), x), "losses": values_B, "loss_mean": values_B.mean()}


def _kto_pair(name: str, by_id: Mapping[str, Row], ids: Sequence[str], _: Fields) -> Fields:
    rows = _chosen(by_id, ids)
    x, beta = pairs(rows), _beta(rows)
    loss = mean(x, meaning(re.sub(r" second batch.*", "", name), beta, OLD_DPO_TRAINER).terms[0])
    chosen_B, rejected_B = kto_pair_sides(x, beta).chunk(2)
    return {
        **_gradients(loss, x), "loss_mean_over_2N": loss, "losses_chosen": chosen_B, "losses_rejected": rejected_B,
        "chosen_KL": x.c.mean().relu(), "rejected_KL": x.j.mean().relu(),
    }


def _kto(name: str, by_id: Mapping[str, Row], ids: Sequence[str], golden: Fields) -> Fields:
    rows = _chosen(by_id, ids)
    x, beta = pairs(rows), _beta(rows)
    strangers = tensor(golden["kl_policy_logps"]) - tensor(golden["kl_ref_logps"])
    term = meaning(name, beta, KTO_TRAINER).terms[0]
    weights = {key: float(golden[key]) for key in ("desirable_weight", "undesirable_weight")}
    if term.use == "kto":
        term = replace(term, params={**term.params, **weights})
    loss = mean(replace(unpaired(x), stranger_ratio_B=strangers), term)
    kl = strangers.mean().relu()
    return {**_gradients(loss, x), "loss_mean_over_2N": loss, "kl": kl, "metrics": metrics(beta * x.c, beta * x.j, x)}


def _bco(label: str, name: str, by_id: Mapping[str, Row], batches: Sequence[Fields]) -> Iterator[Entry]:
    """Consecutive batches that share one running mean."""
    state = RunningMean()
    for number, golden in enumerate(batches):
        rows = _chosen(by_id, golden["rows"])
        x, beta = pairs(rows), _beta(rows)
        seen, state = running(unpaired(x), state, beta)
        term = meaning(name.split(" ")[0], beta, KTO_TRAINER).terms[0]
        yield compare(label, f"batch {number}", golden, partial(_bco_step, x, seen, term), INPUTS)


def _bco_step(x: Pairs, seen: Unpaired, term: Term) -> Fields:
    values_B = values(seen, term)
    chosen_B, rejected_B = values_B.chunk(2)
    loss = values_B.mean()
    return {
        **_gradients(loss, x), "delta": seen.delta, "loss_mean_over_2N": loss,
        "losses_chosen": chosen_B, "losses_rejected": rejected_B,
    }


def _gradients(loss: Tensor, x: Pairs) -> Fields:
    found = gradients(loss, x.chosen.logps_B, x.rejected.logps_B)
    return dict(zip(("grad_chosen", "grad_rejected"), found, strict=True))


TRAINERS = {"trl_dpo": _dpo, "trl_0_28": _old_dpo, "trl_0_8_6": _kto_pair, "trl_kto": _kto}
