"""Losses of a pair against the papers' formulas as they stand, wherever those do not overflow in fp64.

Rows range over what training can meet and far beyond: log-probs to -20000, 1 to 8192 tokens, beta .001 to 10,
ties, certain completions. What keeps ours finite must not move a number that the formula can give.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn.functional import logsigmoid  # noqa: E402

from pairgen.train.objectives import OBJECTIVES, Pairs, Side, with_divergence  # noqa: E402


@dataclass(frozen=True, slots=True)
class Row:
    """One pair: chosen and rejected log-probs under policy and reference, lengths, beta."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: float
    ref_rejected: float
    lengths: tuple[int, int]
    beta: float

    @property
    def c(self) -> Tensor:
        return self.chosen - self.ref_chosen

    @property
    def j(self) -> Tensor:
        return self.rejected - self.ref_rejected

    @property
    def x(self) -> Tensor:
        return self.beta * (self.c - self.j)

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        return self.chosen / self.lengths[0], self.rejected / self.lengths[1]

    @property
    def mean_h(self) -> Tensor:
        return self.c / self.lengths[0] - self.j / self.lengths[1]


def log_odds(a: Tensor) -> Tensor:
    return a - (torch.log(-torch.expm1(a)) if a > -math.log(2) else torch.log1p(-torch.exp(a)))


def alpha_reward(a: Tensor) -> Tensor:
    return (1 - torch.exp(-0.25 * a)) / 0.25


def divergent(f: Callable[[Tensor], Tensor]) -> Callable[[Row], Tensor]:
    return lambda r: -logsigmoid(r.beta * (f(r.c) - f(r.j)))


TEXTBOOK: dict[str, Callable[[Row], Tensor]] = {
    "dpo": lambda r: -logsigmoid(r.x),
    "cdpo": lambda r: -0.9 * logsigmoid(r.x) - 0.1 * logsigmoid(-r.x),
    "robust": lambda r: (-0.9 * logsigmoid(r.x) + 0.1 * logsigmoid(-r.x)) / 0.8,
    "ipo": lambda r: (r.mean_h - 1 / (2 * r.beta)) ** 2,
    "hinge": lambda r: torch.relu(1 - r.x),
    "sigmoid-norm": lambda r: -logsigmoid(r.beta * r.mean_h),
    "exo": lambda r: r.x.sigmoid() * (logsigmoid(r.x) - math.log(1 - 1e-3))
    + (-r.x).sigmoid() * (logsigmoid(-r.x) - math.log(1e-3)),
    "nca": lambda r: -logsigmoid(r.beta * r.c) - 0.5 * logsigmoid(-r.beta * r.c) - 0.5 * logsigmoid(-r.beta * r.j),
    "bco-pair": lambda r: -logsigmoid(r.beta * r.c) - logsigmoid(-r.beta * r.j),
    "sppo-hard": lambda r: (r.c - 0.5 / r.beta) ** 2 + (r.j + 0.5 / r.beta) ** 2,
    "apo-zero": lambda r: 1 - (r.beta * r.c).sigmoid() + (r.beta * r.j).sigmoid(),
    "apo-down": lambda r: (r.beta * r.c).sigmoid() + 1 - r.x.sigmoid(),
    "discopop": lambda r: -logsigmoid(r.x) * (1 - (r.x / 0.05).sigmoid()) + torch.exp(-r.x) * (r.x / 0.05).sigmoid(),
    "simpo": lambda r: -logsigmoid(r.beta * (r.means[0] - r.means[1]) - 1.0),
    "cpo": lambda r: -logsigmoid(r.beta * (r.chosen - r.rejected)),
    "alphapo": lambda r: -logsigmoid(r.beta * (alpha_reward(r.means[0]) - alpha_reward(r.means[1])) - 0.1),
    "orpo": lambda r: -r.beta * logsigmoid(log_odds(r.means[0]) - log_odds(r.means[1])),
    "dpo|forward-kl": divergent(lambda u: 1 - torch.exp(-u)),
    "dpo|js": divergent(lambda u: math.log(2) + logsigmoid(u)),
    "dpo|alpha": divergent(lambda u: (torch.exp(torch.clamp(-0.5 * u, max=80)) - 1) / -0.5),
}

SHAPES = [  # chosen, rejected, reference of each, lengths
    (-50.0, -60.0, -50.0, -60.0, 40, 50), (-10.0, -5000.0, -50.0, -60.0, 40, 50),
    (-5000.0, -10.0, -50.0, -60.0, 40, 50), (0.0, -10.0, -5.0, -10.0, 4, 8), (-10.0, 0.0, -5.0, -10.0, 4, 8),
    (0.0, 0.0, -1.0, -1.0, 3, 3), (-20.0, -20.0, -20.0, -20.0, 10, 10), (-45.0, -45.0, -50.0, -60.0, 40, 40),
    (-20000.0, -19000.0, -19500.0, -19800.0, 8192, 8000), (-2.0, -1500.0, -3.0, -1400.0, 1, 1024),
    (-1500.0, -2.0, -1400.0, -3.0, 1024, 1), (-400.0, -0.001, -300.0, -0.01, 1, 1), (-20000.0, -1.0, -1.0, -1.0, 1, 1),
    (-40.0, -70.0, -50.0, -70.0, 40, 50), (-40.001, -40.0, -40.0, -40.0, 37, 41), (-1e-9, -30.0, -1.0, -30.0, 2, 9),
]


@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.parametrize("beta", [0.001, 0.01, 0.1, 0.5, 2.0, 10.0])
def test_loss_and_gradients_are_the_formulas_wherever_it_has_them(name: str, beta: float) -> None:
    use, _, divergence = name.partition("|")
    compared = 0
    for chosen, rejected, ref_chosen, ref_rejected, *lengths in SHAPES:
        policy = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (chosen, rejected)]
        row = Row(*policy, ref_chosen, ref_rejected, (lengths[0], lengths[1]), beta)
        formula = TEXTBOOK[name](row)
        want = [formula, *torch.autograd.grad(formula.sum(), policy)]
        x = Pairs(*(Side(p, torch.full_like(p, ref), torch.full_like(p, n)) for p, ref, n in
                    zip(policy, (ref_chosen, ref_rejected), lengths, strict=True)))
        loss = OBJECTIVES[use].loss(with_divergence(x, divergence or "reverse-kl"), beta=beta)
        got = [loss, *torch.autograd.grad(loss.sum(), policy)]
        assert all(t.isfinite().all() for t in got)
        if name == "orpo" and max(chosen / lengths[0], rejected / lengths[1]) > -1e-6:
            continue  # nearly certain: kept where fp32 can hold the odds
        if all(t.isfinite().all() for t in want):
            compared += 1
            assert [t.item() for t in got] == pytest.approx([t.item() for t in want], rel=1e-9, abs=1e-12)
    assert compared >= len(SHAPES) - 6
