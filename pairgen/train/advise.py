"""Which objective suits a data set for a model: measured, then chosen by the rule of the APO paper.

D'Oosterlinck et al. 2408.06266, section 5.3.2: where winners are better than what the model would write,
APO-zero raises them; where they are worse, APO-down lowers both sides; answers of a stronger model beside
the model's own are best imitated (SFT). `apo-auto` makes the choice per pair, which the paper leaves to
future work. All of them need to know what the model would write, so it is asked.

Whether an answer is better is said by scores where the rows carry them. Likelihood stands in for them,
and is a poor judge: it says how near an answer is to the model, not how good.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pairgen.errors import UsageError
from pairgen.fingerprint import JSON
from pairgen.records import Drop, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.example import TrainRow
from pairgen.train.likelihood import Likelihood, likelihoods, require
from pairgen.train.measures import Basis, Duplicates, Numbers, duplicates, has_scores, numbers, reservoir

MIXED = (0.35, 0.65)
"""Between these shares of better winners, no single anchor fits."""
NEAR = 1.0
"""An answer is of the model's own kind if it is at most so many standard deviations of own answers less
likely than they are,"""
KIN = 0.8
"""and at least so much of the words that own answers share with each other, it shares with them. So much
two sides must share to be a contrast of few words: in the paper's Table 1 they do in CLAIR and on-policy pairs
(1.10 and 1 of what two own answers share), but not beside a stronger model (.62) or between others (.46)."""

Choice = Literal["apo-zero", "apo-down", "apo-auto", "sft"]


@dataclass(frozen=True, slots=True)
class Advice:
    """An objective for a data set, with the reason and what it rests on.

    `rows` were measured of `of` in the set, with `samples` own answers a prompt; `drops` of those drawn
    could not be.
    """

    recommendation: Choice
    reason: str
    basis: Basis
    numbers: Numbers
    rows: int
    of: int
    samples: int
    drops: dict[str, int]
    duplicates: Duplicates
    caveats: tuple[str, ...]

    def to_json(self) -> JSON:
        """Everything, as JSON holds it."""
        found: JSON = {**asdict(self), "caveats": list(self.caveats)}
        return found


def advise(rows: Iterable[TrainRow], init: Path, out: Path, *, reference: Path | None = None, samples: int = 4,
           config: TrainConfig | None = None, engine: str = "auto") -> Advice:
    """Measure up to ROWS pairs, drawn at random by a fixed seed, and choose.

    The reference (`init` without one) is asked for `samples` own answers to every prompt, kept in
    `out/samples.jsonl`. Raises UsageError for fewer than two of them, and where no pair can be measured.
    """
    if samples < 2:
        raise UsageError(f"--samples {samples}: own answers are compared with each other; draw at least 2")
    config = config or TrainConfig.model_validate({"objective": "dpo", "learning_rate": 1e-6})
    picked, of = reservoir(rows)
    found = likelihoods(config, picked, reference or init, out, samples=samples, engine=engine).rows
    require(found)
    drops = [f.reason for f in found if isinstance(f, Drop)]
    there = [(row, f) for row, f in zip(picked, found, strict=True) if isinstance(f, Likelihood)]
    basis: Basis = "scores" if all(has_scores(row) for row, _ in there) else "likelihood"
    measured = numbers(there, basis)
    choice, reason = recommend(measured, basis)
    return Advice(
        recommendation=choice, reason=reason, basis=basis, numbers=measured, rows=len(there), of=of, samples=samples,
        drops=dict(sorted(Counter(drops).items())), duplicates=duplicates(picked),
        caveats=_caveats(basis, len(there), measured),
    )


def recommend(x: Numbers, basis: Basis) -> tuple[Choice, str]:
    """The paper's rule with our thresholds: the objective, and why in one sentence."""
    share, low, high = x.winner_better.mean, *MIXED
    own_winners = x.chosen_off <= NEAR and x.jaccard_chosen >= KIN * x.jaccard_own
    own_losers = x.rejected_off <= NEAR and x.jaccard_rejected >= KIN * x.jaccard_own
    revised = own_losers and x.jaccard.mean >= KIN * x.jaccard_own
    if own_losers and not own_winners and not revised and (basis == "likelihood" or share > 0.5):
        return "sft", ("the losers are the model's own and the winners of another kind that shares little with them, "
                       "as when a stronger model answers: imitate the winners")
    if (basis == "likelihood" or x.tied > 0.5) and (own_winners or revised):
        kind = "the model's own" if own_winners else "small revisions of the model's own answers"
        return "apo-zero", f"the winners are {kind}, and preferred to others: raise them"
    by = "score higher than" if basis == "scores" else "are likelier than"
    if share >= high:
        return "apo-zero", f"{share:.0%} of winners {by} the model's own answers: raise them"
    if share <= low:
        return "apo-down", (f"only {share:.0%} of winners {by} the model's own answers: raising them would teach it "
                            "worse ones, so lower both sides and the losers more")
    return "apo-auto", (f"{share:.0%} of winners {by} the model's own answers, and the rest do not: APO-zero for the "
                        f"former, APO-down for the other {1 - share:.0%}")


