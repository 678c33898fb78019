"""Published training recipes as data: what their source states, what it does not, and where we differ.

No number here is ours. A field that the source leaves open is named in `not_stated` and takes this
trainer's default, and what the source does but this trainer does not stands in `differs`; both are said
when a preset is used. Where a source limits prompt + answer to M tokens and the prompt to P (TRL's
`max_length` and `max_prompt_length`), completions are limited to M - P, which is its own rule.
"""

from dataclasses import dataclass
from typing import Any

from pairgen.errors import UsageError, nearest

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Preset:
    """A recipe: fields of TrainConfig, where they are from, what was left open, what is done differently."""

    config: Fields
    source: str
    not_stated: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


def preset(name: str) -> Preset:
    """The preset of a name. Raises UsageError, for a recipe whose numbers are unpublished by saying so."""
    if name in UNPUBLISHED:
        raise UsageError(f"no preset {name!r}: {UNPUBLISHED[name]}; nothing is made up here")
    if name not in TRAIN_PRESETS:
        raise UsageError(f"no preset {name!r}: {nearest(name, TRAIN_PRESETS)}")
    return TRAIN_PRESETS[name]


UNPUBLISHED = {
    "atla": "Atla's blog says that 8B was trained with DPO + NLL, but no learning rate, beta or epochs",
    "atla-judge": "Atla's blog says that 8B was trained with DPO + NLL, but no learning rate, beta or epochs",
    "selene": "the hyperparameters of Selene are not published",
    "sfr": "2409.14664 says DPO + SFT on three kinds of pairs, but neither learning rate, beta nor epochs",
    "sfr-judge": "2409.14664 says DPO + SFT on three kinds of pairs, but neither learning rate, beta nor epochs",
}


def _limits(total: int, prompt: int) -> Fields:
    return {"max_prompt_tokens": prompt, "max_completion_tokens": total - prompt, "truncation": "paper"}


def _dpo(beta: float) -> list[Fields]:
    return [{"use": "dpo", "beta": beta}]


def _one_limit(tokens: int) -> str:
    return f"its one limit of {tokens:,} tokens for prompt and answer together is not set: set max_prompt_tokens " \
           "and max_completion_tokens, or leave the model's own limit"


HANDBOOK = "huggingface/alignment-handbook, recipes/"
OPEN = ("clip", "weight_decay")
MEMORY = ("clip", "weight_decay", "warmup_steps", "max_prompt_tokens", "max_completion_tokens", "seed")
_NORM = [{"use": "sigmoid-norm", "beta": 5.0}]
_COSINE = {"schedule": "cosine", "warmup_ratio": 0.1}
_LINEAR = {"schedule": "linear", "warmup_ratio": 0.1}
_SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _simpo(beta: float, ratio: float, learning_rate: float) -> Preset:
    return Preset(
        {"objective": [{"use": "simpo", "beta": beta, "gamma": round(beta * ratio, 6)}], "learning_rate": learning_rate,
         "batch_size": 128, "epochs": 1, **_COSINE, **_limits(2048, 1800)},
        f"princeton-nlp/SimPO, README: beta {beta:g}, gamma/beta {ratio:g}", OPEN,
    )


def _tulu3(learning_rate: float) -> Preset:
    return Preset(
        {"objective": _NORM, "learning_rate": learning_rate, "batch_size": 128, "epochs": 1, "weight_decay": 0.0,
         **_LINEAR},
        "allenai/open-instruct, configs/train_configs/tulu3", ("clip", "seed"), (_one_limit(2048),),
    )


def _olmo(learning_rate: float, tokens: int, source: str) -> Preset:
    open_fields = ("schedule", "warmup_steps", "batch_size", "epochs", *OPEN, "seed")
    return Preset({"objective": _NORM, "learning_rate": learning_rate},
                  f"allenai/open-instruct, scripts/train: {source}", open_fields, (_one_limit(tokens),))


