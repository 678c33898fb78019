"""What must hold of every loss whatever the numbers: gradients, limits, symmetries, what it reads and what it mixes."""

import itertools
import math
import os
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
sys.path.insert(0, os.path.dirname(__file__))

from batches import (  # noqa: E402
    at,
    extreme_pairs,
    leaves,
    pairs,
    side,
    unpaired,
    view_of,
    with_leaves,
)
from torch import Tensor  # noqa: E402

from pairgen.train.objectives import (  # noqa: E402
    OBJECTIVES,
    Pairs,
    Side,
    Unpaired,
    with_divergence,
    with_ld,
    wpo_weight,
)

seeds = st.integers(0, 10_000)
quick = settings(max_examples=25, deadline=None)
COUPLED = [use for use, o in OBJECTIVES.items() if o.coupled]


def value(use: str, x: Any, **params: Any) -> Tensor:
    return OBJECTIVES[use].loss(x, **params)


def gradients(use: str, x: Any) -> list[Tensor]:
    """Of the sum of a loss's values, with respect to each side's log-probs."""
    tensors = [t.detach().clone().requires_grad_() for t in leaves(x)]
    found = torch.autograd.grad(value(use, with_leaves(x, tensors)).sum(), tensors, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]


@pytest.mark.parametrize("use", OBJECTIVES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_are_those_of_finite_differences(use: str, seed: int) -> None:
    """Central differences of the summed loss, one log-prob at a time, away from kinks and cancellations."""
    x = view_of(OBJECTIVES[use], pairs(5, seed, spread=3.0))
    tensors, step = leaves(x), 1e-5
    for which, analytic_B in enumerate(gradients(use, x)):
        for i in range(len(analytic_B)):
            moved = []
            for sign in (1, -1):
                shifted = [t.clone() for t in tensors]
                shifted[which][i] += sign * step
                moved.append(value(use, with_leaves(x, shifted)).sum().item())
            assert analytic_B[i].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=2e-5, abs=2e-7)


DIVERGENT = [use for use, o in OBJECTIVES.items() if "divergence" in o.fits]
KINDS = [("reverse-kl", 0.5), ("forward-kl", 0.5), ("js", 0.5), ("alpha", 0.5), ("alpha", 0.0), ("alpha", 0.99)]


def modified(use: str) -> list[Any]:
    """Every way of changing what a loss reads that it allows, as functions of pairs."""
    fits, ways = OBJECTIVES[use].fits, [lambda x: x]
    if "divergence" in fits:
        ways += [lambda x, k=kind, a=alpha: with_divergence(x, k, a) for kind, alpha in KINDS]
    if "ld" in fits:
        ways += [lambda x, a=alpha: with_ld(x, a) for alpha in (0.0, 0.5)]
    return ways


@pytest.mark.parametrize("use", OBJECTIVES)
@pytest.mark.parametrize("tokens", [(40.0, 50.0), (8192.0, 1.0), (1.0, 8192.0), (1.0, 1.0)])
@pytest.mark.parametrize("beside", [1.0, 1000.0])
def test_no_extreme_gives_a_loss_or_gradient_that_is_not_finite_in_fp32(
    use: str, tokens: tuple[float, float], beside: float
) -> None:
    objective = OBJECTIVES[use]
    for change in modified(use):
        x = extreme_pairs(tokens, beside)
        chosen, rejected = (s.logps_B.clone().requires_grad_() for s in (x.chosen, x.rejected))
        x = change(replace(x, chosen=replace(x.chosen, logps_B=chosen), rejected=replace(x.rejected, logps_B=rejected)))
        loss_B = value(use, view_of(objective, x))
        if "wpo" in objective.fits:
            loss_B = loss_B * wpo_weight(x)
        found = torch.autograd.grad(loss_B.sum(), [chosen, rejected], allow_unused=True)
        assert loss_B.isfinite().all()
        assert all(g is None or g.isfinite().all() for g in found)


