"""Who is evaluated: a judge behind an engine, a scoring model, a pair classifier, a command, a baseline."""

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairgen.engine import EngineConfig
    from pairgen.evals.rewards import Scorer
    from pairgen.loop.assess import Marking

OPTIONS = {
    "reward_model": "--reward-model", "policy": "--policy", "classifier": "--classifier", "command": "--command",
    "baseline": "--baseline",
}
"""Ways to name one that is no judge, with the options that do."""
BASELINES = {"first": "always-first", "longer": "longer", "random": "random"}


def subject(who: dict[str, Any], engine: dict[str, Any]) -> "EngineConfig | Marking":
    """Who is evaluated. Raises UsageError when it is nobody, several at once, or cannot be had."""
    from pairgen.errors import UsageError

    named = [option for key, option in OPTIONS.items() if who.get(key)] + (["--model"] if engine.get("model") else [])
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)}: one is evaluated at a time; give one of them")
    if who.keys() & {"reference", "implicit"}:
        return _scored(who)
    found = next((key for key in OPTIONS if who.get(key)), None)
    return _judge(engine) if found is None else MARKINGS[found](who)


def _judge(tree: dict[str, Any]) -> "EngineConfig":
    from pairgen.errors import UsageError
    from pairgen.pipeline.config import parse_plugin, resolve_auto

    if "model" not in tree and tree["use"] != "scripted":
        raise UsageError("who is evaluated? give --model (a hub name, a folder, builtin:NAME), --reward-model, "
                         "--policy, --classifier, --command or --baseline")
    found: EngineConfig = parse_plugin("pairgen.engines", "ENGINE", resolve_auto(tree), "engine")
    return found


def scorer_of(who: dict[str, Any]) -> "Scorer":
    """The scoring model named. Raises UsageError before anything heavy is imported."""
    from pairgen.cli.options import model_at
    from pairgen.errors import UsageError, nearest

    if who.get("policy") is None and (who.get("reference") or who.get("implicit")):
        raise UsageError("--reference and --implicit go with --policy, the model whose own preference is measured")
    if "reward_model" in who:
        folder = model_at(who["reward_model"])
        from pairgen.evals.rewards import Rewards

        return Rewards(folder)
    reference, rule = who.get("reference"), who.get("implicit")
    if reference and rule not in (None, "sum"):
        raise UsageError(f"--implicit {rule}: with --reference it is always the sum of log-ratios")
    if rule not in (None, "sum", "average", "norm"):
        raise UsageError(f"--implicit {rule!r}: {nearest(rule, ['sum', 'average', 'norm'])}")
    policy, where = model_at(who["policy"]), model_at(reference) if reference else None
    from pairgen.evals.rewards import Implicit

    return Implicit(policy, where, rule or ("sum" if reference else "norm"))


def _scored(who: dict[str, Any]) -> "Marking":
    scorer = scorer_of(who)
    from pairgen.evals.rewards import score_rows
    from pairgen.loop.assess import Marking

    return Marking(scorer.name, scorer.identity, partial(score_rows, scorer=scorer))


def _classifier(who: dict[str, Any]) -> "Marking":
    from pairgen.cli.options import model_at
    from pairgen.evals.pairwise import PairClassifier
    from pairgen.prompts import load_prompt

    prompt = load_prompt(who["prompt"]) if who.get("prompt") else None
    return _compared(PairClassifier(model_at(who["classifier"]), prompt))


def _command(who: dict[str, Any]) -> "Marking":
    from pairgen.evals.pairwise import Command

    return _compared(Command(who["command"]))


def _compared(comparer: Any) -> "Marking":
    from pairgen.evals.pairwise import compare_rows
    from pairgen.loop.assess import Marking

    return Marking(comparer.name, comparer.identity, partial(compare_rows, comparer=comparer))


def _baseline(who: dict[str, Any]) -> "Marking":
    from pairgen.errors import UsageError, nearest
    from pairgen.evals.baselines import rows
    from pairgen.loop.assess import Marking

    name = BASELINES.get(who["baseline"], who["baseline"])
    if name not in BASELINES.values():
        raise UsageError(f"--baseline {name!r}: {nearest(name, BASELINES)}")
    return Marking(name, {"baseline": name}, lambda items: rows(items).get(name, []))


MARKINGS = {"reward_model": _scored, "policy": _scored, "classifier": _classifier, "command": _command,
            "baseline": _baseline}
