"""Losses, modifiers and the running mean on cases worked out by hand; numbers of other code are in the golden tests."""

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
sys.path.insert(0, os.path.dirname(__file__))

from batches import pairs, unpaired  # noqa: E402
from torch import Tensor  # noqa: E402

from pairgen.train.objectives import (  # noqa: E402
    OBJECTIVES,
    Pairs,
    Rewards,
    RunningMean,
    Side,
    apo_auto_mask,
    rewards_of,
    running_mean,
    with_divergence,
    with_ld,
    wpo_weight,
)

seeds = st.integers(0, 10_000)
quick = settings(max_examples=25, deadline=None)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def value(use: str, x: Any, **params: Any) -> Tensor:
    return OBJECTIVES[use].loss(x, **params)


def test_objectives_are_known_without_torch() -> None:
    code = "import sys; from pairgen.train.objectives import OBJECTIVES as o; print(len(o), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (f"{len(OBJECTIVES)} False", "")


def test_nll_by_hand_in_its_three_norms() -> None:
    """Two completions, -6 over 3 tokens and -1 over 1: the trainer divides by 4 tokens or 2 rows."""
    x = Side(column(-6.0, -1.0), column(0.0, 0.0), column(3.0, 1.0))
    assert float(value("nll", x, norm="token").sum()) / 4 == 7 / 4
    assert float(value("nll", x, norm="example").sum()) / 2 == (2 + 1) / 2
    assert float(value("gold-nll", x, norm="sum").sum()) / 2 == 7 / 2


def test_apo_down_does_not_touch_the_chosen_side_at_the_start_nor_does_slic_once_the_margin_is_met() -> None:
    chosen = column(-50.0).requires_grad_()
    x = Pairs(Side(chosen, column(-50.0), column(40)), Side(column(-60.0), column(-60.0), column(50)))
    assert torch.autograd.grad(value("apo-down", x).sum(), chosen)[0].item() == 0
    assert torch.autograd.grad(value("slic", x).sum(), chosen)[0].item() == -0.1
    assert value("slic", x, delta=15, imitate=0).tolist() == [5.0]


@given(seed=seeds, margin=st.floats(-2, 2))
@quick
def test_apo_auto_is_zero_where_the_winner_beats_the_policy_and_down_elsewhere(seed: int, margin: float) -> None:
    x = pairs(6, seed)
    assert x.chosen.score_B is not None
    assert x.policy_score_B is not None
    mask = apo_auto_mask(x, margin=margin, beta=0.2)
    above = [w >= p + margin for w, p in zip(x.chosen.score_B.tolist(), x.policy_score_B.tolist(), strict=True)]
    assert mask.tolist() == above
    zero, down = (value(use, x, beta=0.2) for use in ("apo-zero", "apo-down"))
    auto = value("apo-auto", x, beta=0.2, margin=margin)
    assert torch.equal(auto[mask], zero[mask])
    assert torch.equal(auto[~mask], down[~mask])


def test_a_winner_as_good_as_the_policy_is_not_lowered() -> None:
    x = pairs(3)
    assert apo_auto_mask(replace(x, policy_score_B=x.chosen.score_B)).all()


def test_bco_matched_weighs_undesirable_rows_and_those_alone() -> None:
    x = replace(unpaired(pairs(3, 2)), undesirable_weight_B=column(0.5, 10.0))
    plain, weighed = value("bco", x), value("bco-matched", x)
    assert weighed.tolist() == pytest.approx([*plain[:3].tolist(), 0.5 * plain[3].item(), 10 * plain[4].item()])


def test_bradley_terry_with_a_margin_of_zeros_is_bradley_terry() -> None:
    x = Rewards(column(1.0, -2.0), column(0.5, 3.0), column(0.0, 0.0))
    assert torch.equal(value("bt-margin", x, center=0.01), value("bt", x, center=0.01))


def test_divergences_at_rest_are_zero_and_as_steep_as_their_second_derivative() -> None:
    """f'(1) = 0 once the constants are in; d f'(e^u)/du at 0 is f''(1): 1, or 1/2 for Jensen-Shannon."""
    slopes = {}
    for kind in ("reverse-kl", "forward-kl", "js", "alpha"):
        logps = column(-3.0).requires_grad_()
        at_rest = Side(logps, column(-3.0), column(4.0))
        x = with_divergence(Pairs(at_rest, at_rest), kind)
        assert x.c.item() == pytest.approx(0, abs=1e-15)
        slopes[kind] = torch.autograd.grad(x.c.sum(), logps)[0].item()
    assert slopes == pytest.approx({"reverse-kl": 1, "forward-kl": 1, "js": 0.5, "alpha": 1})


@given(seed=seeds, alpha=st.floats(0.01, 0.9))
@quick
def test_divergences_are_the_derivatives_of_their_generators(seed: int, alpha: float) -> None:
    """f'(t) at t = e^u, by central differences of f: the generators of 2309.16240, table 1."""
    generators = {
        "forward-kl": lambda t: t - torch.log(t),
        "js": lambda t: t * torch.log(t) - (t + 1) * torch.log((t + 1) / 2),
        "alpha": lambda t: (t**alpha - 1 - alpha * (t - 1)) / (alpha * (alpha - 1)),
    }
    x = pairs(5, seed, spread=2.0)
    t, step = x.c.exp(), 1e-6 * x.c.exp()
    for kind, f in generators.items():
        slope = (f(t + step) - f(t - step)) / (2 * step)
        torch.testing.assert_close(with_divergence(x, kind, alpha).c, slope, rtol=1e-5, atol=1e-5)


