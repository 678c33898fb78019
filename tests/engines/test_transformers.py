"""The fallback's own sampling, by hand."""

import pytest

torch = pytest.importorskip("torch")

from pairgen.engines.transformers import choose  # noqa: E402


def pick(probs, draw, temperature=1.0, top_p=1.0):
    rows = torch.tensor([probs], dtype=torch.float64).log()
    options = [torch.tensor([value], dtype=torch.float64) for value in (temperature, top_p, draw)]
    return choose(rows, *options).item()


def test_a_draw_inverts_the_cumulative_distribution():
    probs = [0.2, 0.5, 0.3]
    assert [pick(probs, draw) for draw in (0.0, 0.199, 0.201, 0.699, 0.701, 0.999999)] == [0, 0, 1, 1, 2, 2]


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    probs = [0.2, 0.5, 0.3]
    assert {pick(probs, draw / 100, top_p=0.49) for draw in range(100)} == {1}
    assert {pick(probs, draw / 100, top_p=0.51) for draw in range(100)} == {1, 2}
    # within the nucleus of 0.5 and 0.3 the first takes 5/8 of the draws
    assert pick(probs, 0.624, top_p=0.7) == 1
    assert pick(probs, 0.626, top_p=0.7) == 2


def test_temperature_zero_takes_the_likeliest_and_two_flattens():
    assert pick([0.2, 0.5, 0.3], 0.99, temperature=0) == 1
    # at temperature 2 the weights are the square roots: 0.1 and 0.9 become 1/4 and 3/4
    assert pick([0.1, 0.9], 0.249, temperature=2) == 0
    assert pick([0.1, 0.9], 0.251, temperature=2) == 1


def test_rows_of_one_batch_keep_their_own_options():
    logits = torch.tensor([[0.2, 0.5, 0.3]] * 3, dtype=torch.float64).log()
    options = ([0.0, 1.0, 1.0], [1.0, 0.49, 1.0], [0.9, 0.9, 0.1])
    column = [torch.tensor(values, dtype=torch.float64) for values in options]
    assert choose(logits, *column).tolist() == [1, 1, 0]