TRAIN_PRESETS: dict[str, Preset] = {
    "clair-paper": Preset(
        {"objective": [{"use": "apo-zero", "beta": 0.1}], "optimizer": "rmsprop", "learning_rate": 2e-7,
         "schedule": "linear", "epochs": 18, "batch_size": 16, **_limits(1024, 512)},
        "CLAIR and APO, 2408.06266, 5.2 (its other losses by --objective: dpo, kto-pair, sft, apo-down)",
        ("warmup_steps", *OPEN, "seed"),
        ("it saves every epoch and picks the best by an evaluation: set save_every and keep_best",),
    ),
    "dpo-original": Preset(
        {"objective": _dpo(0.1), "optimizer": "rmsprop", "learning_rate": 5e-7, "schedule": "constant",
         "warmup_steps": 150, "batch_size": 64, "clip": 10.0, "epochs": 1, "seed": 0, **_limits(512, 256)},
        "eric-mitchell/direct-preference-optimization, config/config.yaml and trainers.py (batch size and beta: "
        "2305.18290; the file's own batch is 4)", ("weight_decay",),
    ),
    "zephyr-dpo": Preset(
        {"objective": _dpo(0.01), "learning_rate": 5e-7, "batch_size": 128, "epochs": 1, "seed": 42, **_COSINE,
         **_limits(1024, 512)},
        f"{HANDBOOK}zephyr-7b-beta/dpo/config_full.yaml (8 GPUs x 8 x 2 = 128 rows)", OPEN,
    ),
    "zephyr-dpo-lora": Preset(
        {"objective": _dpo(0.01), "learning_rate": 5e-6, "batch_size": 128, "epochs": 1, "seed": 42, **_COSINE,
         **_limits(1024, 512), "lora": {"r": 128, "alpha": 128, "dropout": 0.05, "targets": _SEVEN}},
        f"{HANDBOOK}zephyr-7b-beta/dpo/config_qlora.yaml (8 GPUs x 4 x 4 = 128 rows)", OPEN,
        ("it loads the base model in 4 bits with a paged optimizer: here the base stays whole",),
    ),
    "zephyr-sft": Preset(
        {"objective": "sft", "learning_rate": 2e-5, "batch_size": 128, "epochs": 1, "seed": 42, **_COSINE},
        f"{HANDBOOK}zephyr-7b-beta/sft/config_full.yaml (8 GPUs x 16 = 128 rows)", OPEN, (_one_limit(2048),),
    ),
    "zephyr-paper": Preset(
        {"objective": _dpo(0.1), "learning_rate": 5e-7, "schedule": "linear", "batch_size": 32, "epochs": 3},
        "Zephyr, 2310.16944 (from memory of the paper, not read again)", MEMORY,
    ),
    "zephyr-gemma": Preset(
        {"objective": _dpo(0.05), "learning_rate": 5e-7, "batch_size": 128, "epochs": 2, "seed": 42, **_COSINE,
         **_limits(1024, 512)},
        f"{HANDBOOK}zephyr-7b-gemma/dpo/config_full.yaml (8 GPUs x 2 x 8 = 128 rows)", OPEN,
    ),
    "constitutional-dpo": Preset(
        {"objective": _dpo(0.1), "optimizer": "rmsprop", "learning_rate": 5e-7, "batch_size": 16, "epochs": 3,
         "seed": 42, **_LINEAR, **_limits(1024, 512)},
        f"{HANDBOOK}constitutional-ai/dpo/config_anthropic.yaml (2 rows a GPU; 8 GPUs = 16 rows)", OPEN,
    ),
    "smollm3-apo": Preset(
        {"objective": [{"use": "apo-zero", "beta": 0.05}], "learning_rate": 1e-6, "final_lr_ratio": 0.1, "clip": 0.2,
         "batch_size": 32, "epochs": 1, "seed": 42, **_COSINE},
        f"{HANDBOOK}smollm3/dpo/apo.yaml", ("weight_decay",), (_one_limit(24576),),
    ),
    "orpo-zephyr": Preset(
        {"objective": [{"use": "nll"}, {"use": "orpo", "beta": 0.05}], "learning_rate": 5e-6,
         "schedule": "inverse-sqrt", "warmup_steps": 100, "epochs": 3, "batch_size": 32, "seed": 42,
         **_limits(2048, 1792)},
        f"{HANDBOOK}zephyr-141b-A35b/orpo/config_full.yaml (1 row a GPU; 32 GPUs = 32 rows)", OPEN,
        ("its Adam keeps 8-bit states: here they are fp32", "TRL's ORPO also learns the prompt: here the answer only"),
    ),
    "tulu2": Preset(
        {"objective": _dpo(0.1), "learning_rate": 5e-7, "batch_size": 32, "epochs": 3, "weight_decay": 0.0, **_LINEAR},
        "allenai/open-instruct, scripts/dpo_train_with_accelerate.sh (beta from memory of the paper)",
        ("clip", "seed"), (_one_limit(2048),),
    ),
    "tulu3-8b": _tulu3(5e-7),
    "tulu3-70b": _tulu3(2e-7),
    "olmo2-7b": _olmo(1e-6, 2048, "OLMo 2 7B (its YAML says 5e-7)"),
    "olmo3-7b": _olmo(1e-6, 16384, "OLMo 3 7B Instruct"),
    "olmo3-7b-think": _olmo(8e-8, 16384, "OLMo 3 7B Think"),
    "simpo-mistral-base": _simpo(2.0, 0.8, 3e-7),
    "simpo-mistral-instruct": _simpo(2.5, 0.1, 5e-7),
    "simpo-llama3-base": _simpo(2.0, 0.5, 6e-7),
    "simpo-llama3-instruct": _simpo(2.5, 0.55, 1e-6),
    "simpo-llama3-instruct-v0.2": _simpo(10.0, 0.3, 1e-6),
    "simpo-gemma": _simpo(10.0, 0.5, 8e-7),
    "halos-kto": Preset(
        {"objective": [{"use": "kto", "beta": 0.1}], "learning_rate": 5e-6, "warmup_ratio": 0.1, "batch_size": 32,
         "clip": 1.0, **_limits(1250, 625), "lora": {"r": 64, "alpha": 256}},
        "ContextualAI/HALOs, config", ("schedule", "epochs", "weight_decay", "seed"),
    ),
    "relative-po": Preset(
        {"objective": [{"use": "relative-po", "beta": 0.1, "tau": 0.5}], "optimizer": "rmsprop",
         "learning_rate": 5e-7, "warmup_steps": 150, "batch_size": 64, "clip": 10.0, "epochs": 1, **_limits(512, 256)},
        "yinyueqin/relative-preference-optimization, config (2402.10958)", ("schedule", "weight_decay", "seed"),
        ("its loss runs within each device's batch: here over the whole step",),
    ),
    "regularized-po": Preset(
        {"objective": "regularized-po", "learning_rate": 5e-7, "epochs": 1},
        "2405.16436, as in TRL's paper index", ("schedule", "batch_size", *MEMORY),
    ),
    "mpo": Preset(
        {"objective": "mpo", "learning_rate": 5e-6}, "2411.10442, as in TRL's paper index",
        ("objective.beta", "schedule", "epochs", "batch_size", *MEMORY),
    ),
    "tr-dpo": Preset(
        {"objective": _dpo(0.05), "learning_rate": 1e-6, "warmup_steps": 100, "clip": 2.0,
         "moving_reference": {"every": 512, "mix": 0.6}},
        "2404.09656, as in TRL's paper index", ("schedule", "epochs", "batch_size", "weight_decay", "seed"),
    ),
    "discopop": Preset(
        {"objective": [{"use": "discopop", "beta": 0.05, "tau": 0.05}], "learning_rate": 5e-7, "batch_size": 64},
        "2406.08414, as in TRL's paper index", ("schedule", "epochs", *MEMORY),
    ),
    "reward-bt": Preset(
        {"objective": [{"use": "bt"}], "learning_rate": 1e-4}, "TRL 1.16, RewardConfig",
        ("lora", "schedule", "epochs", "batch_size", *OPEN),
        ("its learning rate is meant for adapters: set lora.r, or lower it", "pairs over 1,024 tokens are left out "
         "there: here those that the model does not take"),
    ),
    "self-taught-sft": Preset(
        {"objective": "sft", "learning_rate": 1e-6, "final_lr_ratio": 0.2, "betas": (0.9, 0.95), "weight_decay": 0.1,
         "warmup_steps": 100, "epochs": 2, "seed": 2},
        "Self-Taught Evaluators, 2408.02666, Table 7", ("schedule", "batch_size", "clip"),
        ("it packs 8,192 tokens a batch: here a batch counts rows", _one_limit(4096),
         "2 epochs are its most, stopped early by pairwise accuracy and position bias on held-out pairs"),
    ),
    "self-taught-dpo": Preset(
        {"objective": [{"use": "dpo", "beta": 0.1}, {"use": "nll", "weight": 1.5}], "learning_rate": 5.5e-8,
         "schedule": "constant", "batch_size": 32, "clip": 1.0, "warmup_steps": 0, "epochs": 5, "max_steps": 3000},
        "facebookresearch/RAM, self_taught_evaluator/training_configs/dpo_training.yaml (64 GPUs, TP 8, 1 x 4 = 32 "
        "rows, our reading)", ("betas", "weight_decay", "seed"),
        ("its schedule rises from 5.5e-8 to 1.1e-6, a default left unchanged: here the rate stays",
         "pairs over 2,048 tokens are left out there: here those that the model does not take"),
    ),
}
