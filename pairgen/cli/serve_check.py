"""`pairgen serve-check`: one request against an API; says what it supports and what a call costs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairgen.cli.options import AsJson, Sets, with_prices

if TYPE_CHECKING:
    from pairgen.engines.openai import OpenAIConfig


def serve_check(
    pipeline: Annotated[str | None, typer.Argument(help="Check the API engines of this pipeline.")] = None,
    set_: Sets = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="https://host/v1")] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model to ask for.")] = None,
    api_key_env: Annotated[str | None, typer.Option("--api-key-env", help="The variable that holds the key.")] = None,
    prices: Annotated[Path | None, typer.Option("--prices", help="Your price table.")] = None,
    json_: AsJson = False,
) -> None:
    """Ask a server one small question and say what it can do: n, seed, logprobs, JSON, usage, limits, price."""
    import asyncio

    from pairgen.engines._probe import probe

    given = {"base_url": base_url, "model": model, "api_key_env": api_key_env}
    configs = _engines(pipeline, set_ or [], {k: v for k, v in given.items() if v is not None}, prices)
    for role, config in configs.items():
        found = [asdict(c) for c in asyncio.run(probe(config))] + [_price(config)]
        if json_:
            print(json.dumps({"engine": role, "base_url": config.base_url, "model": config.model, "can": found}))
        else:
            _print(role, config, found)


def _engines(
    pipeline: str | None, sets: list[str], given: dict[str, str], prices: Path | None
) -> dict[str, "OpenAIConfig"]:
    """The API engines to check, by role."""
    from pairgen.engines.openai import OpenAIConfig
    from pairgen.errors import UsageError
    from pairgen.loop.config import experiment_tree
    from pairgen.pipeline.config import assign, parse_as, parse_set

    tree = {"engines": {}} if pipeline is None else experiment_tree(pipeline, sets)
    if pipeline is None:
        tree["engines"]["checked"] = {"use": "openai", **given}
        for edit in map(parse_set, sets):
            assign(tree, edit)
        given = {**given, **{k: str(v) for k, v in tree["engines"]["checked"].items()}}
    else:
        given = {"model": "?"}
    if "model" not in given:
        raise UsageError("which server? give --base-url and --model, or a pipeline with an engine of `use: openai`")
    found = {
        role: parse_as(OpenAIConfig, engine, f"engines.{role}")
        for role, engine in with_prices(tree, prices)["engines"].items() if engine.get("use") == "openai"
    }
    if not found:
        raise UsageError(f"{pipeline}: no engine of `use: openai` to check")
    return found


def _price(config: "OpenAIConfig") -> dict[str, str]:
    tariff = config.tariff()
    if tariff is None:
        return {"what": "price", "state": "yes", "found": "free: a server on this machine without a key", "advice": ""}
    thousand = tariff.expected(1_000_000, 0), tariff.expected(0, 1_000_000)
    if thousand[0] is None or thousand[1] is None:
        advice = "give --prices FILE, or price: of the engine"
        return {"what": "price", "state": "no", "found": f"none known for {config.model!r}", "advice": advice}
    found = f"${thousand[0]:g} in, ${thousand[1]:g} out per million tokens"
    return {"what": "price", "state": "yes", "found": found, "advice": ""}


def _print(role: str, config: "OpenAIConfig", found: list[dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pairgen.report.text import visible

    console = Console(highlight=False, markup=False)
    console.print(visible(f"{role}: {config.model} at {config.base_url}"), soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    styles = {"yes": "green", "accepted": "green", "no": "yellow"}
    for line in found:
        advice = f"; {line['advice']}" if line["advice"] else ""
        text = Text(visible(line["found"] + advice), overflow="fold")
        table.add_row(Text(line["what"]), Text(line["state"], styles[line["state"]]), text)
    console.print(table)
