"""What a training run is: the objective, the optimizer, the limits. Read by the CLI, so without torch.

An objective is a preset's name or a weighted sum of terms; a preset is only a short way to write the
terms, so both have one identity. Placement fields (`Runtime`) change speed and safety, never a weight
beyond the last bits that another summation order moves.
"""

import inspect
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model, field_validator, model_validator

from pairgen.engine import Frozen
from pairgen.errors import nearest
from pairgen.fingerprint import Runtime
from pairgen.train.objectives import OBJECTIVES, Objective

PRESETS: dict[str, list[dict[str, Any]]] = {
    "sft": [{"use": "nll"}],
    # DPO + NLL as in Pang et al. 2404.19733 (alpha 1, NLL per example), the compound loss Atla calls RPO
    "rpo": [{"use": "dpo", "beta": 0.1}, {"use": "nll", "weight": 1.0, "norm": "example"}],
    # Liu et al. 2405.16436
    "regularized-po": [{"use": "dpo", "beta": 0.01}, {"use": "nll", "weight": 0.005}],
    # Wang et al. 2411.10442
    "mpo": [
        {"use": "dpo", "weight": 0.8, "beta": 0.1}, {"use": "bco-pair", "weight": 0.2, "beta": 0.1}, {"use": "nll"},
    ],
    # the papers' whole losses; the terms of the same names are the preference parts
    "orpo": [{"use": "nll"}, {"use": "orpo", "beta": 0.1}],
    "cpo": [{"use": "cpo", "beta": 0.1}, {"use": "nll"}],
    # Saeidi et al. 2405.16681: the gold answer is imitated, the other two compared; tpo-l per token
    "tpo": [{"use": "cpo", "beta": 0.01}, {"use": "gold-nll"}],
    "tpo-l": [{"use": "simpo", "beta": 0.01, "gamma": 0.5}, {"use": "gold-nll"}],
}


class Term(Frozen):
    """One summand of the objective: `{use: dpo, beta: 0.1, weight: 1.0}`, parameters beside `use`.

    Three options change what a pair loss reads: `divergence` the f-divergence to the reference
    (2309.16240; `divergence_alpha` is alpha's own), `ld_alpha` the weight of the tokens by which one side
    is longer (LD-DPO, 2409.06411), `wpo` weighs each pair by how likely the policy is to write it (2406.11827).
    """

    use: str
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    divergence: Literal["reverse-kl", "forward-kl", "js", "alpha"] = "reverse-kl"
    divergence_alpha: float = Field(default=0.5, ge=0, lt=1)
    ld_alpha: float = Field(default=1.0, ge=0, le=1)
    wpo: bool = False
    params: dict[str, float | bool | str]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        """Move the parameters into `params`, checked against the objective's own signature."""
        if not isinstance(value, dict) or "use" not in value:
            raise ValueError("a term of the objective is a mapping with `use:`, the name of a loss")
        name, given = str(value["use"]), {**value, **value.get("params", {})}
        if name not in OBJECTIVES:
            raise ValueError(f"no loss {name!r}: {nearest(name, OBJECTIVES)}")
        own = {key: item for key, item in given.items() if key not in cls.model_fields}
        common = {key: item for key, item in value.items() if key in cls.model_fields and key != "params"}
        return {**common, "params": _checked(name, own)}

    @property
    def objective(self) -> Objective:
        """The loss it names."""
        return OBJECTIVES[self.use]

    @property
    def modifiers(self) -> dict[str, bool]:
        """Which of the three options it uses."""
        return {"divergence": self.divergence != "reverse-kl", "ld": self.ld_alpha < 1, "wpo": self.wpo}

    @property
    def needs(self) -> frozenset[str]:
        """What it reads of a batch beyond log-probs: tail, certainty, scores, embeddings…"""
        extra = {need for name, need in (("ld", "tail"), ("wpo", "certainty")) if self.modifiers[name]}
        return frozenset(self.objective.needs | extra)

    @property
    def per_token(self) -> bool:
        """Whether the step's sum is divided by its target tokens rather than its rows."""
        return self.params.get("norm") == "token"