def rest(rows: int = 4) -> Pairs:
    """Policy equal to reference; both sides of equal length and score."""
    x = pairs(rows, 7)
    zeros = torch.zeros(rows, dtype=torch.float64)
    still = [replace(s, logps_B=s.ref_B, score_B=zeros) for s in (x.chosen, x.rejected)]
    policy_score = torch.tensor([-1.0, 1.0] * (rows // 2), dtype=torch.float64)
    return Pairs(still[0], still[1], policy_score, x.embedding_BE, 0.0)


LN2 = math.log(2)
AT_REST = {
    "dpo": LN2, "cdpo": LN2, "robust": LN2, "sigmoid-norm": LN2, "hinge": 1.0, "apo-zero": 1.0, "apo-down": 1.0,
    "apo-auto": 1.0, "nca": 2 * LN2, "bco-pair": 2 * LN2, "bco-pair-running": 2 * LN2, "ipo": 25.0,
    "sppo-hard": 500_000.0, "discopop": LN2 / 2 + 0.5, "exo": -0.5 * (math.log(1e-3) + math.log(1 - 1e-3)) - LN2,
    "aot-unpaired": LN2, "kto-pair": 0.5, "relative-po": LN2, "relative-po-diagonal": LN2,
    "reward-aware-po-bwd": 0.0, "reward-aware-po-fwd": 0.0, "reward-aware-po-sq": 0.0,
    "kto": 0.5, "apo-zero-unpaired": 0.5, "bco": LN2, "aot": LN2,
}


@pytest.mark.parametrize("use", AT_REST)
def test_where_policy_equals_reference_a_loss_is_its_closed_form(use: str) -> None:
    x = view_of(OBJECTIVES[use], rest())
    if isinstance(x, Unpaired):
        x = replace(x, stranger_ratio_B=torch.zeros(2, dtype=torch.float64), delta=0.0)
    got = value(use, x)
    assert got.tolist() == pytest.approx([AT_REST[use]] * len(got), rel=1e-12, abs=1e-12)


def test_the_table_of_losses_at_rest_names_every_loss_with_a_reference() -> None:
    """But the two whose values are not one per row: relative-po-unpaired's are zero for undesirable rows, and
    bco-matched's are weighted."""
    assert AT_REST.keys() == {u for u, o in OBJECTIVES.items() if o.needs_reference} - {
        "relative-po-unpaired", "bco-matched",
    }


AT_REST_GRADIENTS = {  # spec 2.2: d loss / d chosen, rejected at c = j = 0, beta .1, 40 and 50 tokens
    "dpo": (-0.05, 0.05), "robust": (-0.0625, 0.0625), "ipo": (-0.25, 0.2), "hinge": (-0.1, 0.1),
    "exo": (-0.173, 0.173), "nca": (-0.025, 0.025), "bco-pair": (-0.05, 0.05), "sppo-hard": (-10, 10),
    "apo-zero": (-0.025, 0.025), "apo-down": (0.0, 0.025), "discopop": (0.078, -0.078),
}


@pytest.mark.parametrize("use", AT_REST_GRADIENTS)
def test_the_first_gradient_is_the_one_recorded_for_the_loss(use: str) -> None:
    policy = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (-50.0, -60.0)]
    lengths = [torch.tensor([v], dtype=torch.float64) for v in (40.0, 50.0)]
    x = Pairs(*(Side(logps, logps.detach(), n) for logps, n in zip(policy, lengths, strict=True)))
    loss = value(use, x, beta=0.1)
    found = torch.autograd.grad(loss.sum(), policy)
    assert [g.item() for g in found] == pytest.approx(AT_REST_GRADIENTS[use], abs=5e-4)


@pytest.mark.parametrize("use", OBJECTIVES)
def test_a_loss_is_coupled_exactly_when_rows_change_each_others_values(use: str) -> None:
    """BCO's rows meet in the running mean alone, which the batch gives."""
    x = pairs(6, 3)
    whole = view_of(OBJECTIVES[use], x)
    parts = [view_of(OBJECTIVES[use], at(x, slice(i, i + 3))) for i in (0, 3)]
    if isinstance(whole, Unpaired):
        parts = [_part(whole, i) for i in (0, 3)]
    apart = sum(value(use, part).sum().item() for part in parts)
    mixes = apart != pytest.approx(value(use, whole).sum().item(), rel=1e-9)
    assert mixes == (OBJECTIVES[use].coupled and "delta" not in OBJECTIVES[use].needs)


def _part(x: Unpaired, start: int) -> Unpaired:
    """Three rows of each class, or what is left of it."""
    rows = slice(start, start + 3)
    whole = {f: getattr(x, f)[rows] for f in x.__dataclass_fields__ if isinstance(getattr(x, f), Tensor)}
    return replace(x, desirable=at(x.desirable, rows), undesirable=at(x.undesirable, rows), **whole)


@pytest.mark.parametrize("use", COUPLED)
@given(seed=seeds, order=st.permutations(range(6)))
@quick
def test_the_order_of_rows_changes_nothing_of_a_coupled_loss(use: str, seed: int, order: list[int]) -> None:
    """The mean stays, and every row keeps its gradient; but AOT's, which sorts, values may change places."""
    x = pairs(6, seed)
    if OBJECTIVES[use].on == "unpaired":
        first, second = unpaired(x), replace(unpaired(x), **_moved(unpaired(x), order))
        back = [torch.tensor(order), torch.tensor([i for i in order if i < 5])]
    else:
        first, second = x, at(x, order)
        back = [torch.tensor(order)] * 2
    assert value(use, first).mean().item() == pytest.approx(value(use, second).mean().item(), rel=1e-9, abs=1e-12)
    for was, now, index in zip(gradients(use, first), gradients(use, second), back, strict=True):
        torch.testing.assert_close(now, was[index], rtol=1e-9, atol=1e-12)


def _moved(x: Unpaired, order: list[int]) -> dict[str, Any]:
    fewer = [i for i in order if i < 5]
    names = {"stranger_ratio_B": order, "desirable_embedding_BE": order, "undesirable_embedding_BE": fewer,
             "undesirable_weight_B": fewer}
    moved = {name: getattr(x, name)[index] for name, index in names.items()}
    return {**moved, "desirable": at(x.desirable, order), "undesirable": at(x.undesirable, fewer)}


@pytest.mark.parametrize("use", OBJECTIVES)
def test_a_loss_reads_the_reference_exactly_when_it_says_so(use: str) -> None:
    objective, x = OBJECTIVES[use], pairs(4, 5)
    moved = replace(x, chosen=replace(x.chosen, ref_B=x.chosen.ref_B - 1.0),
                    rejected=replace(x.rejected, ref_B=x.rejected.ref_B + 0.5))
    before, after = (value(use, view_of(objective, v)) for v in (x, moved))
    assert torch.equal(before, after) != objective.needs_reference


FIELDS: dict[str, tuple[str, ...]] = {
    "scores": ("chosen.score_B", "rejected.score_B"), "policy_score": ("policy_score_B",),
    "embeddings": ("embedding_BE", "desirable_embedding_BE", "undesirable_embedding_BE"),
    "strangers": ("stranger_ratio_B",), "density": ("undesirable_weight_B",), "margin": ("margin_B",),
    "tail": ("chosen.tail_B", "rejected.tail_B", "chosen.ref_tail_B", "rejected.ref_tail_B"),
    "certainty": ("chosen.certainty_B", "rejected.certainty_B"),
}


def without(view: Any, fields: tuple[str, ...]) -> Any:
    for field in fields:
        name, _, inner = field.partition(".")
        if hasattr(view, name):
            view = replace(view, **{name: replace(getattr(view, name), **{inner: None}) if inner else None})
    return view


@pytest.mark.parametrize("use", OBJECTIVES)
def test_a_loss_needs_the_fields_it_names_and_no_others(use: str) -> None:
    objective = OBJECTIVES[use]
    x = view_of(objective, pairs(4, 6))
    for need, fields in FIELDS.items():
        lacking = without(x, fields)
        if need in objective.needs:
            with pytest.raises(ValueError, match=r"this objective reads .*, which its batch lacks"):
                value(use, lacking)
        else:
            assert torch.equal(value(use, lacking), value(use, x))
    if not isinstance(x, Side) and hasattr(x, "delta"):
        assert torch.equal(value(use, replace(x, delta=9.0)), value(use, x)) != ("delta" in objective.needs)


@pytest.mark.parametrize("use", DIVERGENT)
def test_a_loss_that_takes_a_divergence_reads_differences_alone(use: str) -> None:
    """Only then does the constant cancel that f-DPO leaves out. Lengths are equal, for losses per token."""
    x = pairs(5, 8)
    even = [replace(s, tokens_B=torch.full_like(s.tokens_B, 20)) for s in (x.chosen, x.rejected)]
    lifted = [replace(s, logps_B=s.logps_B + 3) for s in even]
    torch.testing.assert_close(value(use, Pairs(*lifted)), value(use, Pairs(*even)), rtol=1e-9, atol=1e-12)


@given(seed=seeds)
@quick
def test_swapping_the_sides_moves_dpo_by_the_margin(seed: int) -> None:
    x = pairs(5, seed)
    torch.testing.assert_close(value("dpo", Pairs(x.rejected, x.chosen)) - value("dpo", x), 0.1 * x.h)


@given(seed=seeds)
@quick
def test_without_flips_cdpo_and_robust_are_dpo_and_at_one_half_cdpo_does_not_tell_sides_apart(seed: int) -> None:
    x = pairs(5, seed)
    for use in ("cdpo", "robust"):
        torch.testing.assert_close(value(use, x, flip=0.0), value("dpo", x))
    torch.testing.assert_close(value("cdpo", x, flip=0.5), value("cdpo", Pairs(x.rejected, x.chosen), flip=0.5))


def test_cdpo_at_one_half_is_flat_where_policy_equals_reference() -> None:
    x = rest()
    chosen = x.chosen.logps_B.clone().requires_grad_()
    loss = value("cdpo", replace(x, chosen=replace(x.chosen, logps_B=chosen)), flip=0.5).sum()
    assert torch.autograd.grad(loss, chosen)[0].abs().max().item() < 1e-15


@given(seed=seeds, noise=st.floats(1e-4, 0.49))
@quick
def test_exo_is_reward_aware_po_forward_with_the_noise_as_score(seed: int, noise: float) -> None:
    """e = s(-q)."""
    x = pairs(5, seed)
    q = torch.full_like(x.c, math.log((1 - noise) / noise))
    scored = Pairs(replace(x.chosen, score_B=q), replace(x.rejected, score_B=0 * q))
    exo = value("exo", x, noise=noise, beta=0.2)
    torch.testing.assert_close(exo, value("reward-aware-po-fwd", scored), rtol=1e-7, atol=1e-9)


@given(seed=seeds, flip=st.floats(0.01, 0.49))
@quick
def test_reward_aware_po_backward_is_cdpo_less_the_entropy_of_its_labels(seed: int, flip: float) -> None:
    x = pairs(5, seed)
    q = torch.full_like(x.c, math.log((1 - flip) / flip))
    scored = Pairs(replace(x.chosen, score_B=q), replace(x.rejected, score_B=0 * q))
    entropy = -flip * math.log(flip) - (1 - flip) * math.log(1 - flip)
    torch.testing.assert_close(
        value("reward-aware-po-bwd", scored, beta=0.1), value("cdpo", x, flip=flip) - entropy, rtol=1e-7, atol=1e-9
    )


@given(seed=seeds)
@quick
def test_reward_aware_po_backward_with_certain_scores_is_dpo(seed: int) -> None:
    x = pairs(5, seed)
    certain = Pairs(replace(x.chosen, score_B=x.c * 0 + 60), replace(x.rejected, score_B=x.c * 0))
    torch.testing.assert_close(value("reward-aware-po-bwd", certain, beta=0.1), value("dpo", x))


def test_exo_grows_without_limit_as_its_noise_vanishes_on_a_pair_at_rest() -> None:
    losses = [value("exo", rest(), noise=10.0**-k)[0].item() for k in (1, 3, 6, 12)]
    assert losses == sorted(losses)
    assert losses[-1] == pytest.approx(0.5 * 12 * math.log(10) - LN2, rel=1e-6)


def relative_po_by_hand(c: Any, j: Any, own: Any, other: Any, beta: float, tau: float) -> list[float]:
    """Yin et al. in plain floats: a loss for every chosen completion."""
    losses = []
    for c_i, e_i in zip(c, own, strict=True):
        scores = []
        for e_k in other:
            dot = sum(a * b for a, b in zip(e_i, e_k, strict=True))
            norms = math.sqrt(sum(a * a for a in e_i) * sum(b * b for b in e_k))
            scores.append(math.exp(-(1 - dot / norms) / tau))
        weights = [s / sum(scores) for s in scores]
        terms = [math.log1p(math.exp(-beta * w * (c_i - j_k))) for w, j_k in zip(weights, j, strict=True)]
        losses.append(sum(terms) / len(terms))
    return losses


@given(seed=seeds, rows=st.integers(1, 7), beta=st.floats(0.01, 2), tau=st.floats(0.05, 5))
@quick
def test_relative_po_is_the_double_loop(seed: int, rows: int, beta: float, tau: float) -> None:
    x = pairs(rows, seed)
    assert x.embedding_BE is not None
    want = relative_po_by_hand(
        x.c.tolist(), x.j.tolist(), x.embedding_BE.tolist(), x.embedding_BE.tolist(), beta, tau)
    assert value("relative-po", x, beta=beta, tau=tau).tolist() == pytest.approx(want, rel=1e-9)
    u = unpaired(x)
    assert u.desirable_embedding_BE is not None
    assert u.undesirable_embedding_BE is not None
    want = relative_po_by_hand(
        u.desirable.ratio_B.tolist(), u.undesirable.ratio_B.tolist(), u.desirable_embedding_BE.tolist(),
        u.undesirable_embedding_BE.tolist(), beta, tau)
    got = value("relative-po-unpaired", u, beta=beta, tau=tau)
    assert got.mean().item() == pytest.approx(sum(want) / len(want), rel=1e-9)
    assert got[rows:].abs().sum().item() == 0


@given(seed=seeds)
@quick
def test_relative_po_as_tau_vanishes_is_dpo_shared_among_contrasts_that_say_nothing(seed: int) -> None:
    """Every weight is on the own prompt: the N - 1 others give ln 2, and all is divided by N."""
    x = pairs(4, seed)
    got = value("relative-po", x, tau=1e-5)
    torch.testing.assert_close(got, value("dpo", x) / 4 + 3 / 4 * LN2)


@pytest.mark.parametrize("empty", ["desirable", "undesirable"])
def test_relative_po_unpaired_of_one_class_alone_is_zero_and_pulls_nowhere(empty: str) -> None:
    x = unpaired(pairs(3, 1))
    names = {"desirable": "desirable_embedding_BE", "undesirable": "undesirable_embedding_BE"}
    x = replace(x, **{empty: at(getattr(x, empty), slice(0, 0)), names[empty]: getattr(x, names[empty])[:0]})
    assert value("relative-po-unpaired", x).abs().sum().item() == 0
    assert all(g.abs().sum().item() == 0 for g in gradients("relative-po-unpaired", x))


@given(seed=seeds, rows=st.integers(1, 6), weights=st.tuples(st.floats(0, 3), st.floats(0, 3)), shift=st.floats(-9, 9))
@quick
def test_kto_with_pairs_is_the_paper_by_hand(
    seed: int, rows: int, weights: tuple[float, float], shift: float
) -> None:
    """A pair gives one desirable and one undesirable completion; z is never below 0."""
    x = pairs(rows, seed)
    strangers = side(rows, seed + 9).ratio_B + shift
    u = Unpaired(x.chosen, x.rejected, stranger_ratio_B=strangers)
    z = max(0.0, sum(strangers.tolist()) / rows)
    want = [weights[0] * (1 - 1 / (1 + math.exp(-0.1 * (c - z)))) for c in x.c.tolist()]
    want += [weights[1] * (1 - 1 / (1 + math.exp(-0.1 * (z - j)))) for j in x.j.tolist()]
    got = value("kto", u, desirable_weight=weights[0], undesirable_weight=weights[1])
    assert got.tolist() == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_ktos_estimate_of_the_divergence_carries_no_gradient() -> None:
    strangers = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    x = replace(unpaired(pairs(3)), stranger_ratio_B=strangers)
    assert not value("kto", x).requires_grad


@given(seed=seeds)
@quick
def test_aot_of_one_pair_is_dpo_and_sorted_pairs_are_dpo_with_swapped_partners(seed: int) -> None:
    one = pairs(1, seed)
    for use in ("aot", "aot-unpaired"):
        torch.testing.assert_close(value(use, one, beta=0.1), value("dpo", one))
    x = pairs(5, seed)
    partners = zip(sorted(x.c.tolist()), sorted(x.j.tolist()), strict=True)
    want = [math.log1p(math.exp(-0.1 * (c - j))) for c, j in partners]
    assert value("aot-unpaired", x, beta=0.1).tolist() == pytest.approx(want)


def test_aot_unpaired_is_the_least_of_all_matchings() -> None:
    """nl is convex, so sorted partners transport most cheaply: brute force over all 120 matchings."""
    x = pairs(5, 11)
    cheapest = min(
        sum(math.log1p(math.exp(-0.1 * (c - j))) for c, j in zip(x.c.tolist(), order, strict=True))
        for order in itertools.permutations(x.j.tolist())
    )
    assert value("aot-unpaired", x, beta=0.1).sum().item() == pytest.approx(cheapest)


@given(seed=seeds, alpha=st.floats(1e-7, 1e-5))
@quick
def test_alphapo_goes_to_simpo_as_alpha_vanishes(seed: int, alpha: float) -> None:
    x = pairs(5, seed)
    want = value("simpo", x, beta=2.5, gamma=0.1)
    torch.testing.assert_close(value("alphapo", x, alpha=alpha), want, rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(value("alphapo", x, alpha=0.0), want)


@given(seed=seeds, flip=st.floats(0, 0.49), form=st.sampled_from(["sigmoid", "hinge", "ipo"]))
@quick
def test_cpo_is_the_loss_of_its_form_against_a_reference_of_zeros_with_that_many_sides_swapped(
    seed: int, flip: float, form: str
) -> None:
    x = pairs(5, seed)
    free = Pairs(*(replace(s, ref_B=0 * s.ref_B) for s in (x.chosen, x.rejected)))
    use = {"sigmoid": "dpo", "hinge": "hinge", "ipo": "ipo"}[form]
    want = (1 - flip) * value(use, free) + flip * value(use, Pairs(free.rejected, free.chosen))
    torch.testing.assert_close(value("cpo", x, flip=flip, form=form), want)
