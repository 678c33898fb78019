"""The fused head gives the values and gradients of softmax over whole logits, whatever its chunks."""

import pytest
import torch
from torch import Tensor, nn

from pairgen.train import head as head_module
from pairgen.train.head import Shape, score

N, D, V = 23, 8, 37
SHAPES = [Shape(), Shape(scale=0.25), Shape(cap=3.0), Shape(scale=2.0, cap=5.0)]


def parts(dtype: torch.dtype = torch.float64, bias: bool = True) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    head = nn.Linear(D, V, bias=bias, dtype=dtype)
    return head, torch.randn(N, D, dtype=dtype, requires_grad=True), torch.randint(V, (N,))


def plain(head: nn.Linear, shape: Shape, hidden: Tensor, labels: Tensor) -> Tensor:
    logits = head(hidden) * shape.scale
    if shape.cap is not None:
        logits = shape.cap * torch.tanh(logits / shape.cap)
    return logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("chunk", "kept"), [(1 << 22, 1 << 25), (16 * V, 1 << 25), (16 * V, 0)])
def test_values_and_gradients_are_those_of_whole_logits(
    shape: Shape, bias: bool, chunk: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "CHUNK", chunk)
    monkeypatch.setattr(head_module, "KEPT", kept)
    head, hidden, labels = parts(bias=bias)
    weights = torch.linspace(-1, 2, N, dtype=torch.float64)
    leaves = [hidden, *head.parameters()]
    want = plain(head, shape, hidden, labels)
    wanted = torch.autograd.grad((want * weights).sum(), leaves)
    got = score(head, shape, hidden, labels, False)
    gotten = torch.autograd.grad((got.logps_N * weights).sum(), leaves)
    assert torch.allclose(got.logps_N, want, atol=1e-12)
    assert got.certainty_N is None
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(gotten, wanted, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_pass_a_finite_difference_check(shape: Shape) -> None:
    head, hidden, labels = parts()

    def run(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return head_module._Head.apply(hidden, weight, bias, labels, shape, False)[0]

    assert torch.autograd.gradcheck(run, (hidden, head.weight, head.bias), atol=1e-7)


def test_certainty_is_log_p_minus_log_of_the_sum_of_squares() -> None:
    """WPO, 2406.11827: log p(y) - log sum_v p(v)^2, and no gradient flows through it."""
    head, hidden, labels = parts()
    found = score(head, Shape(), hidden, labels, True)
    p = head(hidden).softmax(-1)
    want = p.gather(1, labels[:, None])[:, 0].log() - p.square().sum(-1).log()
    assert found.certainty_N is not None
    assert torch.allclose(found.certainty_N, want, atol=1e-12)
    assert not found.certainty_N.requires_grad


def test_in_bf16_products_are_rounded_and_nothing_else() -> None:
    """The same weights rounded to bf16 by hand, multiplied in fp32: within the rounding of one logit, 2^-8."""
    head, hidden, labels = parts(torch.float32, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        got = score(head, Shape(), hidden, labels, False).logps_N
    assert got.dtype == torch.float32
    logits = hidden.bfloat16().float() @ head.weight.bfloat16().float().T
    want = logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    assert (got - want).abs().max() < 2 * 2**-8 * logits.abs().max()


def test_a_head_with_adapters_computes_its_own_logits() -> None:
    class Adapted(nn.Module):
        def __init__(self, head: nn.Linear) -> None:
            super().__init__()
            self.head = head

        def forward(self, hidden: Tensor) -> Tensor:
            return 2 * self.head(hidden)

    head, hidden, labels = parts()
    want = (2 * head(hidden)).log_softmax(-1).gather(1, labels[:, None])[:, 0]
    assert torch.allclose(score(Adapted(head), Shape(), hidden, labels, False).logps_N, want, atol=1e-12)
