"""`pairgen eval SUITE`: how good is a judge, a reward model, a policy's own preference?"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pairgen.cli.bestof import bestof
from pairgen.cli.options import AsJson, Budget, Prices, command_line
from pairgen.cli.panel import panel

SUITES = "A benchmark: pairgen eval --list names them."
MODEL = "The judge: a hub name, a folder, builtin:NAME, or what a server calls it."
RM = "A scalar reward model: any sequence classifier of one label."
POLICY = "A policy whose own preference is measured (the implicit reward of DPO)."
IMPLICIT = "Without a reference: norm, average or sum of the answer's log-probs."
CLASSIFIER = "A sequence classifier of two labels that sees both answers; the first label is for A."
COMMAND = "A command that reads pairs as JSON lines and writes {\"winner\": \"A\"} for each."
VERDICTS = "What was said: a file with the columns of docs/suites.md, or an evaluation of pairgen's own."
SUBSET = "Only this part of the suite; may be given several times."
VERDICT = "How a judge's verdict is read: from its text, from the odds of the letters, by rating each answer."
SET = "One option of the suite (sampling.max_tokens=512) or of its engine (engine.concurrency=8)."
WHERE = "COLUMN=VALUE: one judge of a file of many."
OPTION = "One option of the suite (columns.prompt=question)."


class WithSuites(TyperGroup):
    """`pairgen eval llmbar ...` beside `pairgen eval rescore ...`: what is no verb is a suite or its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb `suite` before a suite's name."""
        verbs = self.commands.keys() - {"suite"}
        found: list[str] = super().parse_args(ctx, args if args and args[0] in verbs else ["suite", *args])
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb; a suite's own is not shown in usage lines."""
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == "suite" else name, command, rest


app = typer.Typer(cls=WithSuites, help="Evaluate a judge, a reward model or a policy on a benchmark.")


@app.command("suite", no_args_is_help=True, epilog="Also: pairgen eval rescore | panel | bestof --help")
def evaluate(
    suite: Annotated[str, typer.Argument(help=SUITES)] = "",
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL)] = None,
    reward_model: Annotated[str | None, typer.Option("--reward-model", help=RM)] = None,
    policy: Annotated[str | None, typer.Option("--policy", help=POLICY)] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="What --policy was trained from.")] = None,
    implicit: Annotated[str | None, typer.Option("--implicit", help=IMPLICIT)] = None,
    classifier: Annotated[str | None, typer.Option("--classifier", help=CLASSIFIER)] = None,
    command: Annotated[str | None, typer.Option("--command", help=COMMAND)] = None,
    baseline: Annotated[str | None, typer.Option("--baseline", help="first, longer or random, by itself.")] = None,
    path: Annotated[str | None, typer.Option("--path", help="The suite's data: a file, folder or hub name.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, vllm, transformers, openai or scripted.")] = "auto",
    base_url: Annotated[str | None, typer.Option("--base-url", help="A server: https://host/v1")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="The judge's prompt: judges/x.md or a file.")] = None,
    orders: Annotated[str | None, typer.Option("--orders", help="both, or one at random.")] = None,
    votes: Annotated[int | None, typer.Option("--votes", help="Samples per order, beside the greedy one.")] = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help=VERDICT)] = None,
    subset: Annotated[list[str] | None, typer.Option("--subset", help=SUBSET)] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="So many items, drawn by their ids.")] = None,
    bad_row: Annotated[str | None, typer.Option("--on-bad-row", help="refuse, or skip and count.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder (default: runs/eval/SUITE-MODEL).")] = None,
    max_failed: Annotated[float, typer.Option("--max-failed", min=0, max=1)] = 0.5,
    budget: Budget = None,
    prices: Prices = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option("--compare", help="Two finished evaluations.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the suites.")] = False,
    json_: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Evaluate on a benchmark. The same command goes on after a stop; nothing answered is asked again."""
    from pairgen.cli.assess import Answering, Asked, compare_finished, list_suites, run_asked, there

    if list_:
        list_suites(json_)
        return
    if compare is not None:
        compare_finished(*compare, as_json=json_)
        return
    given = {
        "path": path, "prompt": prompt, "orders": orders, "votes": votes, "verdict": verdict,
        "subset": subset or None, "limit": limit, "on_bad_row": bad_row,
    }
    who = {
        "reward_model": reward_model, "policy": policy, "reference": reference, "implicit": implicit,
        "classifier": classifier, "command": command, "baseline": baseline,
    }
    asked = Asked(suite, there(given), there(who), set_ or (), _engine(engine, model, base_url, prices))
    run_asked(asked, out, Answering(command_line(), budget, max_failed, quiet, json_))


def _engine(use: str, model: str | None, base_url: str | None, prices: Path | None) -> dict[str, Any]:
    """The engine asked for, as a pipeline would write it; a base URL means an API."""
    if base_url is not None and use == "auto":
        use = "openai"
    from pairgen.cli.assess import there

    given = {"model": model, "base_url": base_url, "prices": str(prices) if prices and use == "openai" else None}
    return {"use": use, **there(given)}


app.command("bestof")(bestof)
app.command("panel")(panel)


@app.command("rescore")
def rescore(
    suite: Annotated[str, typer.Argument(help=SUITES)],
    verdicts: Annotated[str, typer.Option("--verdicts", help=VERDICTS)],
    items: Annotated[str | None, typer.Option("--items", "--path", help="The suite's data.")] = None,
    parser: Annotated[str, typer.Option("--parser", help="strict, official, or a script's parser by name.")] = "strict",
    where: Annotated[list[str] | None, typer.Option("--where", help=WHERE)] = None,
    subset: Annotated[list[str] | None, typer.Option("--subset", help=SUBSET)] = None,
    bad_row: Annotated[str | None, typer.Option("--on-bad-row", help="refuse, or skip and count.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="The prompt that the judge was asked with.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=OPTION)] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for rows, result.json and report.html.")] = None,
    json_: AsJson = False,
) -> None:
    """Score verdicts that somebody stored. No model is asked."""
    from pairgen.cli.assess import Answering, Asked, rescore_file, there

    given = {"path": items, "subset": subset or None, "on_bad_row": bad_row, "prompt": prompt}
    options = Asked(suite, there(given), {}, set_ or (), {}).tree["eval"]
    how = Answering(command_line(), quiet=True, as_json=json_)
    rescore_file(options, verdicts, parser, where or (), out, how)
