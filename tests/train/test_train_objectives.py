"""Every loss against numbers of other people's code, and against what can be worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pairgen.train.objectives import OBJECTIVES, Pairs, Targets

GOLDEN = json.loads((Path(__file__).parent / "golden_losses.json").read_text())
ROWS = {row["id"]: row for row in GOLDEN["rows"]}
PER_TOKEN = {"simpo", "orpo"}  # golden gradients of these are with respect to averages
CASES = [(row, entry) for row in ROWS for entry in ROWS[row]["values"] if not entry.startswith("mix/")]
MIXES = [(row, entry) for row in ROWS for entry in GOLDEN["mixes"]]


def inputs(row: dict[str, Any], dtype: torch.dtype = torch.float64) -> tuple[Pairs, Targets]:
    """A golden row as a batch of one; policy log-probs ask for gradients."""
    def tensor(name: str) -> Tensor:
        return torch.tensor([float(row[name])], dtype=dtype)

    names = ("ref_chosen_logps", "ref_rejected_logps", "chosen_len", "rejected_len")
    policy = (tensor(f"policy_{side}_logps").requires_grad_() for side in ("chosen", "rejected"))
    pairs = Pairs(*policy, *map(tensor, names))
    return pairs, Targets(pairs.chosen_B, pairs.chosen_tokens_B)


def term(use: str, params: dict[str, Any], row: dict[str, Any], pairs: Pairs, targets: Targets) -> Tensor:
    """One term as the trainer reduces it: a batch of one divided by its tokens or its one row."""
    params = {k: row["beta"] if v == "row" else v for k, v in params.items()}
    objective = OBJECTIVES[use]
    loss = objective.loss(targets if objective.on == "targets" else pairs, **params).sum()
    return loss / targets.tokens_B.sum() if params.get("norm") == "token" else loss


def grads(loss: Tensor, pairs: Pairs) -> list[float]:
    found = torch.autograd.grad(loss, [pairs.chosen_B, pairs.rejected_B], allow_unused=True)
    return [0.0 if g is None else float(g) for g in found]


@pytest.mark.parametrize(("row_id", "entry"), CASES)
def test_loss_and_gradients_equal_the_reference_implementation(row_id: str, entry: str) -> None:
    row, ours = ROWS[row_id], GOLDEN["ours"][entry]
    want = [float(v) for v in row["values"][entry]]
    if not all(map(math.isfinite, want)):
        pytest.skip("the reference overflows here; see the test of our own finiteness")
    pairs, targets = inputs(row)
    loss = term(ours["use"], ours["params"], row, pairs, targets)
    got = grads(loss, pairs)
    if ours["use"] in PER_TOKEN:
        got = [g * n for g, n in zip(got, (row["chosen_len"], row["rejected_len"]), strict=True)]
    # the reference computes orpo in fp32, and holds exo's label noise in fp32
    rel, tiny = {"orpo": (2e-5, 1e-6), "exo": (1e-6, 1e-8)}.get(ours["use"], (1e-9, 1e-12))
    assert [loss.item(), *got] == pytest.approx(want, rel=rel, abs=tiny)


@pytest.mark.parametrize(("row_id", "entry"), MIXES)
def test_weighted_sums_equal_the_reference_implementation(row_id: str, entry: str) -> None:
    row = ROWS[row_id]
    pairs, targets = inputs(row)
    loss = sum((w * term(use, p, row, pairs, targets) for use, w, p in GOLDEN["mixes"][entry]), torch.zeros(()))
    want = row["values"][f"mix/{entry}"]
    assert [loss.item(), *grads(loss, pairs)] == pytest.approx(want, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("row_id", ROWS)
@pytest.mark.parametrize("use", [u for u, o in OBJECTIVES.items() if o.on == "pairs"])
def test_no_input_gives_a_loss_or_gradient_that_is_not_finite_in_fp32(use: str, row_id: str) -> None:
    pairs, _ = inputs(ROWS[row_id], torch.float32)
    loss = OBJECTIVES[use].loss(pairs).sum()
    assert all(map(math.isfinite, [loss.item(), *grads(loss, pairs)]))


LN2 = math.log(2)
AT_START = {
    "dpo": LN2, "cdpo": LN2, "robust": LN2, "sigmoid-norm": LN2, "hinge": 1.0, "apo-zero": 1.0, "apo-down": 1.0,
    "nca": 2 * LN2, "bco-pair": 2 * LN2, "ipo": 25.0, "sppo-hard": 500_000.0, "discopop": LN2 / 2 + 0.5,
    "exo": -0.5 * (math.log(1e-3) + math.log(1 - 1e-3)) - LN2,
}


def test_the_table_of_first_losses_names_every_loss_with_a_reference() -> None:
    assert AT_START.keys() == {use for use, o in OBJECTIVES.items() if o.needs_reference}


@pytest.mark.parametrize("use", AT_START)
def test_loss_where_policy_equals_reference_is_the_closed_form(use: str) -> None:
    pairs, _ = inputs(ROWS["r00"])
    assert OBJECTIVES[use].loss(pairs).sum().item() == pytest.approx(AT_START[use], rel=1e-12)


@pytest.mark.parametrize("row_id", ["r01", "r04", "r05", "r13"])
def test_swapping_the_sides_moves_dpo_by_the_margin(row_id: str) -> None:
    x, _ = inputs(ROWS[row_id])
    swapped = Pairs(x.rejected_B, x.chosen_B, x.ref_rejected_B, x.ref_chosen_B, x.rejected_tokens_B, x.chosen_tokens_B)
    dpo = OBJECTIVES["dpo"].loss
    assert (dpo(swapped) - dpo(x)).sum().item() == pytest.approx(0.1 * x.h.sum().item())


def test_robust_and_cdpo_without_flips_are_dpo() -> None:
    x, _ = inputs(ROWS["r03"])
    want = OBJECTIVES["dpo"].loss(x).sum().item()
    assert OBJECTIVES["robust"].loss(x, flip=0.0).sum().item() == pytest.approx(want, rel=1e-12)
    assert OBJECTIVES["cdpo"].loss(x, flip=0.0).sum().item() == pytest.approx(want, rel=1e-12)


def test_apo_down_does_not_touch_the_chosen_side_at_the_start() -> None:
    x, _ = inputs(ROWS["r00"])
    assert grads(OBJECTIVES["apo-down"].loss(x).sum(), x) == pytest.approx([0.0, 0.025])


def test_nll_by_hand_in_its_three_norms() -> None:
    """Two completions, -6 over 3 tokens and -1 over 1: the trainer divides by 4 tokens or 2 rows."""
    x = Targets(torch.tensor([-6.0, -1.0]), torch.tensor([3.0, 1.0]))
    nll = OBJECTIVES["nll"].loss
    assert float(nll(x, norm="token").sum()) / 4 == 7 / 4
    assert float(nll(x, norm="example").sum()) / 2 == (2 + 1) / 2
    assert float(nll(x, norm="sum").sum()) / 2 == 7 / 2
