"""The density ratio of prompts: what the classifier must satisfy, and what it recovers where the truth is known."""

import math

import numpy as np
import pytest

from pairgen.errors import UsageError
from pairgen.train.density import fit_density

torch = pytest.importorskip("torch")


def penalised_loss(slope: np.ndarray, bias: float, desirable: np.ndarray, undesirable: np.ndarray) -> float:
    """The objective in plain form: half the squared slope, and each class weighing half of all rows."""
    rows, signed = len(desirable) + len(undesirable), ((1, desirable), (-1, undesirable))
    of_class = [np.mean(np.log1p(np.exp(-sign * (x @ slope + bias)))) for sign, x in signed]
    return float(0.5 * slope @ slope + rows / 2 * sum(of_class))


def test_no_small_step_from_the_fit_lowers_the_penalised_loss() -> None:
    draw = np.random.default_rng(0)
    desirable, undesirable = draw.normal(0.3, 1, (90, 4)), draw.normal(-0.2, 1, (25, 4))
    fitted = fit_density(desirable, undesirable)
    least = penalised_loss(fitted.slope_E, fitted.bias, desirable, undesirable)
    for _ in range(50):
        step = 1e-3 * draw.normal(size=5)
        assert penalised_loss(fitted.slope_E + step[:4], fitted.bias + step[4], desirable, undesirable) > least


def test_where_both_densities_are_known_the_ratio_is_theirs_whatever_the_class_sizes() -> None:
    """Normals at +-1/2: the log-ratio is the coordinate itself. A thousand rows pin it to a tenth or so."""
    draw = np.random.default_rng(1)
    fitted = fit_density(draw.normal(0.5, 1, (20_000, 1)), draw.normal(-0.5, 1, (2_000, 1)), sample=20_000)
    assert fitted.slope_E[0] == pytest.approx(1.0, abs=0.1)
    assert fitted.bias == pytest.approx(0.0, abs=0.1)


def test_weights_stay_within_a_half_and_ten() -> None:
    points = np.array([[1.0]] * 400), np.array([[-1.0]] * 400)
    assert fit_density(*points).weight_N(np.array([[1.0], [-1.0], [0.0]])).tolist() == pytest.approx([10, 0.5, 1])


def test_classes_that_a_line_separates_still_have_finite_weights() -> None:
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(40, 384))
    fitted = fit_density(rows[:20] + 5, rows[20:] - 5)
    assert np.isfinite(fitted.log_ratio_N(rows)).all()
    assert (fitted.log_ratio_N(rows + 5) > 0).all()


def test_at_most_the_sample_is_drawn_of_a_class_and_the_seed_says_which() -> None:
    draw = np.random.default_rng(3)
    many, few = draw.normal(size=(3000, 2)), draw.normal(0.5, 1, (500, 2))
    first, again, other = (fit_density(many, few, seed=seed) for seed in (0, 0, 1))
    assert first.bias == again.bias != other.bias
    assert not math.isclose(first.bias, fit_density(many, few, sample=3000).bias, rel_tol=1e-9)


def test_a_tensor_of_rows_gets_a_weight_each_with_pairs_in_both_classes() -> None:
    from pairgen.train.density import density_ratio

    draw = np.random.default_rng(4)
    rows = torch.from_numpy(draw.normal(size=(50, 3))).float()
    desirable = torch.tensor([i < 30 for i in range(50)])
    undesirable = torch.tensor([i >= 20 for i in range(50)])
    got = density_ratio(rows, desirable, undesirable)
    want = fit_density(rows[:30].double().numpy(), rows[20:].double().numpy()).weight_N(rows.double().numpy())
    assert got.dtype == rows.dtype
    assert got.tolist() == pytest.approx(want.tolist(), rel=1e-6)
    everywhere = torch.ones(50, dtype=torch.bool)
    assert density_ratio(rows, everywhere, everywhere).tolist() == pytest.approx([1.0] * 50)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="found 3 desirable and 0 undesirable"):
        fit_density(np.ones((3, 2)), np.ones((0, 2)))
