"""Which column is what: the formats that preference data comes in, recognised by their columns.

A shape is chosen by the columns that most of the first records have, so that a malformed first row decides
nothing. What was recognised, and what is taken for better, is a value that is said.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairgen.audit import pairs, votes
from pairgen.audit.cells import has_turns
from pairgen.audit.pairs import Build
from pairgen.errors import UsageError, nearest

ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query", "conversations", "conversation", "messages",
               "history", "context", "input", "src"),
    "input": ("input",),
    "system": ("system", "system_prompt"),
    "chosen": ("chosen", "chosen_response", "response_chosen", "tgt_chosen"),
    "rejected": ("rejected", "rejected_response", "response_rejected", "tgt_rejected"),
    "first": (),
    "second": (),
    "label": ("label", "winner", "preference", "preferred", "verdict", "desirable"),
    "index": ("better_response_id",),
    "first_wins": ("labels",),
    "annotators": (),
    "completion": ("completion", "response", "output", "answer"),
    "answers": ("completions", "responses", "generations", "answers", "candidates", "all_generated_responses"),
    "scores": ("scores", "ratings", "overall_scores", "all_rm_scores"),
    "chosen_score": ("chosen_score", "score_chosen", "chosen_reward", "reward_chosen", "chosen_rating",
                     "rating_chosen"),
    "rejected_score": ("rejected_score", "score_rejected", "rejected_reward", "reward_rejected", "rejected_rating",
                       "rating_rejected"),
    "margin": ("margin",),
    "pair": ("pair",),
    "judgments": ("judgments",),
}
"""What a column may be called, the first found wins; `--columns` comes before all of them."""
SCORED = ("chosen_score", "rejected_score", "margin")
BEST = "the best against the worst by score, of equals the first listed; rows whose scores are all equal make no pair"
HALVES = "answers to one prompt with both labels are paired in order; the rest is counted as unpaired"
READS = ("Read are chosen + rejected, two answers + label (output_1 + output_2 + label), a list of completions with "
         "scores, and prompt + completion + label")


@dataclass(frozen=True, slots=True)
class Kind:
    """A format: the parts it must have, those it may have, and what its rows become."""

    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...]
    build: Build
    says: str = ""


KINDS = (
    Kind("Judged rows", ("pair", "judgments"), (), pairs.judged),
    Kind("Pair rows", ("prompt", "chosen", "rejected"), SCORED, pairs.own_pair),
    Kind("preference", ("prompt", "chosen", "rejected"), ("input", "system", *SCORED), pairs.preference),
    Kind("preference without a prompt column", ("chosen", "rejected"), SCORED, pairs.preference),
    *(Kind("two answers and a verdict", ("first", "second", label), ("prompt", "input", "system"), pairs.voted)
      for label in ("label", "index", "first_wins", "annotators")),
    Kind("scored answers", ("answers",), ("prompt", "input", "system", "scores"), pairs.listed, BEST),
    Kind("unpaired", ("prompt", "completion", "label"), ("input", "system"), pairs.half, HALVES),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A recognised format: its name, the column of each part, what its rows become, what else is to be said."""

    name: str
    parts: dict[str, str]
    build: Build
    says: str = ""

    def __str__(self) -> str:
        parts = ", ".join(part if part == column else f"{part} = {column}" for part, column in self.parts.items())
        return f"{self.name} ({parts})" + (f"; {self.says}" if self.says else "")


def recognise(path: str, sample: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Shape:
    """The shape that most of a sample of records have. Raises UsageError naming what was found and what is read."""
    names = Counter(str(name) for record in sample for name in record)
    for part, column in columns.items():
        if part not in ALIASES:
            raise UsageError(f"--columns {part}={column}: no part {part!r}: {nearest(part, ALIASES)}")
        if column not in names:
            raise UsageError(f"{path}: no column {column!r}: {nearest(column, names)}")
    found = Counter(fit for record in sample if (fit := _fit(record, columns)) is not None)
    if not found:
        raise UsageError(f"{path}: no preference data has these columns: {', '.join(names)[:400] or 'none'}. {READS}. "
                         "Name yours with --columns, such as --columns prompt=question,chosen=better,rejected=worse")
    kind, parts = found.most_common(1)[0][0]
    return _shape(path, kind, dict(parts), sample)


def _fit(record: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[Kind, tuple[tuple[str, str], ...]] | None:
    """The first kind whose parts a record has, with the columns that play them."""
    known = _parts(record, columns)
    for kind in KINDS:
        named = columns.keys() <= {*kind.needs, *kind.may}  # a part that was named is wanted
        if named and all(part in known for part in kind.needs) and _holds(kind, record, known):
            return kind, tuple((part, known[part]) for part in (*kind.needs, *kind.may) if part in known)
    return None


def _parts(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """The column of every part that a record has."""
    known = {part: next((name for name in names if name in record), "") for part, names in ALIASES.items()}
    known["annotators"] = next((str(name) for name in record if votes.ANNOTATORS.match(str(name))), "")
    known["first"], known["second"] = next((two for two in votes.TWO if set(two) <= record.keys()), ("", ""))
    known |= {part: column if column in record else "" for part, column in columns.items()}
    if known["prompt"] == known["input"]:
        known["input"] = ""
    return {part: name for part, name in known.items() if name}


def _holds(kind: Kind, record: Mapping[str, Any], known: Mapping[str, str]) -> bool:
    """Whether the values are of the kind's types, where columns alone do not tell."""
    if kind.build is pairs.own_pair:
        instruction = record[known["prompt"]]
        return isinstance(instruction, dict) and "messages" in instruction
    return kind.build is not pairs.listed or isinstance(record[known["answers"]], list)


def _shape(path: str, kind: Kind, parts: dict[str, str], sample: Sequence[Mapping[str, Any]]) -> Shape:
    says = kind.says
    if kind.build is pairs.voted:
        says = votes.rule_of(path, parts, sample)
    elif kind.build is pairs.preference and any(has_turns(record.get(parts["chosen"])) for record in sample[:20]):
        says = "conversations" if "prompt" in parts else "conversations: the turns both sides share are the prompt"
    return Shape(kind.name, parts, kind.build, says)
