"""Best of n: of n sampled answers the one with the highest score is picked; how good is the pick?

Every prompt has N >= n answers, so the mean over all subsets of n of them is known exactly, without drawing
any: with the answers in falling order of score, the answer with k others below it is the pick of
C(k, n-1) of the C(N, n) subsets. It is the unbiased estimate of best of n. Answers of one score share the pick.
`oracle` picks by the true values, `random` by nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pairgen.errors import UsageError
from pairgen.evals.benchmark import Estimate, estimate
from pairgen.evals.filerow import BadRow, Row, prompt_of
from pairgen.evals.files import rows_of
from pairgen.records import Message, Messages

PICKERS = ("scores", "oracle", "random")
ANSWERS, SCORES, VALUES = ("answers", "responses", "completions"), ("scores",), ("values", "correct", "labels")


@dataclass(frozen=True, slots=True)
class Pool:
    """A prompt, its sampled answers, what each is scored, and what each is really worth; () where not known."""

    where: str
    prompt: Messages
    answers: tuple[str, ...]
    scores: tuple[float, ...]
    values: tuple[float, ...]


def read_pools(path: str) -> list[Pool]:
    """The rows of a file: `prompt`, `answers`, and of each answer `scores` and `values` (or `correct`, `labels`).

    Raises UsageError naming the row that is none.
    """
    pools = [_pool(row) for row in rows_of(path)]
    if not pools:
        raise UsageError(f"{path}: no row in it")
    return pools


def _pool(row: Row) -> Pool:
    instruction, messages = prompt_of(row, "prompt", "instruction")
    name = next((name for name in ANSWERS if row.has(name)), ANSWERS[0])
    answers = row.texts(name)
    scores, values = (_numbers(row, names, len(answers)) for names in (SCORES, VALUES))
    return Pool(row.where, messages or (Message("user", instruction),), answers, scores, values)


def _numbers(row: Row, names: Sequence[str], n: int) -> tuple[float, ...]:
    name = next((name for name in names if row.has(name)), None)
    if name is None:
        return ()
    found = row.value[name]
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != n:
        raise BadRow(f"{row.where}: {name} must be a list of {n} numbers, one an answer")
    return tuple(row.as_number(f"{name}[{i}]", float(x) if isinstance(x, bool) else x, -1e12, 1e12)
                 for i, x in enumerate(found))


def expected(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """The mean value of the pick over all subsets of n answers. Raises ValueError where there are fewer."""
    total = len(scores)
    if not 1 <= n <= total:
        raise ValueError(f"best of {n} of {total} answers")
    groups: dict[float, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        groups.setdefault(score, []).append(value)
    found, above = 0.0, 0
    for score in sorted(groups, reverse=True):
        group = groups[score]
        left, rest = total - above, total - above - len(group)
        chance = (math.comb(left, n) - math.comb(rest, n)) / math.comb(total, n)  # the best of n is in this group
        found += chance * math.fsum(group) / len(group)
        above += len(group)
    return found


def sizes(pools: Iterable[Pool]) -> list[int]:
    """1, 2, 4, ... up to the answers that every prompt has, and that number itself."""
    most = min(len(pool.answers) for pool in pools)
    return sorted({*(1 << k for k in range(most.bit_length())), most})


def curve(pools: Sequence[Pool], picker: str, n: Sequence[int]) -> dict[int, Estimate]:
    """The expected value of the pick by the number of answers, over prompts. `picker` is one of PICKERS.

    Raises UsageError naming a prompt whose answers have no values, or no scores to pick by.
    """
    for pool in pools:
        if not pool.values:
            raise UsageError(f"{pool.where}: no column {', '.join(VALUES[:-1])} or {VALUES[-1]}: nobody knows how good "
                             "the picks are")
        if picker == "scores" and not pool.scores:
            raise UsageError(f"{pool.where}: no column scores; give --reward-model or --policy to score its answers")
    return {size: estimate(expected(_by(pool, picker), pool.values, size) for pool in pools) for size in n}


def _by(pool: Pool, picker: str) -> Sequence[float]:
    return {"scores": pool.scores, "oracle": pool.values, "random": (0.0,) * len(pool.answers)}[picker]
