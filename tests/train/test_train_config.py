"""What a user may write, and what is said when it is wrong."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from pairgen.fingerprint import identity
from pairgen.train.config import PRESETS, TrainConfig
from pairgen.train.objectives import OBJECTIVES


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"learning_rate": 1e-3, **fields})


@pytest.mark.parametrize("name", [*PRESETS, *OBJECTIVES])
def test_every_preset_and_loss_is_an_objective(name: str) -> None:
    read = config(objective=name)
    assert read.objective
    assert config(**read.model_dump()) == read


def test_a_preset_and_its_terms_are_one_identity() -> None:
    spelled = [{"use": "dpo"}, {"use": "nll", "norm": "example", "weight": 1.0}]
    assert identity(config(objective="rpo")) == identity(config(objective=spelled))


@pytest.mark.parametrize(("objective", "message"), [
    ("dop", "did you mean 'dpo'"),
    ([{"use": "apo-zer"}], "did you mean 'apo-zero'"),
    ([{"use": "dpo", "bta": 1}], "no parameter 'bta': did you mean 'beta'"),
    ([{"use": "dpo", "beta": 0}], "greater than 0"),
    ([{"use": "nll", "norm": "tokens"}], "'token', 'example' or 'sum'"),
    ([{"use": "cdpo", "flip": 0.5}], "less than 0.5"),
    ([{"beta": 1}], "needs|`use:`"),
    ([], "no terms"),
])
def test_a_wrong_objective_is_named_with_what_exists(objective: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(objective=objective)


OFF_DEFAULT = {
    "objective": "dpo", "learning_rate": 2e-3, "schedule": "cosine", "final_lr_ratio": 0.1, "warmup_steps": 3,
    "epochs": 2, "max_steps": 3, "batch_size": 8, "betas": (0.8, 0.9), "eps": 1e-7, "weight_decay": 0.1, "clip": 0.0,
    "kind_weights": {"replay": 0.5}, "lora": {"r": 4}, "precision": "bf16", "max_prompt_tokens": 9,
    "max_completion_tokens": 9, "seed": 7, "micro_tokens": 99, "gradient_checkpointing": True,
    "checkpoint_every": 3, "log_every": 2, "optimizer": "rmsprop", "warmup_ratio": 0.1, "shuffle": "prompts",
    "truncation": "paper", "chat_template": "plain", "moving_reference": {"every": 4}, "heldout_every": 7,
    "save_every": 5, "keep_last": 1, "keep_best": "margin", "report_to": ("tensorboard",),
}
PLACEMENT = {
    "micro_tokens", "gradient_checkpointing", "checkpoint_every", "log_every", "heldout_every", "save_every",
    "keep_last", "keep_best", "report_to",
}


@pytest.mark.parametrize("name", TrainConfig.model_fields)
def test_each_field_is_identity_or_placement(name: str) -> None:
    others = {"objective": "dpo"} if name == "moving_reference" else {}
    changed = identity(config(**{**others, name: OFF_DEFAULT[name]})) != identity(config(**others))
    assert changed is (name not in PLACEMENT)


@pytest.mark.parametrize(("fields", "message"), [
    ({"objective": "kto", "kind_weights": {"replay": 2.0}}, "'kto' mixes rows"),
    ({"objective": [{"use": "apo-zero", "divergence": "js"}]}, "'apo-zero' takes no divergence"),
    ({"objective": [{"use": "bt"}, {"use": "nll"}]}, "stands alone"),
    ({"objective": [{"use": "bco"}, {"use": "bco-pair-running"}]}, "keep one of them"),
    ({"warmup_steps": 3, "warmup_ratio": 0.1}, "give one"),
    ({"objective": "simpo", "moving_reference": {}}, "reads a reference"),
    ({"objective": [{"use": "dpo", "ld_alpha": 1.5}]}, "less than or equal to 1"),
])
def test_what_does_not_go_together_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**fields)


def test_the_config_is_read_without_torch() -> None:
    code = "import sys; import pairgen.train.config; assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