@given(seed=seeds)
@quick
def test_the_alpha_divergence_is_forward_kl_at_0_and_goes_to_reverse_kl_at_1(seed: int) -> None:
    x = pairs(5, seed, spread=3.0)
    torch.testing.assert_close(with_divergence(x, "alpha", 0.0).h, with_divergence(x, "forward-kl").h)
    torch.testing.assert_close(with_divergence(x, "alpha", 1 - 1e-9).h, x.h, rtol=1e-6, atol=1e-6)
    assert with_divergence(x, "reverse-kl") is x


@given(seed=seeds, alpha=st.floats(0, 1), lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)))
@quick
def test_ld_counts_tokens_beyond_the_shorter_side_alpha_times_under_both_models(
    seed: int, alpha: float, lengths: tuple[int, int]
) -> None:
    draw = torch.Generator().manual_seed(seed)
    shorter, sides, want = min(lengths), [], []
    for length in lengths:
        policy, ref = (-torch.rand(length, generator=draw, dtype=torch.float64) for _ in range(2))
        weight = torch.tensor([1.0] * shorter + [alpha] * (length - shorter), dtype=torch.float64)
        want.append(((policy - ref) * weight).sum().item())
        sums = [t.sum()[None] for t in (policy, ref)], [t[shorter:].sum()[None] for t in (policy, ref)]
        sides.append(Side(*sums[0], column(length), *sums[1]))
    x = with_ld(Pairs(*sides), alpha)
    assert [x.c.item(), x.j.item()] == pytest.approx(want, abs=1e-12)
    assert [x.chosen.tokens_B.item(), x.rejected.tokens_B.item()] == list(lengths)


def test_wpo_weighs_by_how_likely_the_policy_finds_each_word_against_its_own_sampling() -> None:
    """Two words of probabilities (1/2, 1/4, 1/4) and (1, 0, 0), the chosen side took 1/2 then 1: log(1/2 / 3/8) / 2."""
    chosen = (math.log(0.5) - math.log(0.25 + 2 * 0.0625) + 0.0) / 2
    rejected = math.log(0.25) - math.log(0.375)
    certainty = column(chosen).requires_grad_()
    some = pairs(1)
    x = Pairs(replace(some.chosen, certainty_B=certainty), replace(some.rejected, certainty_B=column(rejected)))
    assert wpo_weight(x).item() == pytest.approx(math.sqrt(4 / 3) * 2 / 3)
    assert not wpo_weight(x).requires_grad
    likely = replace(x, rejected=replace(x.rejected, certainty_B=column(2.0)))
    assert wpo_weight(likely).item() > 1
    assert wpo_weight(likely, clamp=True).item() == 1


@given(numbers=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), cut=st.integers(0, 40))
@quick
def test_the_running_mean_is_the_mean_of_everything_however_it_came(numbers: list[float], cut: int) -> None:
    state = RunningMean()
    for part in (numbers[:cut], numbers[cut:]):
        state = running_mean(state, column(*part))
    assert state.mean == pytest.approx(math.fsum(numbers) / len(numbers), rel=1e-9, abs=1e-6)
    assert state.count == len(numbers)
    assert RunningMean(**json.loads(json.dumps(asdict(state)))) == state


def test_the_rewards_bco_averages_are_of_both_sides_without_gradient() -> None:
    x = pairs(3, 4)
    x = replace(x, chosen=replace(x.chosen, logps_B=x.chosen.logps_B.requires_grad_()))
    assert rewards_of(x, 0.5).tolist() == pytest.approx([*(0.5 * x.c).tolist(), *(0.5 * x.j).tolist()])
    assert not rewards_of(x, 0.5).requires_grad
    assert len(rewards_of(unpaired(x), 0.5)) == 5


@pytest.mark.parametrize("use", OBJECTIVES)
def test_the_defaults_of_a_loss_lie_within_its_own_limits_and_are_a_term_of_a_config(use: str) -> None:
    from pairgen.train.config import Term

    term = Term.model_validate({"use": use})
    assert Term.model_validate({"use": use, **term.params}) == term


@pytest.mark.parametrize(("use", "wrong"), [
    ("dpo", {"beta": 0}), ("cdpo", {"flip": 0.5}), ("exo", {"noise": 0}), ("relative-po", {"tau": 0}),
    ("relative-po-diagonal", {"own": 1.5}), ("kto", {"desirable_weight": -1}), ("bt", {"center": -0.1}),
    ("cpo", {"form": "round"}), ("slic", {"delta": -1}), ("bco", {"delta": 0.5}),
])
def test_parameters_outside_their_limits_are_refused(use: str, wrong: dict[str, Any]) -> None:
    from pairgen.train.config import Term

    with pytest.raises(ValueError, match=f"loss {use!r}"):
        Term.model_validate({"use": use, **wrong})
