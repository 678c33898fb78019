"""The dataset card: how the rows were made, what was left out and why, and how contrastive the pairs are."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pairgen import __version__
from pairgen.export.contrast import PAPER, ContrastTable
from pairgen.export.provenance import Source, commit

ABOUT = {
    "load": "instructions read from {name}",
    "respond": "the engine answers each instruction",
    "revise": "the engine revises the answer; the revision is chosen, the answer rejected (CLAIR, arXiv 2408.06266)",
    "revise-again": "the revision is revised again and paired with the first answer",
    "critique": "the engine criticises the answer",
    "verify": "a judge must prefer the chosen answer",
    "prefer": "a judge picks the better of two answers",
    "best-worst": "the best against the worst of the scored answers the data gives",
    "stronger": "the engine answers again; its answer is chosen, the policy's rejected",
    "worsen": "the engine puts one error into the answer; the answer is chosen",
    "verifiable": "of sampled solutions, a right one over a wrong one",
    "pair": "the engine writes an answer that should be worse",
    "judge": "the engine judges each pair",
    "export-pairs": "pairs as preferences",
}
HIDDEN = {"id", "use", "source", "engine", "prompt", "verdict_prompt", "sampling", "path", "seed"}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says beyond what the manifests know. `columns` are those of the main configuration."""

    title: str
    license: str
    to: str
    rows: int
    columns: Sequence[str]
    side: str | None
    command: str | None
    models: Mapping[str, str]
    splits: Mapping[str, int]
    share: float
    seed: int


def card(facts: CardFacts, sources: Sequence[Source], table: ContrastTable) -> str:
    """The README of a dataset, in the hub's form."""
    sections = [
        _front(facts), f"# {facts.title}\n\n{_summary(facts, sources)}", _making(facts, sources), _prompts(sources),
        _drops(sources), _contrast(facts.title, table), _use(facts), _origin(facts, sources),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front(facts: CardFacts) -> str:
    kind = "jsonl" if facts.to == "jsonl" else "parquet"
    folders = {"default": "data", **({facts.side: facts.side} if facts.side is not None else {})}
    configs = [
        f"- config_name: {name}\n  data_files:\n"
        + "\n".join(f"  - split: {split}\n    path: {folder}/{split}-*.{kind}" for split in facts.splits)
        for name, folder in folders.items()
    ]
    kinds = ["preference", "dpo"] if "chosen" in facts.columns else []
    tags = ["pairgen", "synthetic", *kinds, *(["trl"] if facts.to == "trl" else [])]
    lines = [
        "---", f"license: {json.dumps(facts.license)}", f"pretty_name: {json.dumps(facts.title)}",
        f"size_categories: [{json.dumps(_size(facts.rows))}]", f"tags: {json.dumps(tags)}", "configs:", *configs, "---",
    ]
    return "\n".join(lines)


def _size(rows: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "n>1M")


def _summary(facts: CardFacts, sources: Sequence[Source]) -> str:
    models = "; ".join(f"{role}: {cell(model)}" for role, model in facts.models.items())
    written = f" Text written by models ({models})." if models else " No model was asked."
    came = sources[0].manifest.rows + sum(sources[0].manifest.drops.values())
    return f"{facts.rows:,} rows, made by [pairgen](#origin) from {came:,} input rows.{written}{_split(facts)}"


def _split(facts: CardFacts) -> str:
    if len(facts.splits) == 1:
        return ""
    counts = ", ".join(f"`{name}` {count:,}" for name, count in facts.splits.items())
    return f" Split by prompt ({facts.share:g} of the prompts held out, seed {facts.seed}): {counts} rows."


def _making(facts: CardFacts, sources: Sequence[Source]) -> str:
    heads = ("step", "what", "model", "sampling", "options", "rows", "left out")
    lines = ["## How it was made", "", row(*heads), "|" + "---|" * len(heads)]
    for source in sources:
        manifest, outside = source.manifest, source.manifest.identity.get("outside") or {}
        name = outside.get("name") or outside.get("hub") or "the input"
        about = ABOUT.get(manifest.use, manifest.use).format(name=name)
        lines.append(row(
            manifest.name, about, source.model or "", _sampling(source), _options(source),
            f"{manifest.rows:,}", f"{sum(manifest.drops.values()):,}",
        ))
    return "\n".join(lines)


def _sampling(source: Source) -> str:
    sampling = source.options.get("sampling") if source.role else None
    if not isinstance(sampling, dict):
        return ""
    count = source.options.get("n", 1)
    drawn = f", {count} samples" if isinstance(count, int) and count > 1 else ""
    said = f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}, {sampling['max_tokens']:,} tokens"
    return f"{said}{drawn}, seed {source.options.get('seed')}"


