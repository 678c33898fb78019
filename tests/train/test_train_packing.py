"""Prompt trees give the log-probs of separate forwards, whatever shares a tree, a block or a micro-batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import build_tokenizer, demonstrations, preferences, turns
from transformers import AutoModelForCausalLM

from pairgen.errors import UsageError
from pairgen.records import Demonstration, Message, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.encode import Branch, Example, encode
from pairgen.train.logps import branch_logps, check_trees
from pairgen.train.packing import micro_batches

CONFIG = TrainConfig(objective="rpo", learning_rate=1e-3)


def examples_of(rows: list[Demonstration | Preference]) -> list[Example]:
    return encode(rows, build_tokenizer(), CONFIG, 256).examples


def separate(model: torch.nn.Module, example: Example, branch: Branch | None) -> float:
    """The log-prob of one side by a plain forward of prompt and side."""
    assert branch is not None
    ids = torch.tensor([*example.prompt.tolist(), *branch.ids.tolist()])
    logps = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return logps[len(example.prompt) - 1 :][torch.from_numpy(branch.targets)].sum().item()


def mixed_rows() -> list[Demonstration | Preference]:
    """Pairs sharing 4 prompts, single demonstrations, and a conversation of three turns each way."""
    long = Demonstration("long", turns("a", "one", "b" * 40, "two", "c", "three"), "replay")
    return [*preferences(12, prompts=4), *demonstrations(7), long]


@pytest.mark.parametrize("micro_tokens", [1, 100, 333, 10_000])
def test_log_probs_equal_those_of_separate_forwards(init: Path, micro_tokens: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(init).eval()
    examples = examples_of(mixed_rows())
    seen = 0
    with torch.no_grad():
        for batch in micro_batches(examples, micro_tokens):
            logps_K = branch_logps(model, batch)
            for row, branch_S in zip(batch.rows_R.tolist(), batch.branch_RS.tolist(), strict=True):
                for k, branch in zip(branch_S, examples[row].sides, strict=True):
                    assert (k >= 0) is (branch is not None)
                    if branch is not None:
                        want = separate(model, examples[row], branch)
                        assert logps_K[k].item() == pytest.approx(want, rel=1e-6, abs=1e-5)
                        seen += 1
    assert seen == 12 * 2 + 8


def test_gradients_equal_those_of_separate_forwards(init: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(init).double()
    examples = examples_of(preferences(6, prompts=2))
    (batch,) = micro_batches(examples, 10_000)
    branch_logps(model, batch).sum().backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for example in examples:
        for branch in (example.chosen, example.rejected):
            ids = torch.tensor([*example.prompt.tolist(), *branch.ids.tolist()])
            logps = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
            logps[len(example.prompt) - 1 :].sum().backward()
    for name, p in model.named_parameters():
        assert torch.allclose(packed[name], p.grad, rtol=1e-4, atol=1e-5), name


def test_a_prompt_shared_by_rows_of_a_step_is_computed_once() -> None:
    examples = examples_of(preferences(8, prompts=1))
    (batch,) = micro_batches(examples, 10_000)
    sides = {b.ids.tobytes(): len(b.ids) for e in examples for b in (e.chosen, e.rejected) if b}
    assert batch.tokens == len(examples[0].prompt) + sum(sides.values())


def products(chosen: int, rejected: int) -> list[Preference]:
    """Every chosen answer of one prompt against every rejected one."""
    def answer(text: str) -> tuple[Message, ...]:
        return (Message("assistant", text),)

    return [
        Preference(f"{c}-{r}", turns("judge this"), answer(f"good {c}"), answer("bad" * (r + 1)), "k", "wrong")
        for c in range(chosen) for r in range(rejected)
    ]


def test_an_answer_that_stands_in_many_pairs_is_computed_once(init: Path) -> None:
    """4 chosen x 4 rejected answers are 16 rows, 8 branches, and their pairs' numbers those of separate forwards."""
    model = AutoModelForCausalLM.from_pretrained(init).eval()
    examples = examples_of(products(4, 4))
    (batch,) = micro_batches(examples, 10_000)
    assert len(batch.tokens_K) == 8
    assert batch.rows_R.tolist() == list(range(16))
    with torch.no_grad():
        logps_RS = branch_logps(model, batch)[batch.branch_RS[:, :2]]
    for example, found in zip(examples, logps_RS.tolist(), strict=True):
        want = [separate(model, example, branch) for branch in example.sides[:2]]
        assert found == pytest.approx(want, rel=1e-6, abs=1e-5)


def test_answers_equal_in_text_but_not_in_targets_are_two_branches() -> None:
    whole, part = np.array([True, True, True]), np.array([True, False, True])
    ids = np.arange(5, 8, dtype=np.int32)
    prompt = np.arange(3, dtype=np.int32)
    rows = [Example(str(i), 1.0, prompt, (Branch(ids, t), None, None, None)) for i, t in enumerate((whole, part))]
    (batch,) = micro_batches(rows, 100)
    assert batch.tokens_K.tolist() == [3, 2]


def test_micro_batches_keep_to_their_size_and_hold_every_row_once() -> None:
    examples = examples_of([*preferences(40), *demonstrations(40)])
    batches = micro_batches(examples, 700)
    assert len(batches) > 3
    assert all(b.ids_BT.numel() <= 700 for b in batches)
    assert sorted(row for b in batches for row in b.rows_R.tolist()) == list(range(80))
    assert sum(b.tokens for b in batches) / sum(b.ids_BT.numel() for b in batches) > 0.85


def test_a_step_is_cut_into_parts_of_about_equal_size() -> None:
    batches = micro_batches(examples_of(demonstrations(200)), 100_000, parts=4)
    assert len(batches) == 4
    assert max(b.tokens for b in batches) < 1.5 * min(b.tokens for b in batches)
    assert len(micro_batches(examples_of(demonstrations(2)), 100_000, parts=4)) == 1


def test_a_model_that_looks_past_the_mask_is_refused(init: Path) -> None:
    class Blind(torch.nn.Module):
        """A decoder that is given no mask and no positions."""

        def __init__(self, decoder: torch.nn.Module) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            return self.decoder(input_ids=input_ids, use_cache=False)

    model = AutoModelForCausalLM.from_pretrained(init)
    examples = examples_of(preferences(4))
    check_trees(model, examples)
    decoder = model.get_decoder()
    model.get_decoder = lambda: Blind(decoder)
    with pytest.raises(UsageError, match="LlamaForCausalLM gives other log-probs in prompt trees"):
        check_trees(model, examples)
