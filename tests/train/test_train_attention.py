"""Attention by pieces is attention under the trees' mask: values and gradients, kernels, whole models."""

import random
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from pairgen.errors import UsageError
from pairgen.train import attention, treewise
from pairgen.train.attention import TREES, choose
from pairgen.train.example import Branch, Example
from pairgen.train.layout import Layout, mask_rule
from pairgen.train.logps import Scorer
from pairgen.train.packing import micro_batches
from pairgen.train.treewise import tree_attention

Shapes = list[list[tuple[int, list[int]]]]


def layout_of(blocks: Shapes) -> Layout:
    """Blocks of trees given as (prompt, branches) lengths, padded to the longest block."""
    width = max(sum(p + sum(c) for p, c in block) for block in blocks)
    tree, branch = torch.full((len(blocks), width), -1), torch.zeros(len(blocks), width, dtype=torch.long)
    for b, block in enumerate(blocks):
        start = 0
        for number, (prompt, branches) in enumerate(block):
            tree[b, start : start + prompt + sum(branches)] = number
            start += prompt
            for k, size in enumerate(branches, start=1):
                branch[b, start : start + size] = k
                start += size
    return Layout(tree, branch)


def seen(layout: Layout, b: int, q: int, k: int) -> bool:
    """The definition: not later, same tree, and prompt or own branch."""
    tree, branch = layout.tree_BT[b], layout.branch_BT[b]
    return bool(k <= q and tree[q] == tree[k] and branch[k] in (0, branch[q]))


RAGGED: Shapes = [[(5, [3, 1, 4]), (2, [6])], [(7, [2] * 5)], [(1, [1]), (4, [9, 2])]]
RANDOM = random.Random(0)
MANY: Shapes = [[(RANDOM.randint(1, 30), [RANDOM.randint(1, 20) for _ in range(k)])] for k in range(1, 17)]


