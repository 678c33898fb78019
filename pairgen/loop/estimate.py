"""What a step's answers will take, before anything is asked: tokens and dollars, from a sample of its requests.

Prompt tokens are the text's length over four. How long answers will be is what the run's answers were so
far, or an assumption that is said to be one. The most it can cost is told beside what it should.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pairgen.engine import EngineConfig, Request
from pairgen.engines._wire import prompt_tokens
from pairgen.store import Usage

SAMPLE = 2_000
"""Rows whose requests are made to tell those of all."""
ASSUMED = 400
"""Tokens of an answer, while none is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """For what is still to be asked. `cost` and `most` are dollars, None where there is no price."""

    tokens: int = 0
    written: int = 0
    cost: float | None = 0.0
    most: float | None = 0.0


def estimate(
    requests: Sequence[Request], calls: float, samples: float, engine: EngineConfig, seen: Usage
) -> Estimate:
    """For `calls` calls that bring `samples` samples, `requests` being some like them; `seen` were answered."""
    tariff = engine.tariff()
    if samples <= 0:
        return Estimate()
    if not requests:  # the rows it reads are yet to be written by a model
        prompt, written = 3 * ASSUMED * samples, ASSUMED * samples
        cost = tariff.expected(round(prompt), round(written)) if tariff is not None else 0.0
        return Estimate(round(prompt), round(written), cost, None if tariff is not None else 0.0)
    prompt = calls * sum(map(prompt_tokens, requests)) / len(requests)
    limit = sum(r.sampling.max_tokens for r in requests) / len(requests)
    per_sample = seen.completion_tokens / seen.requests * calls / samples if seen.requests else ASSUMED
    written = samples * min(limit, per_sample)
    if tariff is None:
        return Estimate(round(prompt), round(written))
    each = [tariff.most(r) for r in requests]
    known = [most for most in each if most is not None]
    most = calls * sum(known) / len(known) if known else None
    return Estimate(round(prompt), round(written), tariff.expected(round(prompt), round(written)), most)


def priced(costs: Iterable[float | None]) -> str:
    """`$1.20`, `$1.20 and more at unknown prices`, `unknown`; nothing where nothing costs."""
    costs = list(costs)
    total, unknown = sum(c for c in costs if c is not None), any(c is None for c in costs)
    if unknown:
        return f"{dollars(total)} and what has no price" if total else "unknown (no price for the model)"
    return dollars(total) if total else ""


def dollars(amount: float) -> str:
    """`$0.0042`, `$1.20`, `$1,204`: what matters of an amount."""
    return f"${amount:,.4f}" if amount < 0.1 else f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"
