"""From branches to rows: what a forward pass says of each side, and the views that objectives read.

`Known` is what is known of a step's rows before the model is asked: reference, scores, embeddings,
weights. `Outputs` is what the model says of some of them. A view joins the two, and is the same whether
it is of one micro-batch or of a whole step.

Names: M examples of the training set, R rows at hand, S sides of a row, K branches, N target tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pairgen.train.config import TrainConfig
from pairgen.train.density import density_ratio
from pairgen.train.example import CHOSEN, GOLD, REJECTED, STRANGER, Example
from pairgen.train.objectives import Pairs, Rewards, Side, Unpaired
from pairgen.train.packing import MicroBatch


@dataclass(frozen=True, slots=True)
class Outputs:
    """Sides of R rows, [R, S] each, NaN where a row has no such side.

    `values_RS` are summed log-probs, or rewards of a reward head; `tail_RS` the log-probs of the targets
    beyond the shorter side's length; `certainty_RS` means over targets of log p - log sum p^2. `rows_R`
    are indices into the step's examples.
    """

    rows_R: Tensor
    values_RS: Tensor
    tokens_RS: Tensor
    tail_RS: Tensor | None = None
    certainty_RS: Tensor | None = None

    def detach(self) -> "Outputs":
        """The numbers alone."""
        parts = (self.tail_RS, self.certainty_RS)
        return Outputs(self.rows_R, self.values_RS.detach(), self.tokens_RS,
                       *(None if part is None else part.detach() for part in parts))


def outputs_of(
    batch: MicroBatch, values_K: Tensor, logps_N: Tensor | None, certainty_N: Tensor | None
) -> Outputs:
    """Branch values as sides of rows. `logps_N` is given when tails are wanted, `certainty_N` likewise."""
    there_RS = batch.branch_RS >= 0
    branch_RS = batch.branch_RS.clamp(min=0)
    tokens_RS = (batch.tokens_K[branch_RS] * there_RS).to(values_K.dtype)

    def rows(found_K: Tensor) -> Tensor:
        return torch.where(there_RS, found_K[branch_RS], torch.nan)

    tail_RS = None if logps_N is None else torch.where(there_RS, _tails(batch, logps_N, tokens_RS), torch.nan)
    certainty_RS = None
    if certainty_N is not None:
        sums_K = values_K.new_zeros(len(batch.tokens_K)).index_add(0, batch.branch_N, certainty_N)
        certainty_RS = rows(sums_K / batch.tokens_K)
    return Outputs(batch.rows_R, rows(values_K), tokens_RS, tail_RS, certainty_RS)


def _tails(batch: MicroBatch, logps_N: Tensor, tokens_RS: Tensor) -> Tensor:
    """Log-probs of each side's targets after the first min(chosen, rejected), [R, S]; fp64 on the way."""
    zero = torch.zeros(1, dtype=torch.float64, device=logps_N.device)
    until = torch.cat([zero, logps_N.double().cumsum(0)])
    end_RS = batch.tokens_K.cumsum(0)[batch.branch_RS.clamp(min=0)]
    shorter_R1 = tokens_RS[:, [CHOSEN, REJECTED]].amin(1, keepdim=True)
    start_RS = end_RS - (tokens_RS - shorter_R1).clamp(min=0).long()
    return (until[end_RS] - until[start_RS]).to(logps_N.dtype)


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Outputs of micro-batches as those of the whole step, rows in order."""
    order = torch.cat([part.rows_R for part in parts]).argsort()

    def whole(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else torch.cat(found)[order]

    names = ("rows_R", "values_RS", "tokens_RS", "tail_RS", "certainty_RS")
    return Outputs(**{name: whole(name) for name in names})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of M rows: log-probs under the reference and their tails [M, S] (zeros without one),
    scores [M, 3] (NaN where unknown), prompt embeddings [M, E] of length 1, how much more likely a prompt
    is among desirable rows than among undesirable ones [M], weights [M]."""

    ref_MS: Tensor
    weights_M: Tensor
    scores_M3: Tensor
    ref_tail_MS: Tensor | None = None
    embedding_ME: Tensor | None = None
    density_M: Tensor | None = None

    def at(self, index: Sequence[int] | Tensor) -> "Known":
        """The same of some rows."""
        rows = torch.as_tensor(index)
        parts = (self.ref_tail_MS, self.embedding_ME, self.density_M)
        return Known(self.ref_MS[rows], self.weights_M[rows], self.scores_M3[rows],
                     *(None if part is None else part[rows] for part in parts))


