"""The generated tables of docs/training.md: formats, options, presets, log fields, TRL's losses.

Each is made from the code that it describes, so the page cannot say what is no longer so.

    python scripts/training_page.py
"""

import json
import types
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pairgen.fingerprint import PLACEMENT
from pairgen.sources import Record
from pairgen.train.config import Lora, MovingReference, Term, TrainConfig
from pairgen.train.formats import ALIASES, SHAPES, Cells, recognise
from pairgen.train.golden.names import CPO_TRAINER, DIVERGENCES, DPO_TRAINER, KTO_TRAINER, OLD_DPO_TRAINER, Ours
from pairgen.train.metrics import StepLog
from pairgen.train.presets import TRAIN_PRESETS, Preset

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "training.md"

# --- what data may look like ---------------------------------------------------------------------------

_USER, _GOOD, _BAD = ({"role": role, "content": text} for role, text in
                      (("user", "q"), ("assistant", "good"), ("assistant", "bad")))
_LLAMA = "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
EXAMPLES: dict[str, dict[str, Any]] = {
    "prompt and two answers": {"prompt": "q", "chosen": "good", "rejected": "bad"},
    "the same with scores, a gold answer, a kind": {
        "prompt": "q", "chosen": "good", "rejected": "bad", "chosen_score": 8.5, "rejected_score": 4,
        "policy_score": 6, "gold": "best", "kind": "maths"},
    "the same with a margin": {"prompt": "q", "chosen": "good", "rejected": "bad", "margin": 3},
    "TRL, conversational": {"prompt": [_USER], "chosen": [_GOOD], "rejected": [_BAD]},
    "TRL, implicit prompt": {"chosen": [_USER, _GOOD], "rejected": [_USER, _BAD]},
    "UltraFeedback binarized": {"prompt": "q", "chosen": [_USER, _GOOD], "rejected": [_USER, _BAD],
                                "score_chosen": 8.5, "score_rejected": 4},
    "HH-RLHF": {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
    "HH-RLHF with its prompt": {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "good", "rejected": "bad"},
    "Self-Taught release, pairs": {"src": _LLAMA, "tgt_chosen": "good<|eot_id|>", "tgt_rejected": "bad<|eot_id|>"},
    "Self-Taught release, supervised": {"src": "q", "tgt": "good"},
    "KTO": {"prompt": "q", "completion": "good", "label": True},
    "chat": {"messages": [_USER, _GOOD]},
    "content in parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, _GOOD]},
    "ShareGPT": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "good"}]},
    "ShareGPT, pairs": {"conversations": [{"from": "human", "value": "q"}],
                        "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}},
    "turns as JSON text, as in a CSV": {"messages": json.dumps([_USER, _GOOD])},
    "prompt and completion": {"prompt": "q", "completion": "good"},
    "Alpaca": {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be brief."},
}
"""A record for everything that is recognised."""


def example_table() -> str:
    """Each example with the format it is recognised as and the row that it becomes."""
    lines = ["| such as | a record | recognised as | becomes |", "|---|---|---|---|"]
    for name, value in EXAMPLES.items():
        shape, build = recognise(Record("example", value))
        row = build(Cells("example", shape, value))
        text = json.dumps(value).replace("|", "\\|")
        lines.append(f"| {name} | `{text}` | {shape.name} | {type(row).__name__} |")
    return "\n".join(lines)


def shape_table() -> str:
    """The formats in the order in which they are tried."""
    lines = ["| format | must have | may have |", "|---|---|---|"]
    lines += [f"| {shape.name} | {_names(shape.needs)} | {_names(shape.may)} |" for shape in SHAPES]
    return "\n".join(lines)


def alias_table() -> str:
    """What the column of each part may be called."""
    lines = ["| part | column, the first found wins |", "|---|---|"]
    lines += [f"| `{part}` | {_names(names)} |" for part, names in ALIASES.items() if names != (part,)]
    return "\n".join(lines)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


# --- options -------------------------------------------------------------------------------------------

MEANINGS: dict[type[BaseModel], dict[str, str]] = {
    TrainConfig: {
        "objective": "a loss or named sum ([objectives.md](objectives.md)), or a list of terms",
        "learning_rate": "the peak; no default, since good ones differ by hundreds between objectives",
        "optimizer": "AdamW, or RMSProp with torch's own constants (alpha 0.99), as the DPO and CLAIR papers use it",
        "schedule": "how the rate falls after warm-up",
        "final_lr_ratio": "the share of the peak that the schedule falls to",
        "warmup_steps": "optimizer steps of linear warm-up",
        "warmup_ratio": "the same as a share of all steps; give one of the two",
        "epochs": "passes over the rows",
        "max_steps": "optimizer steps, if that is fewer",
        "batch_size": "rows of an optimizer step, over all processes; a pair is one row",
        "shuffle": "`rows` mixes all; `prompts` keeps rows of one prompt together, so a step computes it once; "
                   "`none` is the order of the data",
        "betas": "AdamW's",
        "eps": "the optimizer's",
        "weight_decay": "AdamW's or RMSProp's; norms and biases do not decay",
        "clip": "greatest norm of the gradient; 0 never clips",
        "kind_weights": "weight of rows by their `kind` in every mean of the loss",
        "lora": "train adapters in place of all weights (below)",
        "precision": "bf16 is autocast around fp32 weights; `auto` is bf16 on a GPU, fp32 on a CPU",
        "max_prompt_tokens": "most tokens of a prompt; unset is the model's own limit",
        "max_completion_tokens": "most tokens of a completion; unset is the model's own limit",
        "truncation": "`drop` leaves longer rows out; `paper` cuts prompts at their start, then completions at "
                      "their end, and needs both limits",
        "chat_template": "`plain`, or a jinja file; unset is the tokenizer's own",
        "moving_reference": "a reference that follows the policy (below)",
        "seed": "of the order, of new adapters and heads, of adapters' dropout",
        "micro_tokens": "tokens computed at once: lower it when memory runs out, the loss stays the same",
        "gradient_checkpointing": "compute activations twice to keep fewer",
        "checkpoint_every": "steps between states for going on after a crash; 0 keeps one on a stop only",
        "log_every": "steps between lines of log.jsonl; the last step always has one",
        "heldout_every": "steps between measurements of `--heldout`; also before the first and after the last",
        "save_every": "steps between whole checkpoints in checkpoint-N/; 0 is none",
        "keep_last": "how many of these stay",
        "keep_best": "keep the weights with the best held-out number of this name in best/",
        "report_to": "trackers, besides log.jsonl",
    },
    Lora: {
        "r": "rank", "alpha": "scale: the update is alpha/r times the product", "dropout": "on the adapters' input",
        "targets": "names of linear layers, such as q_proj; empty is every one but the output head",
    },
    MovingReference: {"every": "steps between moves", "mix": "the share of the policy in the new reference"},
    Term: {
        "use": "the loss", "weight": "its factor in the sum",
        "divergence": "f-divergence to the reference", "divergence_alpha": "alpha of the alpha divergence",
        "ld_alpha": "weight of the tokens by which one side is longer (LD-DPO)",
        "wpo": "weigh each pair by how likely the policy is to write it (WPO)",
    },
}
"""What each option means."""
PREFIXES = {TrainConfig: "", Lora: "lora.", MovingReference: "moving_reference.", Term: "objective.LOSS."}


def option_table(model: type[BaseModel]) -> str:
    """Every option of a model; `†` marks those that change speed and what is kept, not the result."""
    lines = ["| option | values | default | meaning |", "|---|---|---|---|"]
    for name, meaning in MEANINGS[model].items():
        field = model.model_fields[name]
        mark = " †" if PLACEMENT in field.metadata else ""
        lines.append(f"| `{PREFIXES[model]}{name}`{mark} | {values_of(field)} | {default_of(field)} | {meaning} |")
    return "\n".join(lines)


def values_of(field: FieldInfo) -> str:
    """The type and limits of an option in words."""
    limits = " and ".join(f"{sign} {value:g}" for sign, value in _limits(field.metadata))
    return f"{_kind(field.annotation)} {limits}".rstrip()


def _limits(metadata: list[Any]) -> Iterator[tuple[str, float]]:
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    for item in metadata:
        for kind, (sign, name) in signs.items():
            if isinstance(item, kind):
                yield sign, float(getattr(item, name))


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in {Union, types.UnionType}:
        return _kind(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}" if arguments[-1] is Ellipsis else f"{len(arguments)} numbers"
    names = {int: "integer", float: "number", bool: "true, false", str: "text"}
    return names.get(annotation, "mapping")


def default_of(field: FieldInfo) -> str:
    """The default as YAML would write it."""
    if field.is_required():
        return "–"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, bool):
        return {None: "unset", True: "`true`", False: "`false`"}[value]
    return f"`{list(value) if isinstance(value, tuple) else value}`"


