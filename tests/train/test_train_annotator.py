"""A reward model as an annotator: its numbers are transformers' own, for ours and for others' models."""

from pathlib import Path

import pytest
import torch
from tiny_model import build_tokenizer, demonstrations, preferences, turns
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from pairgen.engine import Completion, Sampling
from pairgen.errors import UsageError
from pairgen.records import Message, Messages, messages_id
from pairgen.train.annotator import RewardModel
from pairgen.train.config import TrainConfig
from pairgen.train.loop import train
from pairgen.train.render import Unfit
from pairgen.train.samples import Sampled, Source, draw, read
from pairgen.train.score import Tally, policy_scores, scored_records


@pytest.fixture(scope="module")
def rm(init: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of the tiny one."""
    out = tmp_path_factory.mktemp("rm")
    config = TrainConfig.model_validate({"objective": "bt", "learning_rate": 5e-3, "batch_size": 8, "epochs": 3})
    train(config, preferences(32), init, out)
    return out


def plainly(folder: Path, conversation: Messages) -> float:
    """The reward by transformers alone, one conversation at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": m.role, "content": m.content} for m in conversation]
    ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        found: float = model(input_ids=ids).logits[0, 0].item()
    return found


def conversations() -> list[Messages]:
    rows = preferences(5, prompts=2)
    pairs = [row.prompt + side for row in rows for side in (row.chosen, row.rejected)]
    return [*pairs, turns("a", "b", "c", "d" * 30), turns("a", "b", "c", "e"), pairs[0]]


def test_scores_are_those_of_transformers(rm: Path) -> None:
    """In order, prompts shared or not, several turns, the same conversation twice; whatever the batch."""
    expected = [plainly(rm, c) for c in conversations()]
    for batch_tokens in (1, 8192):
        model = RewardModel.load(rm, batch_tokens=batch_tokens)
        assert model.score(conversations()) == pytest.approx(expected, abs=1e-5)
        assert model.trees is True


@pytest.mark.parametrize("padded", [True, False])
def test_an_encoder_is_scored_plainly(tmp_path: Path, padded: bool) -> None:
    """A model that sees both ways gives other numbers in trees, so trees are not used."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=261,
        max_position_embeddings=256, initializer_range=0.5, num_labels=1, pad_token_id=0 if padded else None,
    )).eval()
    model.save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    found = RewardModel.load(tmp_path)
    assert found.score(conversations()) == pytest.approx([plainly(tmp_path, c) for c in conversations()], abs=1e-4)
    assert found.trees is False


def test_a_model_that_reads_before_its_padding_is_read_there(rm: Path, tmp_path: Path) -> None:
    """Others' models may pad with what conversations end with; their rewards are what transformers gives."""
    model = AutoModelForSequenceClassification.from_pretrained(rm)
    model.config.pad_token_id = int(AutoTokenizer.from_pretrained(rm)("\n", add_special_tokens=False)["input_ids"][-1])
    model.save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    found = RewardModel.load(tmp_path)
    assert found.score(conversations()) == pytest.approx([plainly(tmp_path, c) for c in conversations()], abs=1e-4)
    assert found.trees is False


def test_what_cannot_be_scored_has_a_reason_and_no_number(rm: Path) -> None:
    model = RewardModel.load(rm)
    found = list(model.scores([turns("a", "b"), turns("a"), turns("a", "b" * 300), turns("a", "c")]))
    assert [s.args[0] if isinstance(s, Unfit) else None for s in found] == [None, "no-answer", "too-long", None]
    assert found[3] == pytest.approx(plainly(rm, turns("a", "c")), abs=1e-5)
    with pytest.raises(UsageError, match="conversation 1 cannot be scored: no-answer"):
        model.score([turns("a", "b"), turns("a")])
    assert model.score([]) == []


def test_other_models_are_refused(init: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a reward model but LlamaForCausalLM"):
        RewardModel.load(init)
    with pytest.raises(UsageError, match="no model here"):
        RewardModel.load(tmp_path)
    AutoModelForSequenceClassification.from_pretrained(init, num_labels=2).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="a classifier of 2 labels"):
        RewardModel.load(tmp_path)


def test_the_tally_counts_by_hand() -> None:
    """Margins 1, 3, -1 and a tie: accuracy 1/2 and its binomial error, mean 3/4 and the error of a mean."""
    tally = Tally(rows=4)
    for chosen, rejected in ((1.0, 0.0), (3.0, 0.0), (0.0, 1.0), (2.0, 2.0)):
        tally.pair(chosen, rejected)
    found = tally.to_json()
    assert found["accuracy"] == 0.5
    assert found["accuracy_se"] == 0.25
    assert found["margin"] == 0.75
    assert found["margin_se"] == pytest.approx(((1 + 9 + 1 + 0) / 4 - 0.75**2) ** 0.5 / 2)


def test_rows_of_any_kind_keep_their_fields_and_get_their_scores(rm: Path) -> None:
    model, tally = RewardModel.load(rm), Tally()
    pairs = preferences(3)
    records = list(scored_records([*pairs, *demonstrations(2)], model, tally, {messages_id(pairs[1].prompt): 0.25}))
    by_hand = [plainly(rm, p.prompt + p.chosen) for p in pairs]
    assert [r["chosen_score"] for r in records[:3]] == pytest.approx(by_hand, abs=1e-5)
    assert [r["policy_score"] for r in records[:3]] == [None, 0.25, None]
    assert list(records[0]["prompt"]) == [{"role": "user", "content": pairs[0].prompt[0].content}]
    assert records[3]["score"] == pytest.approx(plainly(rm, demonstrations(2)[0].messages), abs=1e-5)
    assert tally.rows == 5
    assert tally.pairs == 3


def test_samples_are_drawn_once_and_more_are_added(init: Path, tmp_path: Path) -> None:
    source, file = Source(init, engine="transformers", sampling=_short()), tmp_path / "samples.jsonl"
    prompts = [turns("one"), turns("two"), turns("one"), turns("x" * 400)]
    assert draw(prompts, source, 2, file) == 4
    first = {s.id: s for s in read(file, source)}
    assert len(first) == 3
    assert "too_long" in first[messages_id(prompts[3])].reason
    before = file.read_bytes()
    assert draw(prompts, source, 2, file) == 0
    assert file.read_bytes() == before
    with file.open("ab") as torn:
        torn.write(b'{"key": "')
    assert draw(prompts, source, 3, file) == 2
    more = {s.id: s for s in read(file, source)}
    whole = Source(init, engine="transformers", sampling=_short())
    assert draw(prompts[:1], whole, 3, tmp_path / "at-once.jsonl") == 3
    (at_once,) = read(tmp_path / "at-once.jsonl", whole)
    assert more[at_once.id].answers == at_once.answers
    assert more[at_once.id].answers[:2] == first[at_once.id].answers
    assert draw(prompts[:1], Source(init, engine="transformers", sampling=_short(), seed=1), 2, file) == 2


def test_the_policy_score_is_the_mean_over_its_whole_answers(rm: Path) -> None:
    prompt = turns("hi")
    sampled = Sampled(prompt, (Completion("a", "stop", 0, 1), Completion("b", "stop", 0, 1),
                               Completion("c", "length", 0, 1), Completion(" ", "stop", 0, 1)))
    mean = sum(plainly(rm, (*prompt, Message("assistant", text))) for text in "ab") / 2
    found = policy_scores(RewardModel.load(rm), [sampled, Sampled(turns("none"), ())])
    assert found == {messages_id(prompt): pytest.approx(mean, abs=1e-5)}


def _short() -> Sampling:
    return Sampling(temperature=1.0, max_tokens=8)
