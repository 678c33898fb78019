"""A training foreseen, as text: counts, and one example with the tokens it learns from made plain."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from pairgen.cli.display import compact
from pairgen.report.text import visible
from pairgen.train.config import TrainConfig
from pairgen.train.preview import Memory, Piece, Preview


def print_preview(said: Sequence[str], found: Preview, drops: Mapping[str, int], config: TrainConfig) -> None:
    """Print it. On a terminal learnt tokens are green and the prompt is dim; elsewhere they stand in ⟦ ⟧."""
    console: Any = Console(highlight=False, emoji=False, soft_wrap=True)
    for line in said:
        console.print(Text(visible(line)))
    for head, text in _facts(found, drops, config):
        console.print(Text.assemble((f"{head:<9}", "bold"), text))
    console.print(Text.assemble(("example  ", "bold"), f"row {found.example.id}; "
                                + ("green is learnt" if console.is_terminal else "what is learnt stands in ⟦ ⟧")))
    console.print(Text(visible(found.example.prompt), "dim"))
    for name, pieces in found.example.sides.items():
        console.print(Text.assemble((f"{name}: ", "bold"), _learnt(pieces, console.is_terminal)))


def _facts(found: Preview, drops: Mapping[str, int], config: TrainConfig) -> list[tuple[str, str]]:
    left = ", ".join(f"{reason} {count:,}" for reason, count in drops.items())
    rows = f"{found.rows:,} to train on" + (f"; left out: {left}" if left else "")
    facts = [("rows", rows)]
    if found.cut_prompts or found.cut_completions:
        facts.append(("cut", f"{found.cut_prompts:,} prompts at their start, {found.cut_completions:,} completions at "
                             "their end (they lose the end-of-turn token)"))
    if balance := _balance(found, config):
        facts.append(("balance", balance))
    return [*facts, ("tokens", _tokens(found, config)),
            ("steps", f"{found.steps:,} ({config.epochs} x {found.rows:,} rows, {config.batch_size} a step)"),
            ("memory", _memory(found.memory, found, config))]


def _balance(found: Preview, config: TrainConfig) -> str:
    """KTO's advice, 2402.01306: weighted desirable rows should be 1 to 4/3 of the undesirable ones."""
    term = next((term for term in config.objective if term.use == "kto"), None)
    if term is None or not found.undesirable:
        return ""
    good, bad = (float(term.params[f"{side}desirable_weight"]) for side in ("", "un"))
    ratio = good * found.desirable / (bad * found.undesirable)
    said = f"{found.desirable:,} desirable x {good:g} to {found.undesirable:,} undesirable x {bad:g} is {ratio:.2f}"
    if 1 <= ratio <= 4 / 3 or not found.desirable:
        return said
    wanted = found.desirable * good / found.undesirable
    return f"{said}; KTO's authors want 1 to 1.33: objective.kto.undesirable_weight={wanted:.3g} makes it 1"


def _tokens(found: Preview, config: TrainConfig) -> str:
    tokens = found.tokens
    ways = {"rows": tokens.trees_by_rows, "prompts": tokens.trees_by_prompts}
    trees = ", ".join(f"{compact(n)} with shuffle: {way} ({tokens.separate / n:.2f}x fewer)" for way, n in ways.items())
    used = "" if config.shuffle in ways else f"; shuffle is {config.shuffle}"
    return f"{compact(tokens.separate)} an epoch as separate sequences; as prompt trees {trees}{used}; " \
           f"longest {found.longest:,}"


def _memory(memory: Memory, found: Preview, config: TrainConfig) -> str:
    parts = [("weights", memory.weights), ("reference", memory.reference), ("gradients", memory.gradients),
             ("optimizer", memory.optimizer), ("activations", memory.activations)]
    said = ", ".join(f"{name} {_bytes(size)}" for name, size in parts if size)
    return f"about {_bytes(memory.total)}: {said} ({compact(found.parameters)} parameters, " \
           f"{compact(found.trained)} trained, micro_tokens {config.micro_tokens:,})"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _learnt(pieces: Sequence[Piece], terminal: bool) -> Text:
    text = Text()
    for piece in pieces:
        shown = visible(piece.text)
        text.append(f"⟦{shown}⟧" if piece.learnt and not terminal else shown, _style(piece.learnt))
    return text


def _style(learnt: bool) -> str:
    return "green" if learnt else "dim"