def _caveats(basis: Basis, rows: int, x: Numbers) -> tuple[str, ...]:
    found = ["the rule is the paper's, the thresholds are ours and untested at scale: shares "
             f"{MIXED[0]} and {MIXED[1]}, {NEAR:g} standard deviation and {KIN:.0%} of the words of own answers"]
    if basis == "likelihood":
        found.append("no scores: likelihood tells how near an answer is to the model, not how good it is; "
                     "pairgen score --samples gives scores")
    if any(abs(x.winner_better.mean - limit) < 2 * x.winner_better.se for limit in MIXED):
        found.append("the share of better winners is within two standard errors of a threshold")
    if rows < 100:
        found.append(f"only {rows} pairs were measured")
    return tuple(found)


# --- scores for apo-auto ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows whose scores are all there, in order; those that cannot have any; what was done, in one line."""

    rows: list[TrainRow]
    drops: list[Drop]
    said: str


def with_scores(config: TrainConfig, rows: Iterable[TrainRow], init: Path, out: Path, *, reference: Path | None = None,
                samples: int = 4, engine: str = "auto") -> Scored:
    """Rows as apo-auto reads them: those that carry chosen_score and policy_score as they are, the others
    with log-probs per token under the reference for scores: of both sides, and of its own answers on average.

    Raises UsageError where another term reads the scores that likelihood would replace.
    """
    given = list(rows)
    bare = [row for row in given if isinstance(row, Preference) and not has_scores(row)]
    if not bare:
        return Scored([_whole(row) for row in given], [], "apo-auto chooses by the scores of the rows")
    readers = [term.use for term in config.objective if "scores" in term.needs and term.use != "apo-auto"]
    if readers:
        raise UsageError(f"row {bare[0].id} has no policy_score, and likelihood cannot stand in for it beside "
                         f"{readers[0]}, which reads real scores: give it by pairgen score --samples")
    found = likelihoods(config, bare, reference or init, out, samples=samples, engine=engine)
    require(found.rows)
    drops = [f for f in found.rows if isinstance(f, Drop)]
    filled = iter([None if isinstance(f, Drop) else _filled(row, f)
                   for row, f in zip(bare, found.rows, strict=True)])
    new = [next(filled) if isinstance(row, Preference) and not has_scores(row) else _whole(row) for row in given]
    said = (f"apo-auto chooses by likelihood for {len(bare):,} of {len(given):,} rows without chosen_score and "
            f"policy_score: log-probs per token under the reference, of the winner and of {samples} own answers a "
            f"prompt ({found.drawn:,} drawn now, kept in {found.file})")
    return Scored([row for row in new if row is not None], drops, said)


def _filled(row: Preference, found: Likelihood) -> Preference:
    return replace(row, chosen_score=found.chosen.mean, rejected_score=found.rejected.mean,
                   policy_score=found.own_mean)


def _whole(row: TrainRow) -> TrainRow:
    """A row with scores, its rejected one too: apo-auto asks for both, and reads the chosen one."""
    if isinstance(row, Preference) and row.rejected_score is None:
        return replace(row, rejected_score=row.chosen_score)
    return row


