"""What the names in a golden file mean in our terms: `exo_pair[ls=0.1]` is exo with noise 0.1.

A name is `loss+loss[option=value,...]|modifier (remark)`. An option that it leaves out has the value the
other library gives it, which is set here where ours differs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pairgen.train.objectives import Divergence

Value = float | bool | str

NAME = re.compile(r"(?P<losses>[\w+-]+)(\[(?P<options>[^]]*)])?(\|(?P<modifier>[\w=.()]+))?(?P<remark> .*)?$")
OPTION = re.compile(r"(\w+)=([^=]*?)(?:,(?=\w+=)|$)")


class Unknown(Exception):
    """An entry, or a field of one, that this checker has no counterpart for."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Our counterpart of a loss: its name, what it calls their options, and what it must be told besides."""

    use: str
    options: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Value] = field(default_factory=dict)


DPO_TRAINER = {
    "sigmoid": Ours("dpo"),
    "hinge": Ours("hinge"),
    "ipo": Ours("ipo"),
    "exo_pair": Ours("exo", {"ls": "noise"}),
    "nca_pair": Ours("nca"),
    "robust": Ours("robust", {"ls": "flip"}, {"flip": 0.0}),
    "bco_pair": Ours("bco-pair"),
    "sppo_hard": Ours("sppo-hard"),
    "apo_zero": Ours("apo-zero"),
    "apo_down": Ours("apo-down"),
    "discopop": Ours("discopop", {"tau": "tau"}),
    "sft": Ours("nll"),
    "sigmoid_norm": Ours("sigmoid-norm"),
    "aot": Ours("aot", {"ls": "flip"}),
    "aot_unpaired": Ours("aot-unpaired", {"ls": "flip"}),
}
OLD_DPO_TRAINER = {
    "sigmoid": Ours("cdpo", {"ls": "flip"}, {"flip": 0.0}),
    "ipo": Ours("ipo", {}, {"average": False}),
    "bco_pair": Ours("bco-pair-running"),
    "kto_pair": Ours("kto-pair"),
}
CPO_TRAINER = {
    "sigmoid": Ours("cpo", {"ls": "flip"}),
    "hinge": Ours("cpo", {}, {"form": "hinge"}),
    "ipo": Ours("cpo", {}, {"form": "ipo"}),
    "simpo": Ours("simpo", {"gamma": "gamma"}, {"gamma": 0.5}),
    "tpo-l": Ours("simpo", {"gamma": "gamma"}, {"gamma": 0.5}),
    "alphapo": Ours("alphapo", {"gamma": "gamma", "alpha": "alpha"}, {"gamma": 0.5}),
    "odds_ratio": Ours("orpo"),
}
KTO_TRAINER = {
    "kto": Ours("kto"),
    "apo_zero_unpaired": Ours("apo-zero-unpaired"),
    "bco": Ours("bco"),
}
NEMO_ALIGNER = {
    "dpo": Ours("dpo", {"gt_scale": ""}),
    "ipo": Ours("ipo", {"gt_scale": ""}, {"average": False}),
    "rpo_bwd_kl": Ours("reward-aware-po-bwd", {"gt_scale": "eta"}),
    "rpo_fwd_kl": Ours("reward-aware-po-fwd", {"gt_scale": "eta"}),
    "rpo_sq": Ours("reward-aware-po-sq", {"gt_scale": "eta"}),
}
AUTHORS = {
    "paired": Ours("relative-po", {"tau": "tau"}),
    "unpaired": Ours("relative-po-unpaired", {"tau": "tau"}),
    "diagonal": Ours("relative-po-diagonal", {"w": "own"}),
    "SLiC": Ours("slic", {"beta": "delta", "lambda": "imitate"}),
}
DIVERGENCES: dict[str, Divergence] = {
    "reverse_kl": "reverse-kl", "forward_kl": "forward-kl", "js_divergence": "js", "alpha_divergence": "alpha",
}


@dataclass(frozen=True, slots=True)
class Term:
    """A loss of ours with its parameters, and its weight in the sum."""

    use: str
    params: Mapping[str, Value]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """The terms of an entry, what is done to its pairs first, and the remark behind its name."""

    terms: tuple[Term, ...]
    remark: str
    divergence: Divergence = "reverse-kl"
    alpha: float = 0.5
    ld: float | None = None
    wpo: bool = False

    @property
    def averages(self) -> bool:
        """Whether the entry's gradients and rewards are of log-probs per token."""
        return "(avg" in self.remark


def meaning(name: str, beta: float, table: Mapping[str, Ours]) -> Meaning:
    """Read a name; beta is the inputs' own. Raises Unknown where a part of it means nothing to us."""
    found = NAME.match(name)
    if found is None:
        raise Unknown(f"no reading for the name {name!r}")
    losses, options = found["losses"].split("+"), dict(OPTION.findall(found["options"] or ""))
    weights = _weights(losses, options, found["options"] or "")
    terms = tuple(replace(_term(loss, beta, options, table), weight=w) for loss, w in zip(losses, weights, strict=True))
    return _modified(Meaning(terms, found["remark"] or ""), found["modifier"] or "")


def _weights(losses: list[str], options: dict[str, str], text: str) -> list[float]:
    """A sum's weights are `w=1,0.5`, or all there is between the brackets; `w` of a single loss is its own option."""
    if len(losses) == 1:
        return [1.0]
    listed = options.pop("w", "" if options else text)
    weights = [float(w) for w in listed.split(",") if w] or [1.0] * len(losses)
    if len(weights) != len(losses):
        raise Unknown(f"{len(weights)} weights for {len(losses)} losses")
    return weights


def _term(loss: str, beta: float, options: Mapping[str, str], table: Mapping[str, Ours]) -> Term:
    if loss not in table:
        raise Unknown(f"no loss here is called {loss!r}")
    ours = table[loss]
    params: dict[str, Value] = {**({} if ours.use in {"nll", "slic"} else {"beta": beta}), **ours.fixed}
    for key, value in options.items():
        name = ours.options.get(key, key if key == "beta" else None)
        if name is None:
            raise Unknown(f"{loss} has no option {key!r} here")
        if name and value != "row":
            params[name] = float(value)
    return Term(ours.use, params)


def _modified(plain: Meaning, modifier: str) -> Meaning:
    kind, _, value = modifier.partition("=")
    if not modifier:
        return plain
    if kind == "WPO":
        return replace(plain, wpo=True)
    if kind == "ld_alpha":
        return replace(plain, ld=float(value))
    name, _, alpha = value.rstrip(")").partition("(")
    if kind != "f" or name not in DIVERGENCES:
        raise Unknown(f"no modifier here is called {modifier!r}")
    return replace(plain, divergence=DIVERGENCES[name], alpha=float(alpha or plain.alpha))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far ours may be off: relatively, or by an absolute amount however small the value."""

    rel: float = 1e-9
    tiny: float = 1e-12


def tolerance(name: str) -> Tolerance:
    """What the name of an entry allows, by the file's own advice: the other side of some is fp32 inside."""
    if "exo_pair" in name:
        # its logarithm of the noise is fp32, so a loss near its least is off by 1e-8 however small
        return Tolerance(1e-6, 1e-8)
    if name.endswith("metrics"):
        return Tolerance(1e-6)
    in_fp32 = ("float32", "running", "delta=", "Yin RPO", "odds_ratio")
    return Tolerance(1e-5) if any(part in name for part in in_fp32) else Tolerance()