def known_of(config: TrainConfig, examples: Sequence[Example], ref_MS: Tensor, ref_tail_MS: Tensor | None = None,
             embedding_ME: Tensor | None = None) -> Known:
    """What the examples themselves say, with their reference and the vectors of their prompts."""
    scores = [[torch.nan if score is None else score for score in e.scores] for e in examples]
    weights_M = torch.tensor([e.weight for e in examples])
    density_M = None
    if embedding_ME is not None and "density" in config.needs:
        there_M2 = torch.tensor([[e.sides[side] is not None for side in (CHOSEN, REJECTED)] for e in examples])
        density_M = density_ratio(embedding_ME, there_M2[:, 0], there_M2[:, 1], config.seed)
    return Known(ref_MS, weights_M, torch.tensor(scores), ref_tail_MS, embedding_ME, density_M)


@dataclass(frozen=True, slots=True)
class Reading:
    """A view for the objectives `on` it, and the weight of each value they return."""

    view: Any
    weights_B: Tensor


def readings(out: Outputs, known: Known, *, is_reward: bool = False, delta: float = 0.0) -> dict[str, Reading]:
    """The views of these rows, by the name objectives ask for. `known` is of the whole step."""
    known = known.at(out.rows_R)
    there_RS = out.tokens_RS > 0
    pair_P = (there_RS[:, CHOSEN] & there_RS[:, REJECTED]).nonzero()[:, 0]
    chosen_B, rejected_B = (there_RS[:, side].nonzero()[:, 0] for side in (CHOSEN, REJECTED))
    gold_B = there_RS[:, GOLD].nonzero()[:, 0]
    weights = known.weights_M
    if is_reward:
        return {"rewards": Reading(_rewards(out, known, pair_P), weights[pair_P])}
    both_B = torch.cat([chosen_B, rejected_B])
    return {
        "targets": Reading(_side(out, known, chosen_B, CHOSEN), weights[chosen_B]),
        "golds": Reading(_side(out, known, gold_B, GOLD), weights[gold_B]),
        "pairs": Reading(_pairs(out, known, pair_P, delta), weights[pair_P]),
        "unpaired": Reading(_unpaired(out, known, chosen_B, rejected_B, delta), weights[both_B]),
    }


def _side(out: Outputs, known: Known, rows_B: Tensor, side: int) -> Side:
    def at(table: Tensor | None) -> Tensor | None:
        return None if table is None else table[rows_B, side]

    score = known.scores_M3[rows_B, side] if side in (CHOSEN, REJECTED) else None
    return Side(out.values_RS[rows_B, side], known.ref_MS[rows_B, side], out.tokens_RS[rows_B, side],
                at(out.tail_RS), at(known.ref_tail_MS), at(out.certainty_RS), score)


def _pairs(out: Outputs, known: Known, rows_B: Tensor, delta: float) -> Pairs:
    embedding = None if known.embedding_ME is None else known.embedding_ME[rows_B]
    return Pairs(_side(out, known, rows_B, CHOSEN), _side(out, known, rows_B, REJECTED),
                 known.scores_M3[rows_B, 2], embedding, delta)


def _rewards(out: Outputs, known: Known, rows_B: Tensor) -> Rewards:
    margin_B = (known.scores_M3[rows_B, 0] - known.scores_M3[rows_B, 1]).nan_to_num(0.0)
    return Rewards(out.values_RS[rows_B, CHOSEN], out.values_RS[rows_B, REJECTED], margin_B)


def _unpaired(out: Outputs, known: Known, chosen_B: Tensor, rejected_B: Tensor, delta: float) -> Unpaired:
    stranger = _side(out, known, (out.tokens_RS[:, STRANGER] > 0).nonzero()[:, 0], STRANGER)
    view = Unpaired(_side(out, known, chosen_B, CHOSEN), _side(out, known, rejected_B, REJECTED), delta=delta)
    if len(stranger.logps_B):
        view = replace(view, stranger_ratio_B=stranger.ratio_B)
    if known.embedding_ME is not None:
        view = replace(view, desirable_embedding_BE=known.embedding_ME[chosen_B],
                       undesirable_embedding_BE=known.embedding_ME[rejected_B])
    if known.density_M is not None:
        view = replace(view, undesirable_weight_B=known.density_M[rejected_B])
    return view
