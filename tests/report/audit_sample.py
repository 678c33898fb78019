"""Two audits side by side, made from seeded random numbers through the real summaries and the real verdict."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairgen.audit.contrast import LABELS
from pairgen.audit.stats import histogram, rate, stat
from pairgen.audit.summary import (
    Audit,
    BadRow,
    Bias,
    DatasetAudit,
    Example,
    Group,
    Histogram,
    Predictability,
    Scatter,
    Stat,
)
from pairgen.audit.verdict import findings

STYLE = {"chars": "Characters", "list_items": "List items", "bold": "Bold words", "politeness": "Polite words"}
FLAGS = {
    "same": "chosen = rejected",
    "contradiction": "contradictory pairs",
    "truncated_chosen": "chosen cut off",
    "duplicate_prompt": "prompt seen before",
    "secret": "keys and passwords",
}
PROSE = (
    "the river moves slowly past a quiet stone while morning light finds every patient shoulder of the hill "
    "and nobody asks where water goes when it has carried all it can carry into the waiting sea"
)
WORDS = PROSE.split()

Column = NDArray[np.float64]


def columns(seed: int, n: int, shift: float) -> dict[str, Column]:
    """Made-up measures of `n` pairs whose chosen answers are `shift` (in log) longer."""
    rng = np.random.default_rng(seed)
    chosen, rejected = np.floor(rng.lognormal(6 + shift, 0.7, n)), np.floor(rng.lognormal(6, 0.7, n))
    jaccard = rng.beta(3 + 4 * seed, 7, n)
    longest = np.maximum(chosen, rejected)
    lev_norm = np.clip(1 - jaccard + rng.normal(0, 0.05, n), 0, 1)
    return {
        "jaccard": jaccard,
        "levenshtein": np.round(lev_norm * longest),
        "lev_norm": lev_norm,
        "prefix_share": rng.beta(1, 30, n),
        "suffix_share": rng.beta(1, 60, n),
        "word_diff": np.clip(lev_norm * 1.1, 0, 1),
        "len_ratio": np.where(chosen > 0, rejected / np.maximum(chosen, 1), np.nan),
        "len_diff": chosen - rejected,
        "chosen_chars": chosen,
        "rejected_chars": rejected,
    }


def stats(found: dict[str, Column], rows: slice = slice(None)) -> tuple[Stat, ...]:
    return tuple(stat(name, label, found[name][rows]) for name, label in LABELS.items())


def histograms(found: dict[str, Column]) -> tuple[Histogram, ...]:
    return tuple(histogram(name, label, found[name], 48) for name, label in LABELS.items())


def biases(rng: np.random.Generator, n: int, longer: float) -> tuple[Bias, ...]:
    made = []
    for at, (name, label) in enumerate(STYLE.items()):
        equal = int(n * (0.02 + 0.2 * at))
        share = longer - 0.03 * at
        more = int((n - equal) * share)
        auc = 0.5 + (share - 0.5) * (1 - equal / n)
        error = 1.96 * 0.5 / np.sqrt(n)
        made.append(Bias(name, label, more, n - equal - more, equal, auc, auc - error, auc + error))
    return tuple(made)


def examples(rng: np.random.Generator, n: int = 6) -> tuple[Example, ...]:
    made = []
    for at in range(n):
        chosen = list(rng.choice(WORDS, 60))
        rejected = [w if rng.random() < 0.7 else str(rng.choice(WORDS)) for w in chosen][: 60 - 3 * at]
        made.append(
            Example(
                "most contrastive" if at < n // 2 else "least contrastive",
                17 * at + 3, ("poems", "letters", "")[at % 3], f"Write something about water, take {at}.",
                " ".join(chosen), " ".join(rejected), 0.8 - at / 10, 30 + 12 * at, len(rejected) / len(chosen),
            )
        )
    return tuple(made)


def dataset(name: str, seed: int, n: int, longer: float, bad: bool = True) -> DatasetAudit:
    """One dataset's audit; `longer` is how often the chosen answer is the longer one."""
    rng, found = np.random.default_rng(seed + 100), columns(seed, n, 2.4 * (longer - 0.5))
    points = slice(0, 800)
    third = n // 3
    made = DatasetAudit(
        name=name, path=f"data/{name}.jsonl", format="prompt, chosen, rejected", rows=n + (14 if bad else 0), pairs=n,
        tokenizer="words and punctuation", bad={"not JSON": 11, "no rejected": 3} if bad else {},
        bad_rows=(BadRow(7, "not JSON", "line ends after '{\"prompt\"'"), BadRow(19, "no rejected")) if bad else (),
        contrast=stats(found),
        groups=tuple(
            Group(label, third, stats(found, slice(at * third, (at + 1) * third)))
            for at, label in enumerate(("poems", "letters"))
        ),
        biases=biases(rng, n, longer),
        predictability=Predictability(longer, longer - 0.01, longer + 0.01, longer + 0.02, n, 5, (
            ("chars", 0.81), ("list_items", 0.34), ("bold", -0.12),
        )),
        scores=(stat("score_margin", "Score margin", rng.normal(1, 1.2, n)),),
        hygiene=tuple(
            rate(flag, label, int(n * share), n, (3, 20, 37)[: int(n * share)])
            for (flag, label), share in zip(FLAGS.items(), (0.002, 0.0, 0.03, 0.12, 0.0), strict=True)
        ),
        languages={"en": n - n // 10, "de": n // 10}, model=(), model_rates=(), advice=(), histograms=histograms(found),
        scatter=Scatter(
            "Jaccard of tokens", "Levenshtein, characters",
            tuple(found["jaccard"][points].tolist()), tuple(found["levenshtein"][points].tolist()),
        ),
        examples=examples(rng), findings=(), notes=("Near duplicates were searched among the first 100,000 rows.",),
    )
    return replace(made, findings=findings(made))


AUDIT = Audit(
    datasets=(dataset("river", 0, 3000, 0.716), dataset("stones", 1, 1200, 0.52, bad=False)),
    command="pairgen audit data/river.jsonl data/stones.jsonl", code_version="0.1.0", seconds=3.2,
)


def with_text(text: str, audit: Audit = AUDIT) -> Audit:
    """The audit with `text` appended to every text there is, keys included; measures keep their names."""
    changed = _appended(audit, lambda value: value + text)
    assert isinstance(changed, Audit)
    return changed


def _appended(value: Any, add: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return add(value)
    if isinstance(value, tuple):
        return tuple(_appended(one, add) for one in value)
    if isinstance(value, dict):
        return {add(key): _appended(one, add) for key, one in value.items()}
    if not is_dataclass(value) or isinstance(value, type):
        return value
    kept = {"level"} | ({"name"} if hasattr(value, "label") else set())
    return replace(value, **{
        field.name: _appended(getattr(value, field.name), add) for field in fields(value) if field.name not in kept
    })


def visible_words(html: str) -> str:
    """The text of a page without its tags, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("</style>")[-1]).split())
