"""A reward model: what it learns, what it writes, and that others read the same rewards from it."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import build_model, build_tokenizer, demonstrations, preferences, turns
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairgen.errors import UsageError
from pairgen.records import Message, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.encode import encode
from pairgen.train.loop import train
from pairgen.train.model import load
from pairgen.train.packing import micro_batches
from pairgen.train.reward import check_rewards


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"objective": "bt", "learning_rate": 5e-3, "batch_size": 8, **fields})


def lines(folder: Path, name: str = "log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(init: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model after three epochs, with held-out pairs watched."""
    out = tmp_path_factory.mktemp("reward")
    train(config(epochs=3, heldout_every=4), preferences(32), init, out, heldout=preferences(16, seed=9))
    return out


def plainly(folder: Path, conversations: list[list[dict[str, str]]]) -> list[float]:
    """Rewards as any tool gets them: the chat template, and the model as transformers loads it."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for chat in conversations:
        ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            found.append(model(input_ids=ids).logits[0, 0].item())
    return found


def chat(row: Preference, side: str) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in row.prompt + getattr(row, side)]


def test_training_learns_who_wins_on_rows_it_has_not_seen(trained: Path) -> None:
    log, held = lines(trained), lines(trained, "heldout.jsonl")
    assert log[0]["margin"] == pytest.approx(0, abs=0.5)
    assert log[-1]["accuracy"] == 1.0
    assert log[-1]["margin"] > 1
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert held[0]["step"] == 0
    assert held[-1]["accuracy"] == 1.0
    assert held[-1]["margin"] > held[0]["margin"] + 1
    assert log[0]["logps_chosen"] is None


def test_the_folder_is_a_sequence_classifier_of_one_label(trained: Path, init: Path) -> None:
    found = json.loads((trained / "config.json").read_text())
    assert found["architectures"] == ["LlamaForSequenceClassification"]
    assert len(found["id2label"]) == 1
    assert found["pad_token_id"] == 0
    assert found["problem_type"] == "regression"  # without it vLLM squashes a single label by a sigmoid
    model = AutoModelForSequenceClassification.from_pretrained(trained)
    assert model.num_labels == 1
    assert model.score.weight.shape == (1, 32)
    names = load_file(trained / "model.safetensors").keys()
    assert "score.weight" in names
    assert not any("lm_head" in name for name in names)
    assert (trained / "chat_template.jinja").is_file() == (init / "chat_template.jinja").is_file()


def test_rewards_in_trees_are_those_of_transformers(trained: Path) -> None:
    """To 1e-5, K answers of 1 to 60 tokens to prompts of several lengths, packed or not."""
    rows = []
    for length in (1, 7, 60):
        prompt = turns("x" * length, "so", "and?")
        rows += [Preference(f"{length}-{k}", prompt, (Message("assistant", "y" * k),),
                            (Message("assistant", "z" * (61 - k)),), "pair", "given") for k in (1, 2, 13, 60)]
    policy = load(trained, config())
    examples = encode(rows, AutoTokenizer.from_pretrained(trained), config(), 256).examples
    expected = [plainly(trained, [chat(row, "chosen"), chat(row, "rejected")]) for row in rows]
    for micro_tokens in (1, 300, 100_000):
        for batch in micro_batches(examples, micro_tokens):
            with torch.no_grad():
                rewards_K = policy.scorer(batch)
            for row, branch_S in zip(batch.rows_R.tolist(), batch.branch_RS.tolist(), strict=True):
                assert [rewards_K[k].item() for k in branch_S[:2]] == pytest.approx(expected[row], abs=1e-5)


def test_a_padded_batch_gives_the_same_rewards(trained: Path) -> None:
    rows = preferences(6)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForSequenceClassification.from_pretrained(trained).eval()
    texts = [tokenizer.apply_chat_template(chat(row, "rejected"), tokenize=False) for row in rows]
    batch = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        together = model(**batch).logits[:, 0].tolist()
    assert together == pytest.approx(plainly(trained, [chat(row, "rejected") for row in rows]), abs=1e-4)


def test_the_first_loss_is_that_of_the_new_head_by_hand(init: Path, tmp_path: Path) -> None:
    """A head drawn with the initial spread: rewards of a language model are near 0, and the loss near ln 2."""
    rows = preferences(8)
    train(config(max_steps=1, learning_rate=1e-12), rows, init, tmp_path)
    pairs = [plainly(tmp_path, [chat(row, "chosen"), chat(row, "rejected")]) for row in rows]
    by_hand = sum(math.log1p(math.exp(bad - good)) for good, bad in pairs) / len(pairs)
    assert lines(tmp_path)[0]["loss"] == pytest.approx(by_hand, abs=1e-5)


def test_the_seed_draws_the_head(init: Path) -> None:
    heads = [load(init, config(seed=seed)).model.score.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].std().item() == pytest.approx(0.2, rel=0.5)  # the tiny model's initializer_range


def test_a_reward_model_goes_on_from_its_own_head(trained: Path, tmp_path: Path) -> None:
    train(config(max_steps=1), preferences(8), trained, tmp_path)
    assert lines(tmp_path)[0]["accuracy"] == 1.0
    assert lines(tmp_path)[0]["margin"] > 1


def test_centering_keeps_the_mean_reward_near_zero(init: Path, tmp_path: Path) -> None:
    """The trained head is pushed off 0 first: with `center` it returns, without it does not."""
    train(config(max_steps=4), preferences(32), init, tmp_path / "start")
    away = tmp_path / "away"
    shutil.copytree(tmp_path / "start", away)
    weights = load_file(away / "model.safetensors")
    rows = preferences(32)
    found = {}
    save_file({**weights, "score.weight": weights["score.weight"] * 6}, away / "model.safetensors")
    for center in (0.0, 0.1):
        out = tmp_path / str(center)
        train(config(objective=[{"use": "bt", "center": center}], epochs=6), rows, away, out)
        last = lines(out)[-1]
        found[center] = abs(last["rewards_chosen"] + last["rewards_rejected"])
        assert last["accuracy"] == 1.0
    assert found[0.1] < 0.5
    assert found[0.1] < 0.5 * found[0.0]


def test_margins_of_the_scores_are_asked_of_the_rewards(init: Path, tmp_path: Path) -> None:
    """With one margin for all rows the first loss is Bradley-Terry of the gap less that margin, by hand."""
    from dataclasses import replace

    rows = [replace(row, chosen_score=5.0, rejected_score=3.0) for row in preferences(8)]
    train(config(objective="bt-margin", max_steps=1, learning_rate=1e-12), rows, init, tmp_path)
    pairs = [plainly(tmp_path, [chat(row, "chosen"), chat(row, "rejected")]) for row in rows]
    by_hand = sum(math.log1p(math.exp(2 + bad - good)) for good, bad in pairs) / len(pairs)
    assert lines(tmp_path)[0]["loss"] == pytest.approx(by_hand, abs=1e-5)


def test_a_margin_that_no_row_has_is_an_error(init: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no chosen_score, which bt-margin reads"):
        train(config(objective="bt-margin"), preferences(8), init, tmp_path)


def test_too_long_pairs_are_drops_with_their_reason(init: Path, tmp_path: Path) -> None:
    long = Preference("long", turns("hi"), (Message("assistant", "a" * 300),), (Message("assistant", "b"),),
                      "pair", "given")
    result = train(config(max_steps=1), [*preferences(8), long], init, tmp_path)
    assert [(drop.row_id, drop.reason) for drop in result.drops] == [("long", "too-long")]


@pytest.mark.parametrize("lora", [False, True])
def test_a_stopped_training_goes_on_to_the_same_bits(init: Path, tmp_path: Path, lora: bool) -> None:
    class Stop(Exception):
        pass

    def stop(log: Any) -> None:
        if log.step == 3:
            raise Stop

    options = {"max_steps": 6, "epochs": 3, "lora": {"r": 4, "dropout": 0.1} if lora else None}
    train(config(**options), preferences(24), init, tmp_path / "whole")
    with pytest.raises(Stop):
        train(config(**options), preferences(24), init, tmp_path / "cut", on_step=stop)
    train(config(**options), preferences(24), init, tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_lora_trains_the_head_whole_and_saves_both_forms(init: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    result = train(config(lora={"r": 4}, epochs=6), preferences(32), init, tmp_path)
    assert result.metrics["accuracy"] == 1.0
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert load_file(tmp_path / "model.safetensors").keys() == merged.state_dict().keys()
    plain = AutoModelForSequenceClassification.from_pretrained(init, num_labels=1)
    adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    ids = torch.arange(5, 25)[None]
    assert merged(ids).logits.item() == pytest.approx(adapted(ids).logits.item(), abs=1e-4)
    assert not torch.equal(merged.score.weight, load(init, config()).model.score.weight)


def test_kept_checkpoints_are_reward_models_too(init: Path, tmp_path: Path) -> None:
    options = {"max_steps": 4, "save_every": 2, "keep_best": "accuracy", "heldout_every": 2}
    train(config(**options), preferences(32), init, tmp_path, heldout=preferences(8, seed=9))
    for name in ("checkpoint-2", "best"):
        assert AutoModelForSequenceClassification.from_pretrained(tmp_path / name).score.weight.shape == (1, 32)
    assert json.loads((tmp_path / "best" / "best.json").read_text())["metric"] == "accuracy"


def test_micro_batches_do_not_change_a_step(init: Path, tmp_path: Path) -> None:
    found = []
    for micro_tokens in (1, 100_000):
        out = tmp_path / str(micro_tokens)
        train(config(max_steps=2, micro_tokens=micro_tokens), preferences(16, prompts=5), init, out)
        found.append([(line["loss"], line["grad_norm"]) for line in lines(out)])
    assert found[0] == [pytest.approx(step, rel=2e-4) for step in found[1]]


def test_padding_is_never_what_conversations_end_with(tmp_path: Path) -> None:
    """A tokenizer that pads with its end-of-text token: transformers would read rewards one token early."""
    folder = build_model(tmp_path / "model")
    tokenizer = build_tokenizer("{{ bos_token }}{% for m in messages %}{{ m.role[0] }}{{ m.content }}{{ eos_token }}"
                                "{% endfor %}{% if add_generation_prompt %}a{% endif %}")
    tokenizer.pad_token = "<eos>"
    tokenizer.save_pretrained(folder)
    out = tmp_path / "out"
    train(config(max_steps=2), preferences(8), folder, out)
    assert json.loads((out / "config.json").read_text())["pad_token_id"] == 0
    assert AutoTokenizer.from_pretrained(out).pad_token == "<pad>"
    policy = load(out, config())
    check_rewards(policy.model, encode(preferences(2), AutoTokenizer.from_pretrained(out), config(), 256).examples)


def test_a_model_that_reads_another_token_is_refused(init: Path) -> None:
    """Here the head is asked of a model whose padding is what conversations end with."""
    policy = load(init, config())
    examples = encode(preferences(4), AutoTokenizer.from_pretrained(init), config(), 256).examples
    check_rewards(policy.model, examples)
    policy.model.config.pad_token_id = int(examples[0].sides[0].ids[-1])
    with pytest.raises(UsageError, match="other rewards in prompt trees"):
        check_rewards(policy.model, examples)


def test_what_bt_cannot_train_on_is_an_error(trained: Path, init: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="demonstrations or single completions"):
        train(config(), [*preferences(4), *demonstrations(4)], init, tmp_path)
    with pytest.raises(UsageError, match="a reward model, which has no log-probs"):
        train(config(objective="dpo"), preferences(4), trained, tmp_path)
    cut = {"truncation": "paper", "max_prompt_tokens": 20, "max_completion_tokens": 20}
    with pytest.raises(UsageError, match="read at the end of an answer"):
        train(config(**cut), preferences(4), init, tmp_path)
    several = tmp_path / "several"
    model = AutoModelForSequenceClassification.from_pretrained(init, num_labels=3)
    model.save_pretrained(several)
    build_tokenizer().save_pretrained(several)
    with pytest.raises(UsageError, match="a classifier of 3 labels"):
        train(config(), preferences(4), several, tmp_path / "x")
