"""What tokens cost. A table with a source and a date for each price ships; a user's own goes before it.

A model without a price has no price: its cost is told as unknown, never as zero.
"""

import json
import re
from datetime import date as Day
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from pairgen.engine import Frozen, Request
from pairgen.engines._wire import most_prompt_tokens
from pairgen.errors import UsageError, nearest
from pairgen.resources import resource

MILLION = 1_000_000
DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


class Price(Frozen):
    """Dollars per million tokens. `cached` is for input the provider had; `batch` the Batch API's part."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    batch: float = Field(default=0.5, gt=0, le=1)
    source: str = "given by the user"
    date: Day | None = None


class Table(Frozen):
    """Prices by model."""

    batch: float = Field(default=0.5, gt=0, le=1)
    models: dict[str, Price]

    def find(self, model: str) -> Price | None:
        """The price of a model: by its name, without the date at its end, or without the provider before it."""
        for name in (model, DATED.sub("", model), DATED.sub("", model).split("/")[-1]):
            price = self.models.get(name)
            if price is not None:
                given = "batch" in price.model_fields_set
                return price if given else price.model_copy(update={"batch": self.batch})
        return None


@cache
def read_table(path: Path) -> Table:
    """A price table. Raises UsageError naming the file and the entry."""
    try:
        return Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        known = nearest(str(first["loc"][-1]), Price.model_fields) if first["type"] == "extra_forbidden" else ""
        advice = known or "write it as data/prices.yaml is"
        raise UsageError(f"{path}: {place}: {first['msg'].lower()}; {advice}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as a price table ({str(error).splitlines()[0]})") from None


def price_of(model: str, own: str | None) -> Price | None:
    """The price of a model in the user's own table, else in the one that ships, else None."""
    found = read_table(Path(own).expanduser()).find(model) if own is not None else None
    return found or read_table(resource("data", "prices.yaml")).find(model)


class Tokens:
    """A tariff by tokens. `price` None: nobody knows. `part` of the price is taken (the Batch API's half)."""

    def __init__(self, price: Price | None, part: float = 1.0) -> None:
        self._price, self._part = price, part

    def cost(self, raw: bytes) -> float | None:
        """Dollars, by the usage in a body or in a list of bodies; None where a body tells none."""
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        costs = [self._cost(body) for body in (found if isinstance(found, list) else [found])]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def _cost(self, body: Any) -> float | None:
        usage = body.get("usage") if isinstance(body, dict) else None
        if self._price is None or not isinstance(usage, dict):
            return None
        prompt, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not isinstance(prompt, int) or not isinstance(written, int):
            return None
        details = usage.get("prompt_tokens_details")
        found = details.get("cached_tokens") if isinstance(details, dict) else 0
        cached = min(found, prompt) if isinstance(found, int) and self._price.cached is not None else 0
        return self._dollars(prompt - cached, cached, written)

    def _dollars(self, prompt: int, cached: int, written: int) -> float:
        assert self._price is not None
        price = self._price
        spent = prompt * price.input + cached * (price.cached or 0.0) + written * price.output
        return spent / MILLION * self._part

    def most(self, request: Request) -> float | None:
        """A token a byte of the prompt, and every completion as long as it may be.

        A server that knows no `n` is asked again for each sample, with the prompt each time.
        """
        if self._price is None:
            return None
        prompt = most_prompt_tokens(request) * request.n
        return self._dollars(prompt, 0, request.sampling.max_tokens * request.n)

    def expected(self, prompt: int, written: int) -> float | None:
        """Dollars for so many tokens; None without a price."""
        return None if self._price is None else self._dollars(prompt, 0, written)
