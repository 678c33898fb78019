"""Losses as pure functions of log-probabilities: one value per row, nothing averaged, nothing kept.

The trainer owns the reduction: it divides by the rows (or target tokens, or completions where they are
unpaired) of the whole optimizer step, so no loss here knows of micro-batches. Adding an objective is
one function and one line in OBJECTIVES; its keyword arguments are its YAML parameters, with their
defaults and limits. Nothing here imports torch, so that a config can be checked where it is not
installed. `python -m pairgen.train.golden FILE` compares every loss with numbers of the authors' or
TRL's code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pairgen.train.objectives import coupled, free, pairwise, rewards, scored, unpaired
from pairgen.train.objectives.modifiers import Divergence, DivergenceAlpha, with_divergence, with_ld, wpo_weight
from pairgen.train.objectives.running import RunningMean, rewards_of, running_mean
from pairgen.train.objectives.scored import apo_auto_mask
from pairgen.train.objectives.targets import nll
from pairgen.train.objectives.views import Pairs, Rewards, Side, Targets, Unpaired

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal[
    "tail", "certainty", "scores", "policy_score", "embeddings", "strangers", "delta", "density", "margin"
]
Modifier = Literal["divergence", "ld", "wpo"]

DIFFERENCE: frozenset[Modifier] = frozenset({"divergence", "ld", "wpo"})
ANCHORED: frozenset[Modifier] = frozenset({"ld", "wpo"})
FREE: frozenset[Modifier] = frozenset({"wpo"})
MIXED: frozenset[Modifier] = frozenset({"ld"})


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss and what it needs: the rows it reads, a reference model or not, and optional fields of their view.

    A `coupled` loss mixes rows: it must be given the whole step, and its rows cannot be weighed. One that
    `averages` has rewards per token, without a reference. `fits`
    names the modifiers that mean something for it.
    """

    loss: "Callable[..., Tensor]"
    on: Literal["targets", "golds", "pairs", "unpaired", "rewards"] = "pairs"
    needs_reference: bool = True
    needs: frozenset[Need] = frozenset()
    coupled: bool = False
    averages: bool = False
    fits: frozenset[Modifier] = frozenset()


SCORES: frozenset[Need] = frozenset({"scores"})

OBJECTIVES: dict[str, Objective] = {
    "nll": Objective(nll, on="targets", needs_reference=False),
    "gold-nll": Objective(nll, on="golds", needs_reference=False),
    "dpo": Objective(pairwise.dpo, fits=DIFFERENCE),
    "cdpo": Objective(pairwise.cdpo, fits=DIFFERENCE),
    "robust": Objective(pairwise.robust, fits=DIFFERENCE),
    "ipo": Objective(pairwise.ipo, fits=DIFFERENCE),
    "hinge": Objective(pairwise.hinge, fits=DIFFERENCE),
    "sigmoid-norm": Objective(pairwise.sigmoid_norm, fits=DIFFERENCE),
    "exo": Objective(pairwise.exo, fits=DIFFERENCE),
    "discopop": Objective(pairwise.discopop, fits=DIFFERENCE),
    "nca": Objective(pairwise.nca, fits=ANCHORED),
    "bco-pair": Objective(pairwise.bco_pair, fits=ANCHORED),
    "bco-pair-running": Objective(pairwise.bco_pair_running, needs=frozenset({"delta"}), coupled=True),
    "sppo-hard": Objective(pairwise.sppo_hard, fits=ANCHORED),
    "apo-zero": Objective(pairwise.apo_zero, fits=ANCHORED),
    "apo-down": Objective(pairwise.apo_down, fits=ANCHORED),
    "apo-auto": Objective(scored.apo_auto, needs=frozenset({"scores", "policy_score"}), fits=ANCHORED),
    "reward-aware-po-bwd": Objective(scored.reward_aware_po_bwd, needs=SCORES, fits=ANCHORED),
    "reward-aware-po-fwd": Objective(scored.reward_aware_po_fwd, needs=SCORES, fits=ANCHORED),
    "reward-aware-po-sq": Objective(scored.reward_aware_po_sq, needs=SCORES, fits=ANCHORED),
    "simpo": Objective(free.simpo, needs_reference=False, averages=True, fits=FREE),
    "alphapo": Objective(free.alphapo, needs_reference=False, averages=True, fits=FREE),
    "cpo": Objective(free.cpo, needs_reference=False, fits=FREE),
    "orpo": Objective(free.orpo, needs_reference=False, averages=True, fits=FREE),
    "slic": Objective(free.slic, needs_reference=False, fits=FREE),
    "aot": Objective(coupled.aot, coupled=True, fits=MIXED),
    "aot-unpaired": Objective(coupled.aot_unpaired, coupled=True, fits=MIXED),
    "kto-pair": Objective(coupled.kto_pair, coupled=True, fits=MIXED),
    "relative-po": Objective(coupled.relative_po, needs=frozenset({"embeddings"}), coupled=True),
    "relative-po-diagonal": Objective(coupled.relative_po_diagonal, coupled=True),
    "relative-po-unpaired": Objective(
        coupled.relative_po_unpaired, on="unpaired", needs=frozenset({"embeddings"}), coupled=True
    ),
    "kto": Objective(unpaired.kto, on="unpaired", needs=frozenset({"strangers"}), coupled=True),
    "apo-zero-unpaired": Objective(unpaired.apo_zero_unpaired, on="unpaired"),
    "bco": Objective(unpaired.bco, on="unpaired", needs=frozenset({"delta"}), coupled=True),
    "bco-matched": Objective(unpaired.bco_matched, on="unpaired", needs=frozenset({"delta", "density"}), coupled=True),
    "bt": Objective(rewards.bt, on="rewards", needs_reference=False),
    "bt-margin": Objective(rewards.bt_margin, on="rewards", needs_reference=False, needs=frozenset({"margin"})),
}

__all__ = [
    "OBJECTIVES", "Divergence", "DivergenceAlpha", "Modifier", "Need", "Objective", "Pairs", "Rewards", "RunningMean",
    "Side", "Targets", "Unpaired", "apo_auto_mask", "rewards_of", "running_mean", "with_divergence", "with_ld",
    "wpo_weight",
]
