"""What a server can do, found out by asking it once: `n`, seeds, log-probs, JSON, usage and limit headers.

One request asks for everything at once. Where it is refused, the fields are asked for one by one.
"""

import json
from dataclasses import dataclass
from typing import Any

from pairgen.engines._faults import Retry
from pairgen.engines._http import Answer, Line
from pairgen.engines._limits import Told
from pairgen.engines._wire import encode, token_field
from pairgen.engines.openai import CHAT, OpenAIConfig, OpenAIEngine
from pairgen.errors import PairgenError, RowError, Stopped

PROMPT = "Answer with a JSON object with one key, ok, whose value is true."
FEATURES: dict[str, dict[str, Any]] = {
    "n": {"n": 2}, "seed": {"seed": 7}, "logprobs": {"logprobs": True, "top_logprobs": 1},
    "response_format": {"response_format": {"type": "json_object"}},
}


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing a server may do. `state` is yes | no | accepted (it did not refuse, more cannot be seen)."""

    what: str
    state: str
    found: str
    advice: str = ""


async def probe(config: OpenAIConfig) -> list[Capability]:
    """Ask a server. Raises CredentialsError, UsageError or Stopped when it answers nothing at all."""
    engine = config.open()
    assert isinstance(engine, OpenAIEngine)
    line = Line(config.base_url, engine.key, min(60.0, config.timeout), config.silence)
    try:
        return await _probe(engine, line, config)
    finally:
        await line.close()


async def _probe(engine: OpenAIEngine, line: Line, config: OpenAIConfig) -> list[Capability]:
    asked = Asking(engine, line, config)
    everything = {name: value for fields in FEATURES.values() for name, value in fields.items()}
    try:
        answer = await asked.once(everything)
        outcomes: dict[str, Answer | str] = dict.fromkeys(FEATURES, answer)
    except Stopped:
        raise
    except (RowError, PairgenError):
        answer = await asked.once({})
        outcomes = await asked.one_by_one()
    body = json.loads(answer.body)
    found = [_feature(name, outcome) for name, outcome in outcomes.items()]
    return [*found, _usage(body), _limits(answer), Capability("model", "yes", str(body.get("model", "not told")))]


class Asking:
    """Sends one small request with some fields."""

    def __init__(self, engine: OpenAIEngine, line: Line, config: OpenAIConfig) -> None:
        self._engine, self._line, self._config = engine, line, config
        self._limit = token_field(config.token_limit, engine.host)

    async def once(self, fields: dict[str, Any]) -> Answer:
        """The answer. Raises what it means when it is none."""
        body: dict[str, Any] = {
            "model": self._config.model, "messages": [{"role": "user", "content": PROMPT}],
            self._limit: 16, **self._config.extra, **fields,
        }
        try:
            answer = await self._line.post(CHAT, encode(body))
            self._engine.refuse(answer)
        except Retry as error:
            raise self._engine.given_up(error) from None
        return answer

    async def one_by_one(self) -> dict[str, Answer | str]:
        """The answer to each field alone, or how it is refused."""
        outcomes: dict[str, Answer | str] = {}
        for name, fields in FEATURES.items():
            try:
                outcomes[name] = await self.once(fields)
            except (RowError, PairgenError) as error:
                outcomes[name] = str(error)
        return outcomes


def _feature(name: str, outcome: Answer | str) -> Capability:
    if isinstance(outcome, str):
        advice = {"n": "set native_n: false", "seed": "set omit: [seed]"}.get(name, "leave it out")
        return Capability(name, "no", f"refused: {outcome[:120]}", advice)
    body = json.loads(outcome.body)
    choices = body.get("choices") or []
    if name == "n":
        advice = "missing samples are asked one by one; native_n: false saves the try"
        return Capability(
            "n", "yes" if len(choices) == 2 else "no", f"{len(choices)} samples of 2", advice * (len(choices) != 2)
        )
    if name == "logprobs":
        has = any(isinstance(c, dict) and c.get("logprobs") for c in choices)
        return Capability(name, "yes" if has else "no", "in the answer" if has else "ignored")
    if name == "response_format":
        return _json(choices)
    fingerprint = body.get("system_fingerprint")
    return Capability("seed", "accepted", f"system_fingerprint {fingerprint!r}" if fingerprint else "not refused")


def _json(choices: list[Any]) -> Capability:
    text = str(((choices[0].get("message") or {}).get("content") or "") if choices else "")
    try:
        json.loads(text)
    except ValueError:
        whole = bool(choices) and choices[0].get("finish_reason") != "length"
        advice = "have the prompt ask for JSON and read it from the text" if whole else ""
        return Capability("response_format", "no" if whole else "accepted", f"answered {text[:40]!r}", advice)
    return Capability("response_format", "yes", f"answered {text[:40]!r}")


def _usage(body: dict[str, Any]) -> Capability:
    usage = body.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
        return Capability("usage", "yes", f"{usage.get('prompt_tokens')} in, {usage['completion_tokens']} out")
    return Capability("usage", "no", "the answer tells no tokens", "costs are told as at most what they can be")


def _limits(answer: Answer) -> Capability:
    told = {name: Told() for name in ("requests", "tokens")}
    for name, limit in told.items():
        limit.heed(answer.headers, name, 0.0)
    found = [
        f"{limit.learnt.rate * 60:,.0f} {name} a minute" for name, limit in told.items() if limit.learnt is not None
    ]
    if found:
        return Capability("limits", "yes", ", ".join(found))
    return Capability("limits", "no", "no headers tell them", "they are found out, or give requests_per_minute")