# --- presets, numbers, TRL's names -----------------------------------------------------------------------


def preset_table() -> str:
    """Every published recipe: where it is from, what it sets, what its source leaves open, what differs here."""
    lines = ["| preset | source | sets | not stated | different here |", "|---|---|---|---|---|"]
    for name, preset in TRAIN_PRESETS.items():
        cells = [preset.source, _sets(preset), _names(preset.not_stated), "; ".join(preset.differs) or "–"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sets(preset: Preset) -> str:
    return ", ".join(f"`{key}={_short(value)}`" for key, value in preset.config.items())


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return str(value)


LOGGED = {
    "step": "optimizer steps done", "steps": "of so many",
    "loss": "of the whole step, all terms", "lr": "learning rate of the step",
    "grad_norm": "norm of the gradient before clipping",
    "tokens": "tokens computed, prompts shared by several completions once", "seconds": "wall clock of the step",
    "nll": "nats per target token of demonstrations and chosen sides",
    "rewards_chosen": "beta × log policy/reference of the chosen side, summed over tokens, nats; of `simpo`, `alphapo` "
                      "and `orpo` beta × log-prob per token; of `bt` the head's output",
    "rewards_rejected": "the same of the rejected side",
    "margin": "difference of the two", "accuracy": "share of pairs whose chosen reward is the greater",
    "logps_chosen": "log-prob of the chosen side, summed over its tokens, nats",
    "logps_rejected": "the same of the rejected side",
    "mean_logp_chosen": "the same per token: each side's own mean, nats", "mean_logp_rejected": "the same",
    "tokens_chosen": "target tokens of a chosen side", "tokens_rejected": "the same of a rejected side",
    "saturated": "share of sides whose |reward| is over 6, where sigmoid losses hardly pull",
    "chosen_down": "share of chosen sides less likely than under the reference",
    "kl": "KTO's baseline, nats", "zero_share": "share of pairs that `apo-auto` trains with APO-zero",
}
"""What each number of a step is, with its unit."""


def log_table() -> str:
    """Every field of a line of log.jsonl."""
    lines = ["| field | is |", "|---|---|"]
    return "\n".join(lines + [f"| `{field.name}` | {LOGGED[field.name]} |" for field in fields(StepLog)])


TRAINERS: tuple[tuple[str, dict[str, Ours], tuple[str, ...]], ...] = (
    ("DPO", DPO_TRAINER, tuple(DPO_TRAINER)),
    ("DPO with label_smoothing, TRL ≤ 0.28", OLD_DPO_TRAINER, ("sigmoid",)),
    ("DPO, TRL ≤ 0.28", OLD_DPO_TRAINER, ("bco_pair",)), ("DPO, TRL ≤ 0.8", OLD_DPO_TRAINER, ("kto_pair",)),
    ("CPO", CPO_TRAINER, ("sigmoid", "hinge", "ipo", "simpo", "alphapo")), ("TPO", CPO_TRAINER, ("tpo-l",)),
    ("KTO", KTO_TRAINER, ("kto", "apo_zero_unpaired")),
)
"""Which trainer takes which names, and our reading of them, as the golden values are checked by it."""
OPTIONS = {"ls": "label_smoothing", "tau": "discopop_tau", "gamma": "simpo_gamma", "alpha": "alpha",
           "TPO gamma": "tpo_l_gamma"}


def loss_table() -> str:
    """TRL's names of losses and ours, with what its options are called here."""
    lines = ["| trainer | `loss_type` | here | options |", "|---|---|---|---|"]
    lines += [f"| {trainer} | `{name}` | `{table[name].use}` | {_options(trainer, table[name])} |"
              for trainer, table, names in TRAINERS for name in names]
    return "\n".join(lines)


def _options(trainer: str, ours: Ours) -> str:
    named = {theirs: OPTIONS.get(f"{trainer} {theirs}", OPTIONS[theirs]) for theirs in ours.options}
    renamed = [f"`{named[theirs]}` → `{here}`" for theirs, here in ours.options.items()]
    fixed = [f"set `{key}: {_short(value).lower()}`" for key, value in ours.fixed.items()
             if key not in ours.options.values()]
    return ", ".join([*renamed, *fixed]) or "–"


def divergence_table() -> str:
    """TRL's names of f-divergences and ours."""
    lines = ["| `f_divergence_type` | `divergence` |", "|---|---|"]
    return "\n".join(lines + [f"| `{theirs}` | `{ours}` |" for theirs, ours in DIVERGENCES.items()])


TABLES: dict[str, Callable[[], str]] = {
    "examples": example_table, "shapes": shape_table, "aliases": alias_table,
    "options": lambda: option_table(TrainConfig), "lora": lambda: option_table(Lora),
    "moving": lambda: option_table(MovingReference), "terms": lambda: option_table(Term),
    "presets": preset_table, "log": log_table, "losses": loss_table, "divergences": divergence_table,
}


def with_tables(text: str) -> str:
    """The page with its generated parts made anew. Raises ValueError naming one that has no place."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name}: made by scripts/training_page.py -->\n", f"\n<!-- /{name} -->"
        if start not in text or end not in text:
            raise ValueError(f"no place for the table {name!r}")
        before, _, rest = text.partition(start)
        text = before + start + make() + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
