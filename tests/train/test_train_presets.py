"""Recipes against the numbers of their sources, and the order in which options win."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pairgen.errors import UsageError
from pairgen.train.config import TrainConfig
from pairgen.train.presets import TRAIN_PRESETS, UNPUBLISHED, preset
from pairgen.train.settings import settings

# objective, its first number, learning rate, rows a step, epochs, tokens of prompt and completion: typed
# from section 5 of the objectives' specification, with recipes and papers read beside it; None is not stated
SOURCES: dict[str, tuple[str, float | None, float, int | None, int | None, int | None, int | None]] = {
    "clair-paper": ("apo-zero", 0.1, 2e-7, 16, 18, 512, 512),
    "dpo-original": ("dpo", 0.1, 5e-7, 64, 1, 256, 256),
    "zephyr-dpo": ("dpo", 0.01, 5e-7, 128, 1, 512, 512),
    "zephyr-dpo-lora": ("dpo", 0.01, 5e-6, 128, 1, 512, 512),
    "zephyr-sft": ("nll", None, 2e-5, 128, 1, None, None),
    "zephyr-paper": ("dpo", 0.1, 5e-7, 32, 3, None, None),
    "zephyr-gemma": ("dpo", 0.05, 5e-7, 128, 2, 512, 512),
    "constitutional-dpo": ("dpo", 0.1, 5e-7, 16, 3, 512, 512),
    "smollm3-apo": ("apo-zero", 0.05, 1e-6, 32, 1, None, None),
    "orpo-zephyr": ("nll", None, 5e-6, 32, 3, 1792, 256),
    "tulu2": ("dpo", 0.1, 5e-7, 32, 3, None, None),
    "tulu3-8b": ("sigmoid-norm", 5, 5e-7, 128, 1, None, None),
    "tulu3-70b": ("sigmoid-norm", 5, 2e-7, 128, 1, None, None),
    "olmo2-7b": ("sigmoid-norm", 5, 1e-6, None, None, None, None),
    "olmo3-7b": ("sigmoid-norm", 5, 1e-6, None, None, None, None),
    "olmo3-7b-think": ("sigmoid-norm", 5, 8e-8, None, None, None, None),
    "simpo-mistral-base": ("simpo", 2, 3e-7, 128, 1, 1800, 248),
    "simpo-mistral-instruct": ("simpo", 2.5, 5e-7, 128, 1, 1800, 248),
    "simpo-llama3-base": ("simpo", 2, 6e-7, 128, 1, 1800, 248),
    "simpo-llama3-instruct": ("simpo", 2.5, 1e-6, 128, 1, 1800, 248),
    "simpo-llama3-instruct-v0.2": ("simpo", 10, 1e-6, 128, 1, 1800, 248),
    "simpo-gemma": ("simpo", 10, 8e-7, 128, 1, 1800, 248),
    "halos-kto": ("kto", 0.1, 5e-6, 32, None, 625, 625),
    "relative-po": ("relative-po", 0.1, 5e-7, 64, 1, 256, 256),
    "regularized-po": ("dpo", 0.01, 5e-7, None, 1, None, None),
    "mpo": ("dpo", None, 5e-6, None, None, None, None),
    "tr-dpo": ("dpo", 0.05, 1e-6, None, None, None, None),
    "discopop": ("discopop", 0.05, 5e-7, 64, None, None, None),
    "reward-bt": ("bt", None, 1e-4, None, None, None, None),
    "self-taught-sft": ("nll", None, 1e-6, None, 2, None, None),
    "self-taught-dpo": ("dpo", 0.1, 5.5e-8, 32, 5, None, None),
}


def test_every_preset_is_checked_against_its_source() -> None:
    assert SOURCES.keys() == TRAIN_PRESETS.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_presets_hold_what_their_sources_state_and_nothing_else(name: str) -> None:
    """A number that the source leaves open is not in the preset, and is named as open."""
    objective, beta, rate, rows, epochs, prompt, completion = SOURCES[name]
    chosen, config = TRAIN_PRESETS[name], TrainConfig.model_validate(TRAIN_PRESETS[name].config)
    assert config.objective[0].use == objective
    assert beta is None or config.objective[0].params["beta"] == beta
    stated = {"learning_rate": rate, "batch_size": rows, "epochs": epochs, "max_prompt_tokens": prompt,
              "max_completion_tokens": completion}
    for field, value in stated.items():
        if value is None:
            assert field not in chosen.config
        else:
            assert getattr(config, field) == value
    for field in chosen.not_stated:
        assert field.split(".")[0] in TrainConfig.model_fields
        assert field not in chosen.config


DETAILS: dict[str, dict[str, Any]] = {
    "clair-paper": {"optimizer": "rmsprop", "schedule": "linear", "truncation": "paper"},
    "dpo-original": {"optimizer": "rmsprop", "warmup_steps": 150, "clip": 10.0, "schedule": "constant"},
    "zephyr-dpo": {"schedule": "cosine", "warmup_ratio": 0.1},
    "constitutional-dpo": {"optimizer": "rmsprop", "schedule": "linear"},
    "smollm3-apo": {"final_lr_ratio": 0.1, "clip": 0.2, "schedule": "cosine"},
    "orpo-zephyr": {"schedule": "inverse-sqrt", "warmup_steps": 100},
    "tulu3-8b": {"schedule": "linear", "warmup_ratio": 0.1, "weight_decay": 0.0},
    "relative-po": {"optimizer": "rmsprop", "warmup_steps": 150, "clip": 10.0},
    "tr-dpo": {"warmup_steps": 100, "clip": 2.0},
    "self-taught-sft": {"betas": (0.9, 0.95), "weight_decay": 0.1, "final_lr_ratio": 0.2, "seed": 2},
    "self-taught-dpo": {"clip": 1.0, "max_steps": 3000, "warmup_steps": 0},
}


@pytest.mark.parametrize("name", DETAILS)
def test_details_that_the_sources_state(name: str) -> None:
    config = TrainConfig.model_validate(TRAIN_PRESETS[name].config)
    assert {field: getattr(config, field) for field in DETAILS[name]} == DETAILS[name]


def test_compound_losses_have_the_weights_of_their_papers() -> None:
    def terms(name: str) -> list[tuple[str, float]]:
        return [(t.use, t.weight) for t in TrainConfig.model_validate(TRAIN_PRESETS[name].config).objective]

    assert terms("self-taught-dpo") == [("dpo", 1.0), ("nll", 1.5)]
    assert terms("mpo") == [("dpo", 0.8), ("bco-pair", 0.2), ("nll", 1.0)]
    assert terms("regularized-po") == [("dpo", 1.0), ("nll", 0.005)]
    assert terms("orpo-zephyr") == [("nll", 1.0), ("orpo", 1.0)]


def test_simpo_states_gamma_as_a_ratio_to_beta() -> None:
    """gamma / beta of the SimPO README: .8, .1, .5, .55, .3, .5."""
    recipes = [TrainConfig.model_validate(p.config) for name, p in TRAIN_PRESETS.items() if "simpo" in name]
    params = [config.objective[0].params for config in recipes]
    assert [round(float(p["gamma"]) / float(p["beta"]), 3) for p in params] == [0.8, 0.1, 0.5, 0.55, 0.3, 0.5]


def test_adapters_of_the_lora_presets() -> None:
    zephyr = TrainConfig.model_validate(TRAIN_PRESETS["zephyr-dpo-lora"].config).lora
    assert zephyr is not None
    assert (zephyr.r, zephyr.alpha, zephyr.dropout, len(zephyr.targets)) == (128, 128, 0.05, 7)
    assert "4 bits" in TRAIN_PRESETS["zephyr-dpo-lora"].differs[0]


@pytest.mark.parametrize("name", UNPUBLISHED)
def test_recipes_without_published_numbers_are_refused_by_saying_so(name: str) -> None:
    with pytest.raises(UsageError, match=rf"no preset '{name}': .*(no learning rate|neither|not published)"):
        preset(name)


def test_a_misspelt_preset() -> None:
    with pytest.raises(UsageError, match="did you mean 'clair-paper'"):
        preset("clare-paper")


# --- which option wins --------------------------------------------------------------------------------


def test_a_file_wins_over_a_preset_and_set_over_both(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("epochs: 3\nclip: 0.5\n")
    found = settings("clair-paper", file, sets=["epochs=7"])
    assert (found.config.epochs, found.config.clip, found.config.learning_rate) == (7, 0.5, 2e-7)
    assert found.left_open == ("warmup_steps", "weight_decay", "seed")


def test_an_objective_wins_over_the_presets_and_is_changed_by_the_name_of_its_loss() -> None:
    found = settings("clair-paper", objective="rpo", sets=["objective.dpo.beta=0.3", "objective.nll.weight=2"])
    assert [(t.use, t.weight) for t in found.config.objective] == [("dpo", 1.0), ("nll", 2.0)]
    assert found.config.objective[0].params["beta"] == 0.3
    assert settings("clair-paper", sets=["objective=apo-down"]).config.objective[0].use == "apo-down"


def test_nested_options_begin_to_be_by_being_set() -> None:
    found = settings(objective="dpo", sets=["learning_rate=1e-4", "lora.r=4", "moving_reference.every=8"]).config
    assert found.lora is not None
    assert found.moving_reference is not None
    assert (found.lora.r, found.moving_reference.every, found.learning_rate) == (4, 8, 1e-4)


def test_one_way_to_give_the_warm_up_takes_the_others_place() -> None:
    config = settings("zephyr-dpo", sets=["warmup_steps=10"]).config
    assert (config.warmup_steps, config.warmup_ratio) == (10, 0.0)
    config = settings("tr-dpo", sets=["warmup_ratio=0.2"]).config
    assert (config.warmup_steps, config.warmup_ratio) == (0, 0.2)


WRONG = {
    ("learning_rat=1",): "unknown key; did you mean 'learning_rate'",
    ("learning_rate=x",): "train.learning_rate: input should be a valid number",
    ("learning_rate=1", "objective.dop.beta=1"): "no 'dop': did you mean 'dpo'",
    ("learning_rate=1", "objective.dpo.bta=1"): "loss 'dpo' has no parameter 'bta': did you mean 'beta'",
    ("learning_rate=1", "lora.rank=1"): "train.lora.rank: unknown key",
    ("learning_rate",): "write it as key.path=value",
    (): "learning_rate has no default",
    ("beta=0.2",): "--set 'beta=0.2': unknown key; did you mean 'objective.dpo.beta'",
    ("dpo.beta=0.2",): "unknown key; did you mean 'objective.dpo.beta'",
    ("lora=true",): "--set 'lora=true': lora has fields of its own: write lora.r=16",
    ("learning_rate=1", "objective.dpo.beta=-1"): r"^objective\.dpo\.beta: input should be greater than 0, found -1$",
    ("learning_rate=1", "objective.dpo.weight=0"): r"^objective\.dpo\.weight: input should be greater than 0, found 0$",
}


@pytest.mark.parametrize("sets", WRONG)
def test_wrong_options_are_named(sets: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=WRONG[sets]):
        settings(objective="dpo", sets=sets)


def test_a_sum_of_losses_is_written_in_a_file() -> None:
    with pytest.raises(UsageError, match=r"'dpo\+nll': a sum is written in a --config file.*preset such as rpo"):
        settings(objective="dpo+nll", sets=["learning_rate=1"])


def test_the_record_beside_a_checkpoint_is_a_config(tmp_path: Path) -> None:
    """It trains as the run did that left it, and is changed like any other."""
    first = settings("zephyr-dpo", objective="rpo", sets=["objective.dpo.beta=0.3", "lora.r=4"]).config
    record = tmp_path / "train.yaml"
    record.write_text(yaml.safe_dump({"identity": "abc", "rows": 3, "config": first.model_dump(mode="json")}))
    assert settings(file=record).config == first
    changed = settings(file=record, sets=["objective.dpo.beta=0.2", "lora=null"]).config
    assert (changed.objective[0].params["beta"], changed.objective[1], changed.lora) == (0.2, first.objective[1], None)
