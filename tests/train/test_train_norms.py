"""Norms rounded at once: the same numbers as torch's, one copy, and only where they are what they seem."""

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Qwen3Config

from pairgen.train.norms import _RMSNorm, round_norms

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 48, "vocab_size": 61}


def test_values_and_gradients_are_those_of_torch() -> None:
    """Against torch.nn.functional.rms_norm in fp64, and finite differences."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return _RMSNorm.apply(x, weight, 1e-3, torch.float64)

    assert torch.allclose(run(x, weight), nn.functional.rms_norm(x, (8,), weight, 1e-3), atol=1e-12)
    assert torch.autograd.gradcheck(run, (x, weight))


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    """Llama has two norms a layer, Qwen3 four; Gemma's multiply by 1 + weight; no one's last norm is touched."""
    counts = {}
    for config in (LlamaConfig(**SIZES), Qwen3Config(**SIZES, head_dim=8), Gemma2Config(**SIZES, head_dim=8)):
        counts[config.model_type] = round_norms(AutoModelForCausalLM.from_config(config).get_decoder())
    assert counts == {"llama": 4, "qwen3": 8, "gemma2": 0}


def test_fp32_is_bit_identical_and_bf16_within_its_rounding() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES, initializer_range=0.2))
    ids = torch.randint(61, (2, 40))
    plain, low = [], []
    for _ in range(2):
        plain.append(model(ids).logits)
        with torch.autocast("cpu", torch.bfloat16):
            low.append(model(ids).logits.float())
        round_norms(model.get_decoder())
    assert torch.equal(*plain)
    assert (low[0] - low[1]).abs().max() < 0.02 * low[0].abs().max()
