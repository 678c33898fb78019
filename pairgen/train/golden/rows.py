"""Entries whose inputs are one row of the file: a batch of one pair."""

import re
from collections.abc import Callable, Iterator
from functools import partial

from pairgen.train.golden.check import Entry, Fields, compare
from pairgen.train.golden.evaluate import Row, gradients, metrics, pair_loss, pairs, running
from pairgen.train.golden.names import CPO_TRAINER, DPO_TRAINER, OLD_DPO_TRAINER, Meaning, meaning
from pairgen.train.objectives import Pairs, RunningMean
from pairgen.train.objectives.free import alpha_rewards_B, log_odds_B
from pairgen.train.objectives.maths import nl

INPUTS = frozenset({
    "id", "note", "policy_chosen_logps", "policy_rejected_logps", "ref_chosen_logps", "ref_rejected_logps", "beta",
    "chosen_len", "rejected_len", "avg_policy_chosen_logps", "avg_policy_rejected_logps",
})


def of_rows(rows: list[Row]) -> Iterator[Entry]:
    """Every entry of every row."""
    for row in rows:
        for section, found in row.items():
            if section in INPUTS:
                continue
            if section not in SECTIONS:
                yield Entry(f"rows {section}", (), f"{row['id']}: no section here is called {section!r}")
            elif section == "metrics":
                yield compare("rows metrics", row["id"], found, partial(_metrics, section, row))
            else:
                for name, golden in found.items():
                    yield compare(f"{section} {name}", row["id"], golden, partial(SECTIONS[section], name, row))


def _metrics(_: str, row: Row) -> Fields:
    x = pairs([row])
    return metrics(row["beta"] * x.c, row["beta"] * x.j, x)


def _dpo(name: str, row: Row) -> Fields:
    return _loss_and_gradients(pairs([row]), meaning(name, row["beta"], DPO_TRAINER))


def _old_dpo(name: str, row: Row) -> Fields:
    """Names may begin with what the loss is commonly called: `cdpo: sigmoid[ls=0.1]`."""
    what = meaning(re.sub(r"^\w+: ", "", name), row["beta"], OLD_DPO_TRAINER)
    return _loss_and_gradients(running(pairs([row]), RunningMean(), row["beta"])[0], what)


def _cpo(name: str, row: Row) -> Fields:
    x, what = pairs([row]), meaning(name, row["beta"], CPO_TRAINER)
    return {**_loss_and_gradients(x, what), **_rewards(x, what)}


def _orpo(name: str, row: Row) -> Fields:
    found, x = _cpo(name, row), pairs([row])
    odds = log_odds_B(x)
    return {**found, "or_term_to_add": found["loss"], "log_odds": odds, "logsigmoid_log_odds": -nl(odds)}


def _rewards(x: Pairs, what: Meaning) -> Fields:
    """Without a reference the implicit reward is beta times what the loss compares."""
    params = what.terms[0].params
    beta, alpha = float(params["beta"]), float(params.get("alpha", 0.25 if what.terms[0].use == "alphapo" else 0))
    sides = {"chosen_reward": x.chosen, "rejected_reward": x.rejected}
    return {key: beta * (alpha_rewards_B(s, alpha) if what.averages else s.logps_B) for key, s in sides.items()}


def _loss_and_gradients(x: Pairs, what: Meaning) -> Fields:
    loss = pair_loss(x, what)
    chosen_B, rejected_B = gradients(loss, x.chosen.logps_B, x.rejected.logps_B)
    if what.averages:
        chosen_B, rejected_B = chosen_B * x.chosen.tokens_B, rejected_B * x.rejected.tokens_B
    return {"loss": loss, "grad_chosen": chosen_B, "grad_rejected": rejected_B}


SECTIONS: dict[str, Callable[[str, Row], Fields]] = {
    "trl_dpo": _dpo,
    "trl_0_28": _old_dpo,
    "trl_cpo": _cpo,
    "trl_orpo": _orpo,
    "trl_tpo (tpo_alpha=0)": _cpo,
    "metrics": _metrics,
}
