"""A whole training on a tiny model: what it learns, what it writes, and what must not change it."""

import json
import math
import multiprocessing
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import TEMPLATE, build_model, demonstrations, preferences, train_until
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairgen.errors import Damaged, PairgenError, UsageError
from pairgen.fingerprint import file_digest, folder_digest
from pairgen.records import Demonstration, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.loop import TrainResult, train
from pairgen.train.metrics import StepLog
from pairgen.train.schedule import Order, learning_rate, total_steps


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"learning_rate": 5e-3, "batch_size": 8, **fields})


def weights(folder: Path) -> str:
    return file_digest(folder / "model.safetensors")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def untimed(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines(folder)]


def test_sft_learns_and_writes_a_checkpoint_transformers_loads(init: Path, tmp_path: Path) -> None:
    heard: list[StepLog] = []
    result = train(config(epochs=6), demonstrations(64), init, tmp_path / "out", on_step=heard.append)
    assert result.steps == 48 == len(heard) == len(lines(tmp_path / "out"))
    assert heard[-1].nll < 0.5 * heard[0].nll
    assert result.tokens == sum(log.tokens for log in heard)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not any(torch.isnan(p).any() for p in model.parameters())
    before, after = load_file(init / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(before[k].dtype == after[k].dtype and not torch.equal(before[k], after[k]) for k in before)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == TEMPLATE
    assert {p.name for p in (tmp_path / "out").iterdir()} == {p.name for p in init.iterdir()} | {"log.jsonl"}
    assert (tmp_path / "out" / "config.json").read_bytes() == (init / "config.json").read_bytes()


def test_rpo_on_pairs_and_replay_raises_the_margin(init: Path, tmp_path: Path) -> None:
    rows = [*preferences(32), *demonstrations(16, kind="replay")]
    result = train(config(objective="rpo", epochs=4, learning_rate=2e-3), rows, init, tmp_path)
    first, last = lines(tmp_path)[0], lines(tmp_path)[-1]
    assert first["rewards_chosen"] == pytest.approx(0.0, abs=1e-4)
    assert first["rewards_rejected"] == pytest.approx(0.0, abs=1e-4)
    assert first["loss"] > math.log(2)
    assert last["margin"] > 1
    assert last["accuracy"] == 1.0
    assert last["nll"] < first["nll"]
    assert result.metrics["margin"] == last["margin"]


@pytest.mark.parametrize("objective", ["sft", "dpo", "rpo", "mpo", "apo-zero", "simpo", "orpo"])
def test_the_size_of_micro_batches_does_not_change_the_loss(init: Path, tmp_path: Path, objective: str) -> None:
    rows: list[Demonstration | Preference] = [*preferences(15, prompts=5)]
    if objective in {"sft", "rpo", "mpo", "orpo"}:
        rows += demonstrations(9, kind="replay")
    weights_of_kinds = {"replay": 0.25} if len(rows) > 15 else {}
    kwargs = {"objective": objective, "batch_size": 24, "max_steps": 2, "epochs": 2, "kind_weights": weights_of_kinds}
    logs = []
    for micro_tokens in (1, 200, 100_000):
        out = tmp_path / str(micro_tokens)
        train(config(**kwargs, micro_tokens=micro_tokens), rows, init, out)
        logs.append([(line["loss"], line["nll"], line["grad_norm"]) for line in lines(out)])
    assert logs[0] == [pytest.approx(step, rel=2e-4) for step in logs[2]]
    assert logs[1] == [pytest.approx(step, rel=2e-4) for step in logs[2]]


def test_the_token_norm_is_the_mean_over_the_whole_step(init: Path, tmp_path: Path) -> None:
    """With one micro-batch per row the logged loss is still nll per target token, by hand."""
    rows = demonstrations(6)
    train(config(max_steps=1, micro_tokens=1), rows, init, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(init), AutoTokenizer.from_pretrained(init)
    total, count = 0.0, 0
    for row in rows:
        prompt = tokenizer.encode(f"<bos><user>{row.messages[0].content}<assistant>", add_special_tokens=False)
        answer = tokenizer.encode(f"{row.messages[1].content}<eos>", add_special_tokens=False)
        logps = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        total -= sum(logps[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))
        count += len(answer)
    assert lines(tmp_path)[0]["loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_weight_of_two_is_the_row_twice(init: Path, tmp_path: Path) -> None:
    plain, heavy = demonstrations(4), demonstrations(3, kind="replay")
    train(config(batch_size=99, kind_weights={"replay": 2.0}), [*plain, *heavy], init, tmp_path / "a")
    train(config(batch_size=99), [*plain, *heavy, *heavy], init, tmp_path / "b")
    assert lines(tmp_path / "a")[0]["loss"] == pytest.approx(lines(tmp_path / "b")[0]["loss"], rel=1e-5)


def test_another_reference_moves_the_first_rewards(init: Path, tmp_path: Path) -> None:
    train(config(max_steps=4), demonstrations(16), init, tmp_path / "trained")
    train(config(objective="dpo", max_steps=1), preferences(8), tmp_path / "trained", tmp_path / "a")
    train(config(objective="dpo", max_steps=1), preferences(8), tmp_path / "trained", tmp_path / "b", reference=init)
    assert abs(lines(tmp_path / "a")[0]["rewards_chosen"]) < 1e-4
    assert abs(lines(tmp_path / "b")[0]["rewards_chosen"]) > 1e-3


def test_a_hole_in_the_cached_reference_is_an_error(init: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    train(config(objective="dpo", max_steps=1), preferences(8), init, tmp_path)
    (cache,) = (tmp_path / "reference").iterdir()
    logps = load_file(cache)["logps"]
    logps[3, 1] = torch.nan
    save_file({"logps": logps}, cache)
    with pytest.raises(Damaged, match="missing or not finite"):
        train(config(objective="dpo", max_steps=1), preferences(8), init, tmp_path)


def test_lora_saves_merged_weights_and_the_adapter(init: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    result = train(config(objective="rpo", lora={"r": 4}, epochs=2), preferences(16), init, tmp_path)
    assert lines(tmp_path)[0]["rewards_chosen"] == pytest.approx(0.0, abs=1e-4)
    assert result.metrics["margin"] > 0.05
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(init), tmp_path / "adapter")
    ids = torch.arange(5, 25)[None]
    assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-4)
    assert load_file(init / "model.safetensors").keys() == load_file(tmp_path / "model.safetensors").keys()


def test_a_lora_target_that_is_no_layer_is_an_error(init: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no linear layer 'query'; have: .*q_proj"):
        train(config(lora={"targets": ["query"]}), demonstrations(4), init, tmp_path)


def test_bf16_on_a_cpu_follows_fp32(init: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        train(config(objective="rpo", precision=precision, max_steps=3), preferences(24), init, tmp_path / precision)
    a, b = (lines(tmp_path / p) for p in ("fp32", "bf16"))
    assert [x["loss"] for x in a] == [pytest.approx(x["loss"], rel=0.05) for x in b]
    assert a != b


def test_gradient_checkpointing_changes_nothing(init: Path, tmp_path: Path) -> None:
    for on in (False, True):
        train(config(gradient_checkpointing=on, max_steps=3), demonstrations(24), init, tmp_path / str(on))
    assert weights(tmp_path / "True") == weights(tmp_path / "False")


@pytest.mark.parametrize("fields", [
    {"schedule": "cosine"}, {"schedule": "constant"}, {"final_lr_ratio": 0.5}, {"warmup_steps": 3}, {"epochs": 2},
    {"max_steps": 2}, {"batch_size": 5}, {"betas": (0.5, 0.9)}, {"eps": 1e-2}, {"weight_decay": 0.5}, {"clip": 0.0},
    {"kind_weights": {"judgment": 3.0}}, {"lora": {"r": 2}}, {"precision": "bf16"}, {"max_prompt_tokens": 20},
    {"max_completion_tokens": 2}, {"seed": 1}, {"learning_rate": 1e-3}, {"objective": "simpo"},
])
def test_every_knob_of_the_identity_moves_the_weights(init: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    """A knob that nothing reads is a bug."""
    rows = preferences(20, seed=1) if "objective" in fields else [*demonstrations(20), *preferences(4)]
    if "kind_weights" in fields:
        rows = [*demonstrations(20), *demonstrations(8, kind="replay")]
    base = {"learning_rate": 2e-2, "clip": 0.5}
    if "max_completion_tokens" in fields:
        rows = [*rows, *demonstrations(3, kind="long")]
    digests = []
    for i, extra in enumerate(({}, fields)):
        try:
            train(config(**{**base, **extra}), rows, init, tmp_path / str(i))
            digests.append(weights(tmp_path / str(i)))
        except UsageError as error:  # every row over the limit: read, too
            digests.append(str(error))
    assert digests[0] != digests[1]


def test_log_every_thins_the_log_but_keeps_the_last_step(init: Path, tmp_path: Path) -> None:
    train(config(log_every=3, max_steps=7), demonstrations(64), init, tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 7]


def test_divergence_is_an_error_and_not_a_checkpoint(init: Path, tmp_path: Path) -> None:
    with pytest.raises(PairgenError, match="training diverged"):
        train(config(learning_rate=1e30, clip=0.0, epochs=5), demonstrations(64), init, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_schedules_by_hand() -> None:
    rates = [learning_rate(config(learning_rate=1.0, warmup_steps=2, final_lr_ratio=0.1), s, 6) for s in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.775, 0.55, 0.325])
    cosine = [learning_rate(config(learning_rate=1.0, schedule="cosine"), s, 4) for s in range(4)]
    assert cosine == pytest.approx([1.0, 0.5 + 0.5 * math.cos(math.pi / 4), 0.5, 0.5 - 0.5 * math.cos(math.pi / 4)])
    assert learning_rate(config(learning_rate=1.0, schedule="constant"), 3, 4) == 1.0


def test_each_epoch_reads_every_row_once_in_another_order() -> None:
    spec = config(batch_size=7, epochs=2)
    assert total_steps(spec, 20) == 6
    first, second = ([Order(spec, range(20)).at(s) for s in range(e, e + 3)] for e in (0, 3))
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(20))
    assert first != second
    assert [len(b) for b in first] == [7, 7, 6]


# --- the same bits ------------------------------------------------------------------------------------

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tiny_model", "pairgen.train.loop", "peft"])


def killed_run(init: Path, out: Path, lora: bool = False, kill_at: int = -1, failpoint: str | None = None) -> int:
    """A run in a process of its own that is killed for real after a step or at a failpoint; its exit code."""
    process = FORKS.Process(target=train_until, args=(kill_at, init, out, lora, failpoint))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.faults
@pytest.mark.parametrize("lora", [False, True])
def test_a_run_killed_at_any_step_ends_with_the_same_bits(init: Path, tmp_path: Path, lora: bool) -> None:
    """10 steps, state kept every 2; killed after step 1 (nothing kept), 5 (one step lost) and 8 (none lost)."""
    assert killed_run(init, tmp_path / "calm", lora) == 0
    for kill_at in (1, 5, 8):
        assert killed_run(init, tmp_path / "killed", lora, kill_at) == -9
    assert sorted(p.name for p in (tmp_path / "killed").glob("resume-*")) == ["resume-6", "resume-8"]
    assert killed_run(init, tmp_path / "killed", lora) == 0
    assert folder_digest(tmp_path / "killed") == folder_digest(tmp_path / "calm")
    assert untimed(tmp_path / "killed") == untimed(tmp_path / "calm")
    assert not list((tmp_path / "killed").glob("resume-*"))


@pytest.mark.faults
def test_a_run_killed_at_any_write_ends_with_the_same_bits(init: Path, tmp_path: Path) -> None:
    """Every failpoint kind at several of its hits: while the state is kept, the log cut, the model saved."""
    assert killed_run(init, tmp_path / "calm") == 0
    points = ["file.create:1", "file.write:6", "file.rename:6", "file.done:5", "file.done:7", "log.append:4",
              "file.fsync:12", "file.rename:19", "file.done:20"]
    for point in points:
        out = tmp_path / point.replace(":", "-")
        assert killed_run(init, out, failpoint=f"{point}:kill") == -9
        assert killed_run(init, out) == 0
        assert folder_digest(out) == folder_digest(tmp_path / "calm"), point
        assert untimed(out) == untimed(tmp_path / "calm"), point
        assert not list(out.rglob("*.tmp")), point


def test_the_hash_seed_of_python_does_not_matter(init: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    code = f"from tiny_model import train_until; train_until(-1, {str(init)!r}, {str(tmp_path / 'other')!r}, False)"
    path = os.pathsep.join([str(here), str(here.parents[1])])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "4321"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, stderr=subprocess.DEVNULL)
    train_until(-1, init, tmp_path / "own", lora=False)
    assert folder_digest(tmp_path / "own") == folder_digest(tmp_path / "other")


@pytest.mark.parametrize("objective", ["sft", "rpo"])
def test_the_number_of_cores_does_not_change_the_bits(
    init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    for cores in (1, 2, 5):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        train(config(objective=objective, batch_size=24, max_steps=4), preferences(48), init, tmp_path / str(cores))
    assert len({weights(tmp_path / str(cores)) for cores in (1, 2, 5)}) == 1
    assert untimed(tmp_path / "1") == untimed(tmp_path / "2") == untimed(tmp_path / "5")


def test_side_by_side_is_the_same_step_as_one_after_another(
    init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = config(objective="rpo", batch_size=24, max_steps=3)
    train(spec, preferences(48), init, tmp_path / "crew")
    monkeypatch.setattr("pairgen.train.model.SMALL", 0)
    train(spec, preferences(48), init, tmp_path / "plain")
    for a, b in zip(lines(tmp_path / "crew"), lines(tmp_path / "plain"), strict=True):
        names = ("loss", "grad_norm", "tokens")
        assert [a[name] for name in names] == pytest.approx([b[name] for name in names], rel=1e-4)


def test_the_callers_number_of_threads_is_put_back(init: Path, tmp_path: Path) -> None:
    torch.set_num_threads(3)
    try:
        train(config(max_steps=1), demonstrations(4), init, tmp_path)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_a_stop_at_the_last_step_still_tells_the_final_numbers(init: Path, tmp_path: Path) -> None:
    calm, _ = finished(config(), demonstrations(40), init, tmp_path / "calm")
    stopped_after(5, config(), demonstrations(40), init, tmp_path / "out")
    again, steps = finished(config(), demonstrations(40), init, tmp_path / "out")
    assert steps == []
    assert again.metrics == calm.metrics


class Enough(Exception):
    pass


def stopped_after(step: int, spec: TrainConfig, rows: list[Demonstration], init: Path, out: Path) -> None:
    """Train until `on_step` raises at a step."""
    def on_step(log: StepLog) -> None:
        if log.step == step:
            raise Enough

    with pytest.raises(Enough):
        train(spec, rows, init, out, on_step=on_step)


def finished(spec: TrainConfig, rows: list[Demonstration], init: Path, out: Path) -> tuple[TrainResult, list[int]]:
    """Train to the end; the steps that were taken."""
    steps: list[int] = []
    return train(spec, rows, init, out, on_step=lambda log: steps.append(log.step)), steps


def test_a_stop_keeps_the_state_of_that_very_step(init: Path, tmp_path: Path) -> None:
    rows = demonstrations(64)
    calm, _ = finished(config(), rows, init, tmp_path / "calm")
    stopped_after(3, config(checkpoint_every=0), rows, init, tmp_path / "out")
    again, steps = finished(config(), rows, init, tmp_path / "out")
    assert steps == [4, 5, 6, 7, 8]
    assert weights(tmp_path / "out") == weights(tmp_path / "calm")
    assert (again.steps, again.tokens, again.metrics) == (calm.steps, calm.tokens, calm.metrics)


@pytest.mark.parametrize("change", ["config", "rows", "init", "torn"])
def test_the_state_of_another_run_or_a_torn_one_is_never_used(init: Path, tmp_path: Path, change: str) -> None:
    rows = demonstrations(40)
    stopped_after(3, config(), rows, init, tmp_path / "out")
    spec = config(learning_rate=1e-3) if change == "config" else config()
    rows = rows[1:] if change == "rows" else rows
    init = build_model(tmp_path / "other", layers=3) if change == "init" else init
    if change == "torn":
        (tmp_path / "out" / "resume-3" / "COMPLETE").unlink()
    _, steps = finished(spec, rows, init, tmp_path / "out")
    assert steps[0] == 1
    assert len(lines(tmp_path / "out")) == len(steps)


def test_placement_may_change_between_stop_and_resume(init: Path, tmp_path: Path) -> None:
    stopped_after(3, config(), demonstrations(40), init, tmp_path)
    _, steps = finished(config(log_every=2, checkpoint_every=1), demonstrations(40), init, tmp_path)
    assert steps == [4, 5]