def _checked(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Every parameter of a loss, defaults filled in. Raises ValueError naming a wrong one."""
    model = _parameters(name)
    for key in given:
        if key not in model.model_fields:
            raise ValueError(f"loss {name!r} has no parameter {key!r}: {nearest(key, ['weight', *model.model_fields])}")
    try:
        return model.model_validate(given).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"loss {name!r}: {first['loc'][0]}: {first['msg']}, found {first['input']!r}") from error


@cache
def _parameters(name: str) -> type[BaseModel]:
    """The keyword arguments of a loss function as a model: annotations are types and limits."""
    signature = inspect.signature(OBJECTIVES[name].loss).parameters.values()
    fields: dict[str, Any] = {p.name: (p.annotation, p.default) for p in signature if p.kind is p.KEYWORD_ONLY}
    return create_model(name, __base__=Frozen, **fields)


class Lora(Frozen):
    """Train low-rank adapters in place of all weights. `targets` are module names; none is every linear layer."""

    r: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()


class MovingReference(Frozen):
    """A reference that follows the policy: every `every` steps it becomes mix * policy + (1 - mix) * itself.

    TR-DPO, 2404.09656 (its values are the defaults); mix 1 is iterated DPO's and sDPO's hard update.
    """

    every: int = Field(default=512, ge=1)
    mix: float = Field(default=0.6, gt=0, le=1)


class TrainConfig(Frozen):
    """How to train. Units: rows for `batch_size`, tokens for limits, optimizer steps for the rest.

    `learning_rate` has no default: a good one differs by hundreds between objectives. `kind_weights`
    weighs rows by their `kind` within every mean of the loss. `micro_tokens` bounds memory: tokens
    computed at once, whatever the batch size. `precision: auto` is bf16 autocast on a GPU, fp32 on a
    CPU. `clip: 0` never clips. `checkpoint_every: 0` keeps no state for resuming but the one on a stop.

    `shuffle: prompts` keeps the rows of a prompt together, so that a step computes the prompt once and
    every distinct completion once; `rows` mixes all rows, as other trainers do. `truncation: paper` cuts
    long rows as the DPO papers did (per pair: prompts from the left, then completions at their end),
    `drop` leaves them out. `chat_template` is the tokenizer's own, a jinja file, or `plain`: prompt and
    completion with nothing between. Warm-up is `warmup_steps`, or `warmup_ratio` of all steps.
    `save_every` writes whole checkpoints, of which `keep_last` stay; `keep_best` keeps the one with the
    best held-out number of that name, measured every `heldout_every` steps.
    """

    objective: tuple[Term, ...] = Field(default="sft", validate_default=True)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    schedule: Literal["linear", "cosine", "constant", "inverse-sqrt"] = "linear"
    final_lr_ratio: float = Field(default=0.0, ge=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    epochs: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=64, ge=1)
    shuffle: Literal["rows", "prompts", "none"] = "rows"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    kind_weights: dict[str, float] = Field(default_factory=dict)
    lora: Lora | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    truncation: Literal["drop", "paper"] = "drop"
    chat_template: str | None = None
    moving_reference: MovingReference | None = None
    seed: int = 0
    micro_tokens: Runtime[int] = Field(default=4096, ge=1)
    gradient_checkpointing: Runtime[bool] = False
    checkpoint_every: Runtime[int] = Field(default=200, ge=0)
    log_every: Runtime[int] = Field(default=1, ge=1)
    heldout_every: Runtime[int] = Field(default=50, ge=1)
    save_every: Runtime[int] = Field(default=0, ge=0)
    keep_last: Runtime[int] = Field(default=3, ge=1)
    keep_best: Runtime[Literal["loss", "nll", "accuracy", "margin", "rewards_chosen"] | None] = None
    report_to: Runtime[tuple[Literal["tensorboard", "wandb", "trackio"], ...]] = ()

    @field_validator("objective", mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        """A preset's terms; a loss by its name alone is that loss with its defaults."""
        if not isinstance(value, str):
            return value
        if value not in PRESETS and value not in OBJECTIVES:
            raise ValueError(f"no objective {value!r}: {nearest(value, PRESETS.keys() | OBJECTIVES.keys())}")
        return PRESETS.get(value, [{"use": value}])

    @field_validator("objective")
    @classmethod
    def _some_term(cls, value: tuple[Term, ...]) -> tuple[Term, ...]:
        if not value:
            raise ValueError("the objective has no terms")
        return value

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        """One tracker needs no list."""
        return [value] if isinstance(value, str) else value

    @field_validator("betas")
    @classmethod
    def _betas_below_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("betas lie in [0, 1)")
        return value

    @field_validator("kind_weights")
    @classmethod
    def _positive_weights(cls, value: dict[str, float]) -> dict[str, float]:
        if not all(0 < weight < float("inf") for weight in value.values()):
            raise ValueError("the weight of a kind is a positive number; leave rows out by filtering them")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        """What one term asks, the whole must allow."""
        for term in self.objective:
            for name, used in term.modifiers.items():
                if used and name not in term.objective.fits:
                    raise ValueError(f"loss {term.use!r} takes no {name}: it would not mean anything there")
            if term.objective.coupled and self.kind_weights:
                raise ValueError(f"loss {term.use!r} mixes rows, so a row has no weight of its own: drop kind_weights")
        kinds = {term.objective.on == "rewards" for term in self.objective}
        if len(kinds) > 1:
            raise ValueError("a reward head and a language model are two trainings: `bt` stands alone")
        if sum("delta" in term.needs for term in self.objective) > 1:
            raise ValueError("two terms with a running mean of rewards: they would share one, keep one of them")
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("warmup_steps and warmup_ratio are two ways to say one thing: give one")
        if self.moving_reference and not self.needs_reference:
            raise ValueError("moving_reference: no term of the objective reads a reference")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """What the terms read of a batch beyond log-probs."""
        return frozenset().union(*(term.needs for term in self.objective))

    @property
    def coupled(self) -> bool:
        """Whether a term mixes rows, so that it must see the whole step at once."""
        return any(term.objective.coupled for term in self.objective)

    @property
    def is_reward(self) -> bool:
        """Whether a reward head is trained in place of a language model."""
        return any(term.objective.on == "rewards" for term in self.objective)

    @property
    def reads_pairs(self) -> bool:
        """Whether a term reads rejected sides."""
        return any(term.objective.on in {"pairs", "unpaired", "rewards"} for term in self.objective)

    @property
    def reads_golds(self) -> bool:
        """Whether a term imitates the gold answer of a row."""
        return any(term.objective.on == "golds" for term in self.objective)

    @property
    def reads_targets(self) -> bool:
        """Whether a term trains on completions that have no other side."""
        return any(term.objective.on in {"targets", "unpaired"} for term in self.objective)

    @property
    def needs_reference(self) -> bool:
        """Whether a term compares with a reference model."""
        return any(term.objective.needs_reference for term in self.objective)

    @property
    def rewards_per_token(self) -> bool:
        """Whether the first pair term without a reference compares means over tokens: so do the logged rewards then."""
        return next((t.objective.averages for t in self.objective if "beta" in t.params), False)

    @property
    def reward_beta(self) -> float:
        """The factor of the implicit rewards in the log: the first pair term's beta."""
        return next((float(t.params["beta"]) for t in self.objective if "beta" in t.params), 1.0)