def _options(source: Source) -> str:
    shown = {k: v for k, v in source.options.items() if k not in HIDDEN and v is not None}
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in shown.items())


def _prompts(sources: Sequence[Source]) -> str:
    parts = []
    for source in sources:
        prompt = source.options.get("prompt")
        if isinstance(prompt, dict) and source.role:
            system = prompt.get("system")
            text = prompt["user"] if system is None else f"[system]\n{system}\n\n[user]\n{prompt['user']}"
            parser = prompt.get("parser") or prompt.get("pattern") or "the whole reply"
            parts.append(f"`{source.manifest.name}`, read by `{parser}`:\n\n{fenced(text)}")
    return "## Prompts\n\n" + "\n\n".join(parts) if parts else ""


def _drops(sources: Sequence[Source]) -> str:
    lines = ["## What was left out", "", "| step | reason | rows |", "|---|---|---:|"]
    for source in sources:
        counts = sorted(source.manifest.drops.items(), key=lambda item: (-item[1], item[0]))
        lines += [row(source.manifest.name, reason, f"{count:,}") for reason, count in counts]
    return "\n".join(lines) if len(lines) > 4 else "## What was left out\n\nNothing."


def _contrast(title: str, table: ContrastTable) -> str:
    spreads = table.rows()
    if not spreads:
        return ""
    lines = ["## Contrast of chosen and rejected", "", "| | mean | median | p10 | p90 |", "|---|---:|---:|---:|---:|"]
    lines += [row(name, *(f"{v:.4g}" for v in (s.mean, s.median, s.p10, s.p90))) for name, s in spreads]
    means = {name: spread.mean for name, spread in spreads}
    lines += ["", "| | Jaccard x 100 | Levenshtein |", "|---|---:|---:|"]
    lines.append(row(f"**{cell(title)}**", f"**{means['Jaccard x 100']:.2f}**", f"**{means['Levenshtein']:.0f}**"))
    lines += [row(f"{name} (paper)", f"{jaccard}", f"{levenshtein}") for name, jaccard, levenshtein in PAPER]
    return "\n".join(lines) + (
        "\n\nThe paper's rows are its Table 1: 29K to 32K pairs of Llama-3-8B-Instruct on UltraFeedback prompts. It "
        "names no tokenizer; Jaccard here is over sets of words and single punctuation marks, Levenshtein over "
        "characters, not normalised, so it grows with length. Compare datasets of the same prompts, not numbers "
        "across papers."
    )


def _use(facts: CardFacts) -> str:
    kind = "TRL's conversational format; read by its trainers as it is." if facts.to == "trl" else "One record a row."
    columns = ", ".join(f"`{name}`" for name in facts.columns)
    if facts.side is None:
        return f"## Columns\n\n{kind} {columns}."
    side = f"The configuration `{facts.side}` holds the same rows with models, sampling, reply and contrast."
    return f"## Columns\n\n{kind} {columns}. {side}"


def _origin(facts: CardFacts, sources: Sequence[Source]) -> str:
    last = sources[-1].manifest
    by = "" if last.code_version == __version__ else f", exported by {__version__}"
    lines = [f"- pairgen {last.code_version}{by}"]
    if (revision := commit()) is not None:
        lines.append(f"- commit of the checkout at export: `{revision}`")
    if facts.command is not None:
        lines.append(f"- command: `{safe_command(facts.command)}`")
    lines.append(f"- finished: {last.log.get('finished', 'unknown')}; identity of the step: `{last.digest}`")
    if facts.license == "unknown":
        lines.append("- no licence was stated at export; the terms of the models and of the input apply")
    return "## Origin\n\n" + "\n".join(lines)


def safe_command(command: str) -> str:
    """A command without line ends, backticks, or a password in a URL."""
    return re.sub(r"://[^/@\s]+@", "://...@", " ".join(command.split())).replace("`", "'")


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cell(c) for c in cells) + " |"


def cell(text: str) -> str:
    """Text that stays inside its cell and is no HTML."""
    plain = " ".join(str(text).split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def fenced(text: str) -> str:
    """Text as a code block that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
