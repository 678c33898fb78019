"""How likely a model finds both sides of preference rows, beside answers of its own to the same prompts.

Its own answers are drawn once and kept in `out/samples.jsonl`; the log-probs of everything come from
prompt trees, each distinct completion once, and are kept in `out/reference/`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer

from pairgen.engine import Sampling
from pairgen.errors import UsageError
from pairgen.fingerprint import folder_digest
from pairgen.fs import make_dirs
from pairgen.records import Drop, Labelled, Message, Messages, Preference, messages_id
from pairgen.train.config import Term, TrainConfig
from pairgen.train.crew import crew
from pairgen.train.encode import encode
from pairgen.train.example import CHOSEN
from pairgen.train.logps import check_trees
from pairgen.train.model import load, positions_of
from pairgen.train.ranks import ALONE
from pairgen.train.reference import cached_logps
from pairgen.train.samples import Sampled, Source, draw, read

LONGEST = 1024
"""Tokens of an own answer, where the config does not limit completions."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion's summed log-prob and its target tokens."""

    logp: float
    tokens: int

    @property
    def mean(self) -> float:
        """The log-prob per token, in nats."""
        return self.logp / self.tokens


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A row's two sides and the model's own answers to its prompt, at least one; `texts` are those."""

    chosen: Answer
    rejected: Answer
    own: tuple[Answer, ...]
    texts: tuple[str, ...]

    @property
    def own_mean(self) -> float:
        """The log-prob per token of an own answer, on average."""
        return sum(answer.mean for answer in self.own) / len(self.own)


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """One for each row, or why there is none; how many own answers were drawn for it now, and their file."""

    rows: list[Likelihood | Drop]
    drawn: int
    file: Path


def likelihoods(config: TrainConfig, rows: Sequence[Preference], folder: Path, out: Path, *, samples: int = 4,
                engine: str = "auto") -> Likelihoods:
    """The likelihoods of rows under the model in `folder`, with `samples` own answers at temperature 1.

    Lengths, template and precision are the config's. Raises UsageError when no row can be measured.
    """
    make_dirs(out)
    sampling = Sampling(temperature=1.0, max_tokens=config.max_completion_tokens or LONGEST)
    source, file = Source(folder, engine, sampling, config.seed), out / "samples.jsonl"
    drawn = draw((row.prompt for row in rows), source, samples, file)
    own = {sampled.id: sampled for sampled in read(file, source)}
    found, reasons = _measured(config, list(_alone(rows, own)), folder, out)
    whole = [_likelihood(i, row, own, found, reasons, samples) for i, row in enumerate(rows)]
    return Likelihoods(whole, drawn, file)


def _alone(rows: Sequence[Preference], own: dict[str, Sampled]) -> Iterator[Labelled]:
    """Every side and own answer as a row of its own."""
    for i, row in enumerate(rows):
        yield Labelled(f"{i}:chosen", row.prompt, row.chosen, True, "side")
        yield Labelled(f"{i}:rejected", row.prompt, row.rejected, True, "side")
    for ident in sorted({messages_id(row.prompt) for row in rows}):
        for k, text in _texts(own[ident]):
            yield Labelled(f"{ident}:{k}", own[ident].prompt, _assistant(text), True, "own")


def _texts(sampled: Sampled) -> Iterator[tuple[int, str]]:
    """Own answers by place: those that ended by themselves, or any where none did."""
    ended = any(a.finish == "stop" and a.text.strip() for a in sampled.answers)
    for k, answer in enumerate(sampled.answers):
        if answer.text.strip() and (answer.finish == "stop" or not ended):
            yield k, answer.text


def _measured(config: TrainConfig, rows: Sequence[Labelled], folder: Path,
              out: Path) -> tuple[dict[str, Answer], dict[str, Drop]]:
    """The log-prob of every completion by its id, and why the others have none."""
    config = config.model_copy(update={
        "objective": (Term.model_validate({"use": "apo-zero-unpaired"}),), "lora": None, "kind_weights": {},
        "moving_reference": None,
    })
    data = encode(rows, AutoTokenizer.from_pretrained(folder), config, positions_of(folder))
    model = load(folder, config)
    with model.autocast():
        check_trees(model.model, data.examples)
    with crew(model.side_by_side) as workers:
        table = cached_logps(config, model, workers, folder_digest(folder), data, out, ALONE)
    found = {}
    for example, logp in zip(data.examples, table.values_MS[:, CHOSEN].tolist(), strict=True):
        assert example.chosen is not None
        found[example.id] = Answer(logp, int(example.chosen.targets.sum()))
    return found, {drop.row_id: drop for drop in data.drops}


def _likelihood(i: int, row: Preference, own: dict[str, Sampled], found: dict[str, Answer],
                reasons: dict[str, Drop], samples: int) -> Likelihood | Drop:
    for name in ("chosen", "rejected"):
        if drop := reasons.get(f"{i}:{name}"):
            return Drop(row.id, "train", drop.reason, drop.detail)
    ident = messages_id(row.prompt)
    texts = {f"{ident}:{k}": text for k, text in _texts(own[ident]) if k < samples}
    there = [key for key in texts if key in found]
    if not there:
        return Drop(row.id, "train", "no-own-answer", own[ident].reason or "all answers were empty or too long")
    return Likelihood(found[f"{i}:chosen"], found[f"{i}:rejected"], tuple(found[key] for key in there),
                      tuple(texts[key] for key in there))


def _assistant(text: str) -> Messages:
    return (Message("assistant", text),)


def require(rows: Sequence[Likelihood | Drop]) -> None:
    """Raise UsageError when no row could be measured."""
    drops = [row for row in rows if isinstance(row, Drop)]
    if len(drops) == len(rows):
        reasons = ", ".join(sorted({drop.reason for drop in drops})) or "there were no rows at all"
        raise UsageError(f"no pair can be measured: 0 of {len(rows)} ({reasons})")
