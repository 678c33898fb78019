"""`pairgen train` as a user types it, on a model of 27,000 parameters."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

import torch
import yaml
from loop_lab import PAIRGEN, Said, launch, pairgen
from safetensors.torch import load_file
from tiny_model import build_model, build_tokenizer

from pairgen.engine import EngineConfig
from pairgen.models import model_folder
from pairgen.train.config import TrainConfig
from pairgen.train.preview import preview
from pairgen.train.read import read_rows

Cli = Callable[..., Said]
FAST = ("--objective", "dpo", "--set", "learning_rate=1e-2", "--set", "batch_size=8")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    return lambda *args: pairgen(capfd, *args)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model."""
    torch.set_num_threads(1)
    return build_model(tmp_path_factory.mktemp("tiny"))


def pairs(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{i}: ?", "chosen": f"={i % 10} (A)", "rejected": "?" * (1 + i % 7)} for i in range(n)]


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """32 pairs."""
    return jsonl(tmp_path / "pairs.jsonl", pairs(32))


def test_a_training_leaves_a_checkpoint_a_log_and_what_made_it(
    cli: Cli, model: Path, data: Path, tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    said = cli("train", "--data", data, "--model", model, "--out", out, *FAST, "--set", "epochs=3")
    assert said.code == 0
    assert f"{data}: preference (prompt, chosen, rejected)" in said.err
    assert "step 12" in said.out
    assert said.out.splitlines()[-1] == f"checkpoint: {out}"
    log = [json.loads(line) for line in (out / "log.jsonl").read_bytes().splitlines()]
    assert len(log) == 12
    assert log[-1]["loss"] < log[0]["loss"]
    before, after = (load_file(folder / "model.safetensors") for folder in (model, out))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    kept = yaml.safe_load((out / "train.yaml").read_text())
    assert (kept["read"], kept["rows"], kept["drops"], kept["steps"]) == (32, 32, {}, 12)
    assert TrainConfig.model_validate(kept["config"]).epochs == 3


def test_stages_are_trained_one_after_the_other_and_the_last_is_the_checkpoint(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("train", "--data", data, "--model", model, "--out", tmp_path / "out", "--objective", "dpo",
                 "--set", "learning_rate=1e-3", "--set", "batch_size=4", "--stages", "2", "--json")
    told = json.loads(cli(*arguments).out)
    assert (tmp_path / "out" / "stage-1" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert told["first"]["margin"] == pytest.approx(0.0, abs=1e-3)
    refused = cli(*arguments, "--reference", model)
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_a_folder_that_holds_something_else_is_not_touched(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    """Another training, finished or not, or a model of the user's: one line, and nothing changes."""
    common = ("train", "--data", data, "--model", model, "--set", "learning_rate=1e-3", "--set", "max_steps=1")
    assert cli(*common, "--out", tmp_path / "out", "--objective", "dpo").code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name != "output.log"}
    other = cli(*common, "--out", tmp_path / "out", "--objective", "ipo")
    assert other.code == 2
    assert "holds another training (config.objective" in other.err
    assert {p: p.read_bytes() for p in before} == before
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text("{}")
    mine = cli(*common, "--out", tmp_path / "own", "--objective", "dpo")
    assert mine.code == 2
    assert "holds config.json that is not of this training" in mine.err
    assert (tmp_path / "own" / "config.json").read_text() == "{}"


def test_held_out_numbers_and_the_best_checkpoint_are_told(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    arguments = ("train", "--data", data, "--model", model, "--out", tmp_path / "out", "--heldout", data,
                 "--set", "learning_rate=1e-3", "--set", "max_steps=2", "--objective", "dpo",
                 "--set", "keep_best=accuracy", "--set", "heldout_every=1")
    said = cli(*arguments)
    assert "held out" in said.out
    assert f"{tmp_path / 'out' / 'best'}" in said.out
    assert "objective: dpo beta 0.1; adamw at 0.001, linear" in said.err
    told = json.loads(cli(*arguments, "--json").out)
    assert told["best"]["metric"] == "accuracy"
    assert told["heldout"]["step"] == told["steps"]


def test_numbers_for_scripts(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    said = cli("train", "--data", data, "--model", model, "--out", tmp_path / "out", *FAST, "--json")
    assert said.err == ""
    found = json.loads(said.out)
    assert (found["steps"], found["rows"], found["drops"]) == (4, 32, {})
    assert found["first"]["loss"] == pytest.approx(0.6931472, abs=1e-5)  # ln 2: policy and reference agree


def test_several_sets_a_reference_held_out_rows_and_named_columns(cli: Cli, model: Path, tmp_path: Path) -> None:
    def renamed(path: str, rows: list[dict[str, Any]]) -> Path:
        return jsonl(tmp_path / path, [{"ask": r["prompt"], "good": r["chosen"], "bad": r["rejected"]} for r in rows])

    one, two, held = (renamed(f"{i}.jsonl", pairs(40)[8 * i : 8 * i + 8]) for i in range(3))
    out = tmp_path / "out"
    said = cli("train", "--data", one, "--data", two, "--heldout", held, "--model", model, "--reference", model,
               "--out", out, "--columns", "prompt=ask,chosen=good,rejected=bad", *FAST, "--set", "heldout_every=1")
    assert said.code == 0
    assert yaml.safe_load((out / "train.yaml").read_text())["rows"] == 16
    steps = [json.loads(line)["step"] for line in (out / "heldout.jsonl").read_bytes().splitlines()]
    assert steps == [0, 1, 2]


def test_a_preset_says_its_source_what_it_leaves_open_and_what_is_different(
    cli: Cli, model: Path, data: Path, tmp_path: Path,
) -> None:
    said = cli("train", "--data", data, "--model", model, "--preset", "clair-paper", "--dry-run",
               "--set", "max_prompt_tokens=64", "--set", "max_completion_tokens=64", "--set", "clip=0.5")
    assert said.code == 0
    assert "preset: CLAIR and APO, 2408.06266" in said.out
    assert "not stated there, so as by default: warmup_steps 0, weight_decay 0.0, seed 0\n" in said.out
    assert "different here: it saves every epoch" in said.out
    assert "steps    36 (18 x 32 rows, 16 a step)" in said.out


def test_a_name_of_a_model_that_ships(cli: Cli, data: Path) -> None:
    assert cli("train", "--data", data, "--model", "builtin:world/seed-a", "--dry-run", *FAST).code == 0
    assert model_folder(EngineConfig(use="train", model="builtin:world/seed-a")).is_dir()


# --- the dry run --------------------------------------------------------------------------------------


def test_a_dry_run_shows_which_tokens_are_learnt_and_writes_nothing(
    cli: Cli, model: Path, data: Path, tmp_path: Path,
) -> None:
    said = cli("train", "--data", data, "--model", model, "--out", tmp_path / "out", *FAST, "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-3:] == ["<bos><user>0: ?<assistant>", "chosen: ⟦=0 (A)<eos>⟧", "rejected: ⟦?<eos>⟧"]
    assert not (tmp_path / "out").exists()


def test_turns_that_are_not_learnt_stand_outside_the_brackets(cli: Cli, model: Path, tmp_path: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in
             (("user", "q"), ("assistant", "a"), ("user", "more"), ("assistant", "b"))]
    chats = jsonl(tmp_path / "chats.jsonl", [{"messages": turns}])
    said = cli("train", "--data", chats, "--model", model, "--set", "learning_rate=1", "--dry-run")
    assert said.out.endswith("chosen: ⟦a<eos>⟧\n<user>more<assistant>⟦b<eos>⟧\n")


def test_tokens_steps_and_drops_are_counted(cli: Cli, model: Path, tmp_path: Path) -> None:
    """By hand: 4 x 4 judgments of one 6-token prompt (3 of template), answers of 3 tokens, one to an epoch."""
    chosen, rejected = [f"a{i}" for i in range(4)], [f"b{i}" for i in range(4)]
    rows = [{"prompt": "ask", "chosen": c, "rejected": r} for c in chosen for r in rejected]
    path = jsonl(tmp_path / "p.jsonl", [*rows, {"prompt": "ask", "chosen": "", "rejected": "x"},
                                        {"prompt": "ask", "chosen": "y", "rejected": "y"}])
    said = cli("train", "--data", path, "--model", model, *FAST, "--set", "batch_size=16", "--dry-run", "--json")
    found = json.loads(said.out)
    assert (found["rows"], found["drops"], found["steps"]) == (16, {"identical": 1, "no-target": 1}, 1)
    assert found["tokens"] == {"separate": 16 * 2 * (6 + 3), "trees_by_rows": 6 + 8 * 3, "trees_by_prompts": 6 + 8 * 3}


def test_unpaired_rows_are_weighed_against_each_other(cli: Cli, model: Path, tmp_path: Path) -> None:
    """2 desirable to 8 undesirable; the weight advised makes the ratio 1. A stranger is shown, not learnt."""
    rows = [{"prompt": f"q{i}", "completion": f"a{i}", "label": i < 2} for i in range(10)]
    command = ("train", "--data", jsonl(tmp_path / "p.jsonl", rows), "--model", model, *FAST, "--dry-run",
               "--objective", "kto")
    said = cli(*command).out
    assert "2 desirable x 1 to 8 undesirable x 1 is 0.25; KTO's authors want 1 to 1.33" in said
    assert said.endswith("chosen: ⟦a0<eos>⟧\nstranger: a1<eos>\n")
    assert "8 undesirable x 0.25 is 1.00\n" in cli(*command, "--set", "objective.kto.undesirable_weight=0.25").out


def test_mixing_by_prompts_costs_fewer_tokens_than_mixing_rows(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"ask {i % 8}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(64)]
    config = TrainConfig(objective="dpo", learning_rate=1, batch_size=8)
    tokens = preview(config, read_rows(jsonl(tmp_path / "p.jsonl", rows)), model).tokens
    assert tokens.trees_by_prompts < tokens.trees_by_rows < tokens.separate


def test_the_memory_estimate_counts_parameters_as_torch_does(model: Path, data: Path) -> None:
    from transformers import AutoModelForCausalLM

    count = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(model).parameters())
    config = TrainConfig(objective="dpo", learning_rate=1)
    found = preview(config, read_rows(data), model, model)
    assert (found.parameters, found.trained) == (count, count)
    assert (found.memory.weights, found.memory.reference, found.memory.optimizer) == (4 * count, 4 * count, 8 * count)
    rmsprop = preview(config.model_copy(update={"optimizer": "rmsprop"}), read_rows(data), model)
    assert (rmsprop.memory.reference, rmsprop.memory.optimizer) == (0, 4 * count)


def test_the_memory_estimate_counts_adapters_as_peft_does(model: Path, data: Path) -> None:
    from pairgen.train.model import load

    config = TrainConfig.model_validate({"objective": "dpo", "learning_rate": 1, "lora": {"r": 4}})
    trained = sum(p.numel() for p in load(model, config).trained.values())
    assert preview(config, read_rows(data), model).trained == trained


@pytest.mark.parametrize("hidden", [128, 256])
def test_the_activations_estimated_are_those_that_autograd_keeps(tmp_path: Path, hidden: int) -> None:
    """Within 15 % of the bytes of every tensor that the forward pass saves, weights apart."""
    from pairgen.train.encode import encode
    from pairgen.train.logps import Scorer
    from pairgen.train.model import load
    from pairgen.train.packing import micro_batches

    folder = build_model(tmp_path / "m", hidden=hidden, layers=6)
    config = TrainConfig(objective="dpo", learning_rate=1, precision="fp32")
    rows = [{"prompt": "q" * 60, "chosen": f"{i}" * 70, "rejected": "z" * 80} for i in range(8)]
    data = jsonl(tmp_path / "p.jsonl", rows)
    encoded = encode(read_rows(data), build_tokenizer(), config, 256)
    (batch,) = micro_batches(encoded.examples, 10_000)
    model = load(folder, config).model
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = Scorer(model)(batch)
        assert found is not None
        saved = sum(kept.values())
    config = config.model_copy(update={"micro_tokens": batch.ids_BT.numel()})
    estimate = preview(config, read_rows(data), folder).memory.activations - 2 * (16 << 20)  # chunks come and go
    assert estimate == pytest.approx(saved, rel=0.15)


# --- what a user gets wrong ---------------------------------------------------------------------------

BAD: dict[str, tuple[list[Any], list[str], str]] = {
    "no format": ([{"text": "x"}], [], "pairs.jsonl:1: no format has these columns: text. Formats: "),
    "a row lacks a column": ([*pairs(2), {"prompt": "q", "chosen": "x"}], [],
                             "pairs.jsonl:3: no column 'rejected', which preference data needs"),
    "a wrong type": ([{"prompt": "q", "chosen": 1, "rejected": "x"}], [], "pairs.jsonl:1: chosen is neither text"),
    "no row is left": ([{"prompt": "q", "chosen": "", "rejected": "x"}], [],
                       "nothing to train on: 0 of 1 rows can be used (no-target)"),
    "every prompt too long": (pairs(3), ["--set", "max_prompt_tokens=2"], "0 of 3 rows can be used (prompt-too-long)"),
    "a tool call": ([{"messages": [{"role": "tool", "content": "x"}]}], [], "messages[0] calls or answers a tool"),
    "scores missing": (pairs(2), ["--objective", "reward-aware-po-bwd"], "has no chosen_score, which reward-aware-po"),
    "labels missing": ([{"prompt": "q", "completion": "x"}], [], "no term of the objective reads them"),
    "no such column": (pairs(1), ["--columns", "prompt=ask"], "pairs.jsonl:1: no column 'ask': have: chosen, prompt"),
    "columns not written so": (pairs(1), ["--columns", "ask"], "--columns 'ask': write it as prompt=question"),
    "no such preset": (pairs(1), ["--preset", "sfr-judge"], "neither learning rate, beta nor epochs"),
    "no such objective": (pairs(1), ["--objective", "dop"], "no objective 'dop': did you mean 'dpo'"),
    "no such model": (pairs(1), ["--model", "./nowhere"], "model './nowhere': no such folder here"),
    "truncation does not fit": (
        pairs(1), ["--set", "truncation=paper", "--set", "max_prompt_tokens=200", "--set", "max_completion_tokens=99"],
        "max_prompt_tokens 200 + max_completion_tokens 99 is more than the 256 tokens",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("dry", [True, False])
def test_bad_input_is_one_line(cli: Cli, model: Path, tmp_path: Path, case: str, dry: bool) -> None:
    records, options, message = BAD[case]
    out = tmp_path / "out"
    said = cli("train", "--data", jsonl(tmp_path / "pairs.jsonl", records), "--model", model, "--out", out, *FAST,
               "--quiet", *options, *(["--dry-run"] if dry else []))
    assert said.code == 2
    assert message in said.line
    assert not (out / "model.safetensors").exists()


def test_a_tokenizer_without_a_chat_template(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    folder = build_model(tmp_path / "base")
    build_tokenizer(None).save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    command = ("train", "--data", data, "--model", folder, "--out", tmp_path / "out", *FAST, "-q")
    said = cli(*command)
    assert said.code == 2
    assert f"the tokenizer of {folder} has no chat template: set chat_template to 'plain'" in said.line
    assert cli(*command, "--set", "chat_template=plain").code == 0


def test_a_shard_of_another_class(cli: Cli, model: Path, tmp_path: Path) -> None:
    from pairgen.records import Drop
    from pairgen.store import StepWriter

    with StepWriter(tmp_path / "step", Drop, shard_rows=9) as writer:
        writer.add(Drop("x", "y", "z"))
        shards = writer.close()
    shard = next(tmp_path.rglob("*.arrow"))
    said = cli("train", "--data", shard, "--model", model, "--out", tmp_path / "out", *FAST)
    assert shards is not None
    assert said.code == 2
    assert "holds Drop rows; train reads Demonstration, Preference, Labelled or Pair rows" in said.line


def test_folders_that_do_not_fit(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    def line(*options: Any) -> str:
        said = cli("train", "--data", data, *FAST, "-q", *options)
        assert said.code == 2
        return said.line

    (tmp_path / "empty").mkdir()
    assert "no model here (no config.json)" in line("--model", tmp_path / "empty", "--out", tmp_path / "out")
    assert "is the folder of the model itself" in line("--model", model, "--out", model)
    assert "is a file; name a folder" in line("--model", model, "--out", data)
    assert "--out: in which folder" in line("--model", model)
    assert "none.jsonl: no such file" in line("--model", model, "--out", tmp_path / "out", "--data", "none.jsonl")
    assert not (tmp_path / "out").exists()


def test_too_many_rows_left_out_is_exit_3_with_the_checkpoint_kept(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", [*pairs(2), *[{"prompt": "q", "chosen": "", "rejected": "x"}] * 3])
    command = ("train", "--data", path, "--model", model, "--out", tmp_path / "out", *FAST, "-q")
    said = cli(*command)
    assert said.code == 3
    assert "complete, but 3 of 5 rows were left out (limit 50%): see" in said.line
    assert "left out: no-target 3" in said.out
    drops = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    assert [(d["stage"], d["reason"]) for d in drops] == [("train", "no-target")] * 3
    assert cli(*command, "--max-failed", "0.6").code == 0


def test_the_same_command_again_has_nothing_to_do_and_another_is_refused(
    cli: Cli, model: Path, data: Path, tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    command = ("train", "--data", data, "--model", model, "--out", out, *FAST)
    first = cli(*command)
    written = (out / "model.safetensors").stat().st_mtime_ns
    again = cli(*command)
    assert (again.code, again.out) == (0, first.out)
    assert "done already, nothing to do" in again.err
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    for change in (("--set", "seed=1"), ("--data", jsonl(tmp_path / "more.jsonl", pairs(3)))):
        refused = cli(*command, *change)
        assert (refused.code, "holds another training" in refused.err) == (2, True)
        assert (out / "model.safetensors").stat().st_mtime_ns == written


def test_a_checkpoint_keeps_the_template_it_was_trained_with(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "out"
    command = ("train", "--data", data, "--model", model, "--out", out, *FAST, "-q", "--set", "chat_template=plain")
    assert cli(*command, "--set", "save_every=2").code == 0
    for folder in (out, out / "checkpoint-2"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False) == "<bos>q"


def test_a_reference_of_other_tokens_is_refused(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    command = ("train", "--data", data, "--model", model, "--out", tmp_path / "out", *FAST)
    said = cli(*command, "--reference", "builtin:world/seed-a")
    assert said.code == 2
    assert "its tokenizer has other tokens" in said.line


# --- stopping -----------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_state_and_the_same_command_goes_on_to_the_same_weights(model: Path, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "pairs.jsonl", pairs(64))

    def command(out: str) -> tuple[Any, ...]:
        return ("train", "--data", data, "--model", model, "--out", tmp_path / out, *FAST, "--set", "epochs=30", "-q")

    process = launch(*command("out"), OMP_NUM_THREADS="1")
    log = tmp_path / "out" / "log.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (log.is_file() and log.read_bytes().count(b"\n") >= 3):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "pairgen: stopped: the state of the last step is kept; the same command goes on"
    taken = log.read_bytes().count(b"\n")
    assert 3 <= taken < 240
    for out in ("out", "whole"):
        process = launch(*command(out), OMP_NUM_THREADS="1")
        process.communicate(timeout=120)
        assert process.returncode == 0
    weights = [load_file(tmp_path / out / "model.safetensors") for out in ("out", "whole")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_stop_before_the_first_step_is_one_line(model: Path, tmp_path: Path, number: int, code: int) -> None:
    """Wherever it comes: here while libraries are being imported."""
    data = jsonl(tmp_path / "pairs.jsonl", pairs(8))
    process = launch("train", "--data", data, "--model", model, "--out", tmp_path / "out", *FAST, "-q")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "out" / "output.log").exists():
        time.sleep(0.005)
    time.sleep(0.3)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (code, 1)
    assert err == "pairgen: stopped before the first step; the same command starts again\n"


# --- advice, own answers, several processes -----------------------------------------------------------


def test_advice_and_apo_auto_share_the_models_own_answers(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    """The advice names an objective and what it measured; apo-auto then draws nothing again."""
    out, fast = tmp_path / "out", ("--engine", "transformers", "--samples", "2", "--set", "max_completion_tokens=24")
    command = ("train", "--data", data, "--model", model, "--out", out, *fast)
    said = cli(*command, "--advise", "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert found["recommendation"] in ("apo-zero", "apo-down", "apo-auto", "sft")
    assert (found["of"], found["samples"], found["basis"]) == (32, 2, "likelihood")
    drawn = (out / "samples.jsonl").read_bytes()
    auto = (*command, "--objective", "apo-auto", "--set", "learning_rate=1e-3", "--max-failed", "1")
    foreseen = cli(*auto, "--dry-run", "--json")
    assert json.loads(foreseen.out)["rows"] == 32
    trained = cli(*auto)
    assert trained.code == 0
    assert "(0 drawn now, kept in" in trained.err
    assert (out / "samples.jsonl").read_bytes() == drawn
    assert yaml.safe_load((out / "train.yaml").read_text())["rows"] == found["rows"]


def test_advice_in_words(cli: Cli, model: Path, tmp_path: Path) -> None:
    """By the paper's rule: every winner scores higher than the model's own answers."""
    rows = [{**row, "chosen_score": 2, "rejected_score": 0, "policy_score": 1} for row in pairs(12)]
    said = cli("train", "--data", jsonl(tmp_path / "p.jsonl", rows), "--model", model, "--out", tmp_path / "out",
               "--engine", "transformers", "--set", "max_completion_tokens=24", "--advise", "-q")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("objective: apo-zero\n100% of winners score higher than the model's own answers")
    assert "note: only" in said.out


def test_two_processes_train_as_one_does(model: Path, data: Path, tmp_path: Path) -> None:
    """One of them speaks and writes; the weights are those of a process alone."""
    def command(out: str) -> list[str]:
        return ["train", "--data", str(data), "--model", str(model), "--out", str(tmp_path / out), *FAST]

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "pairgen"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    two = subprocess.run([*torchrun, *command("two")], capture_output=True, text=True, timeout=300, env=env)
    one = subprocess.run([*PAIRGEN, *command("one")], capture_output=True, text=True, timeout=300, env=env)
    assert (two.returncode, one.returncode) == (0, 0), two.stderr
    assert two.stdout.replace("/two", "/one") == one.stdout
    weights = [load_file(tmp_path / out / "model.safetensors") for out in ("one", "two")]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])
