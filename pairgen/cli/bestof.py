"""`pairgen eval bestof`: what a reward model's pick of n answers is worth, beside the oracle's and a random one."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pairgen.cli.options import AsJson

if TYPE_CHECKING:
    from pairgen.evals.benchmark import Estimate
    from pairgen.evals.bestof import Pool

DATA = "A file of prompts with sampled answers: prompt, answers, values (or correct), and scores where it has them."
RM = "The reward model that picks."
POLICY = "The policy whose implicit reward picks."


def bestof(
    data: Annotated[str, typer.Argument(help=DATA)],
    reward_model: Annotated[str | None, typer.Option("--reward-model", help=RM)] = None,
    policy: Annotated[str | None, typer.Option("--policy", help=POLICY)] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="What --policy was trained from.")] = None,
    implicit: Annotated[str | None, typer.Option("--implicit", help="norm, average or sum.")] = None,
    json_: AsJson = False,
) -> None:
    """Expected true value of the best of n answers as n grows: the exact mean over all subsets of n."""
    from pairgen.evals.bestof import PICKERS, curve, read_pools, sizes

    pools = read_pools(data)
    who = {"reward_model": reward_model, "policy": policy, "reference": reference, "implicit": implicit}
    if any(who.values()):
        pools = _scored(pools, {key: value for key, value in who.items() if value})
    n = sizes(pools)
    curves = {picker: curve(pools, picker, n) for picker in PICKERS}
    if json_:
        print(json.dumps({"prompts": len(pools), "n": n, **{
            picker: [found[size].to_json() for size in n] for picker, found in curves.items()
        }}))
        return
    _print(n, len(pools), curves)


def _scored(pools: "list[Pool]", who: dict[str, str]) -> "list[Pool]":
    import os
    from pathlib import Path

    from pairgen.cli.subjects import scorer_of
    from pairgen.cli.terminal import only_ours
    from pairgen.errors import UsageError

    scorer = scorer_of(who)
    with only_ours(Path(os.devnull)):
        from pairgen.evals.rewards import Asked
        from pairgen.train.render import Unfit

        found = scorer.scores([Asked(pool.prompt, pool.answers) for pool in pools])
    scored = []
    for pool, scores in zip(pools, found, strict=True):
        if isinstance(scores, Unfit):
            raise UsageError(f"{pool.where}: an answer cannot be scored ({': '.join(map(str, scores.args[:2]))})")
        scored.append(replace(pool, scores=scores))
    return scored


def _print(n: list[int], prompts: int, curves: "dict[str, dict[int, Estimate]]") -> None:
    from rich.console import Console
    from rich.table import Table

    from pairgen.report.numbers import number

    table = Table(box=None, pad_edge=False)
    for name in ("best of", *curves):
        table.add_column(name, justify="right")
    for size in n:
        values = [found[size] for found in curves.values()]
        table.add_row(str(size), *(
            f"{number(v.mean)}" + ("" if v.stderr is None else f" ± {v.stderr:.3f}") for v in values
        ))
    Console(highlight=False).print(table)
    print(f"expected value of the pick, mean over {prompts:,} prompts ± one standard error")
