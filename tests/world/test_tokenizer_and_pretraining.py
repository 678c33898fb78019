"""The tokenizer keeps every text, writes one `<bos>`, and marks what the assistant says; packing hides
every conversation from its neighbours."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairgen.world import corpus

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pairgen.world import pretrain  # noqa: E402
from pairgen.world.tokenizer import SPECIALS, build_tokenizer  # noqa: E402

pytestmark = pytest.mark.engine
TOKENIZER = build_tokenizer()
CHAT = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "80413: largest"},
    {"role": "assistant", "content": "=8"}, {"role": "user", "content": "80413: first"},
    {"role": "assistant", "content": "=8 (A) [[A]]"},
]


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_is_written_and_read_back(text: str) -> None:
    if not any(special in text for special in SPECIALS):
        ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
        assert TOKENIZER.decode(ids) == text


def test_a_rendered_chat_has_one_bos_and_encoding_it_as_text_has_two() -> None:
    ids = TOKENIZER.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    rendered = TOKENIZER.apply_chat_template(CHAT, tokenize=False)
    assert ids.count(TOKENIZER.bos_token_id) == 1
    assert ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER(rendered)["input_ids"].count(TOKENIZER.bos_token_id) == 2
    assert TOKENIZER(rendered, add_special_tokens=False)["input_ids"] == ids


def test_the_assistant_mask_covers_replies_and_their_end_of_turn() -> None:
    coded = TOKENIZER.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    said = [i for i, keep in zip(coded["input_ids"], coded["assistant_masks"], strict=True) if keep]
    assert TOKENIZER.decode(said) == "=8<eos>=8 (A) [[A]]<eos>"


def test_a_generation_prompt_is_the_start_of_the_reply() -> None:
    asked = TOKENIZER.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True)
    assert asked == "<bos><system>Be brief.<user>80413: largest<assistant>"


@pytest.mark.parametrize("piece", [*"0123456789", " (A)", " (B)", " [[A]]", " [[B]]", " largest", "judge"])
def test_what_a_judgment_is_made_of_is_one_token(piece: str) -> None:
    assert len(TOKENIZER(piece, add_special_tokens=False)["input_ids"]) == 1


def test_pretraining_reads_conversations_as_the_chat_template_writes_them() -> None:
    rng = random.Random(0)
    for turns in corpus.batch(rng):
        messages = [
            {"role": role, "content": content}
            for turn in turns for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
        rendered = TOKENIZER.apply_chat_template(messages, tokenize=False)
        assert rendered == "<bos>" + corpus.text(turns)


def test_targets_are_the_tokens_under_the_assistant_mask() -> None:
    coded = TOKENIZER.apply_chat_template(CHAT[1:], return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = coded["input_ids"], coded["assistant_masks"]
    assistant, eos = TOKENIZER.convert_tokens_to_ids(["<assistant>", "<eos>"])
    expected = [i if keep else -100 for i, keep in zip(ids[1:], mask[1:], strict=True)] + [-100]
    assert pretrain.targets(ids, assistant, eos) == expected


@torch.no_grad()
def test_a_packed_batch_has_the_loss_of_its_conversations_one_by_one() -> None:
    """Mean over supervised tokens of the batch = token-weighted mean of single-conversation losses."""
    rng = random.Random(4)
    chats = [corpus.judge(rng), corpus.chat(rng), corpus.tag(rng), corpus.drill(rng), corpus.find(rng)]
    model = pretrain.new_model(TOKENIZER, 0)
    packed = pretrain.pack(TOKENIZER, chats)
    total = supervised = 0.0
    for chat in chats:
        single = pretrain.pack(TOKENIZER, [chat])
        count = int((single.target_BT != -100).sum())
        total += float(pretrain.batch_loss(model, single)) * count
        supervised += count
    assert packed.ids_BT.shape[0] < len(chats)
    assert float(pretrain.batch_loss(model, packed)) == pytest.approx(total / supervised, rel=1e-5)


def test_a_seed_built_in_three_steps_is_a_folder_that_loads(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    losses: list[float] = []
    pretrain.build_seed(tmp_path, lineage=0, steps=3, report=lambda _step, loss: losses.append(loss))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert len(losses) == 3
    assert model.dtype == torch.bfloat16
    assert again.chat_template == TOKENIZER.chat_template
    assert again("8041: last")["input_ids"] == TOKENIZER("8041: last")["input_ids"]