def dense(q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
    """softmax(scale q k') v under the mask, written plainly; padding gives zeros."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (scale * q @ k.transpose(-1, -2)).masked_fill(~layout.mask_B1TT, -torch.inf)
    return scores.softmax(-1) @ v * (layout.tree_BT >= 0)[:, None, :, None]


def inputs(layout: Layout, heads: int, groups: int, size: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    blocks, tokens = layout.tree_BT.shape
    return tuple(torch.randn(blocks, h, tokens, size, dtype=dtype).requires_grad_() for h in (heads, groups, groups))


def test_the_mask_is_the_definition() -> None:
    layout = layout_of(RAGGED)
    for b, q, k in np.ndindex(*layout.mask_B1TT[:, 0].shape):
        assert bool(layout.mask_B1TT[b, 0, q, k]) == seen(layout, b, q, k)


@pytest.mark.parametrize("shapes", [RAGGED, MANY], ids=["ragged", "1 to 16 branches"])
def test_pieces_cover_what_is_visible_exactly_once(shapes: Shapes) -> None:
    layout = layout_of(shapes)
    whole, cut = (torch.zeros_like(layout.mask_B1TT[:, 0], dtype=torch.long) for _ in range(2))
    for piece in layout.pieces:
        for count, parts in ((whole, [piece]), (cut, piece.split(3))):
            for p in parts:
                assert count is whole or not p.is_causal or p.last - p.first <= 3
                square = torch.ones(p.last - p.first, p.stop - p.start, dtype=torch.long)
                count[p.block, p.first : p.last, p.start : p.stop] += square.tril() if p.is_causal else square
    real = (layout.mask_B1TT[:, 0] & (layout.tree_BT >= 0)[:, :, None]).long()
    assert torch.equal(whole, real)
    assert torch.equal(cut, real)


@pytest.mark.parametrize("shapes", [RAGGED, MANY], ids=["ragged", "1 to 16 branches"])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_values_and_gradients_are_those_of_the_dense_mask(
    shapes: Shapes, heads: int, groups: int, dtype: torch.dtype, tolerance: float
) -> None:
    layout = layout_of(shapes)
    leaves = inputs(layout, heads, groups, 8, dtype)
    want, got = dense(*leaves, layout, 0.3), tree_attention(*leaves, layout, 0.3)
    weight = torch.randn_like(want)
    assert torch.allclose(got, want, atol=tolerance)
    wanted = torch.autograd.grad((want * weight).sum(), leaves)
    gotten = torch.autograd.grad((got * weight).sum(), leaves)
    assert all(torch.allclose(a, b, atol=tolerance) for a, b in zip(gotten, wanted, strict=True))


def test_gradients_pass_a_finite_difference_check() -> None:
    layout = layout_of([[(3, [2, 1])], [(1, [2]), (2, [1])]])
    leaves = inputs(layout, 2, 1, 4, torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: tree_attention(q, k, v, layout, 0.5), leaves)


@pytest.mark.parametrize("limits", [(256, 1 << 20), (8, 32 * 20)], ids=["whole", "cut"])
def test_bf16_keeps_gradients_to_two_percent(limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against fp64 on the same rounded numbers. bf16 itself keeps 8 bits, 0.4 %."""
    monkeypatch.setattr(treewise, "SQUARE", limits[0])
    monkeypatch.setattr(treewise, "SCORES", limits[1])
    layout = layout_of([[(150, [40, 90, 7])], *MANY])
    low = tuple(x.detach().bfloat16().requires_grad_() for x in inputs(layout, 4, 2, 32, torch.float32))
    high = tuple(x.detach().double().requires_grad_() for x in low)
    want, got = dense(*high, layout, 0.2), tree_attention(*low, layout, 0.2)
    weight = torch.randn_like(want).bfloat16()
    wanted = torch.autograd.grad((want * weight).sum(), high)
    gotten = torch.autograd.grad((got * weight).sum(), low)
    for a, b in zip((got, *gotten), (want, *wanted), strict=True):
        assert (a - b).norm() < 0.02 * b.norm()


# --- whole models ---------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "vocab_size": 61, "max_position_embeddings": 256, "initializer_range": 0.2,
    "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}
MODELS = {
    "llama": LlamaConfig(**SMALL), "qwen2": Qwen2Config(**SMALL), "qwen3": Qwen3Config(**SMALL, head_dim=16),
    "mistral": MistralConfig(**SMALL),
}


def model_of(config: Any, name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation=name).eval()


def examples(branches: int) -> list[Example]:
    """Two prompts; `branches` completions of the first, ragged; one pair of the second."""
    rng = np.random.default_rng(branches)

    def part(size: int) -> Branch:
        return Branch(rng.integers(3, 61, size).astype(np.int32), np.ones(size, dtype=bool))

    prompts = [rng.integers(3, 61, n).astype(np.int32) for n in (13, 4)]
    rows = [(prompts[0], part(int(rng.integers(1, 12)))) for _ in range(branches)] + [(prompts[1], part(3))]
    return [Example(str(i), 1.0, prompt, (branch, None, None, None)) for i, (prompt, branch) in enumerate(rows)]


@pytest.mark.parametrize("branches", [1, 2, 5, 16])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_gives_the_log_probs_and_gradients_of_separate_forwards(
    kind: str, branches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SHORT", 0)
    rows = examples(branches)
    model, plain = model_of(MODELS[kind], TREES), model_of(MODELS[kind], "eager")
    total = torch.zeros(())
    want = []
    for row in rows:
        assert row.chosen is not None
        ids = torch.from_numpy(np.concatenate([row.prompt, row.chosen.ids])).long()
        logps = plain(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        want.append(logps[len(row.prompt) - 1 :])
        total = total + want[-1].sum() / 10
    total.backward()
    batches = micro_batches(rows, 10_000)
    got = [Scorer(model)(batch).logps_N for batch in batches]
    (torch.cat(got).sum() / 10).backward()
    assert torch.allclose(torch.cat(got).sort().values, torch.cat(want).sort().values, atol=1e-5)
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5), name


def test_an_attention_that_caps_its_scores_is_refused() -> None:
    """transformers' own sdpa drops the cap without a word."""
    model = model_of(Gemma2Config(**SMALL, head_dim=8, attn_logit_softcapping=50.0), TREES)
    with pytest.raises(UsageError, match="Gemma2Attention attends with 'softcap'"):
        Scorer(model)(micro_batches(examples(2), 10_000)[0])


def test_on_a_cpu_pieces_are_chosen_and_said() -> None:
    found = choose(torch.device("cpu"))
    assert found.name == TREES
    assert found.text == "attention: visible pieces of prompt trees, blocks up to 320 tokens whole"


def test_layers_that_only_take_a_mask_get_one() -> None:
    model = model_of(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=61, n_positions=128), "sdpa")
    batch = micro_batches(examples(3), 10_000)[0]
    assert torch.isfinite(Scorer(model)(batch).logps_N).all()


# --- what a GPU would compute, as far as a CPU can tell -------------------------------------------------


def test_the_flex_rule_is_the_dense_mask() -> None:
    from torch.nn.attention.flex_attention import create_mask

    for shapes in (RAGGED, MANY):
        layout = layout_of(shapes)
        blocks, tokens = layout.tree_BT.shape
        made = create_mask(mask_rule(layout.tree_BT, layout.branch_BT), blocks, None, tokens, tokens, device="cpu")
        assert torch.equal(made, layout.mask_B1TT)


def test_flex_attention_gives_the_values_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention import flex_attention

    layout = layout_of(RAGGED)
    blocks, tokens = layout.tree_BT.shape
    q, k, v = (x.detach() for x in inputs(layout, 4, 2, 16, torch.float32))
    mask = flex_attention.create_block_mask(
        mask_rule(layout.tree_BT, layout.branch_BT), blocks, None, tokens, tokens, device="cpu")
    got = flex_attention.flex_attention(q, k, v, block_mask=mask, scale=0.3, enable_gqa=True)
    real = (layout.tree_BT >= 0)[:, None, :, None]
    assert torch.allclose(got * real, tree_attention(q, k, v, layout, 0.3), atol=1e-5)
