"""What an exported row looks like: flat records with everything known of a pair, and TRL's own columns.

TRL changes what it does when it finds a column it knows, so its rows hold what its trainers read, an
id, and `rational`, the name CLAIR's own dataset gives the reasoning.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pairgen.records import Demonstration, Labelled, Messages, Pair, Preference, Rollout, Sampled
from pairgen.stages.export_pairs import preference

Models = Mapping[str, str]
"""The model behind each engine role."""


@dataclass(frozen=True, slots=True)
class PairRecord:
    """A pair with all that is known of it. `levenshtein` counts characters, `length_ratio` is rejected / chosen."""

    id: str
    prompt_id: str
    prompt: Messages
    chosen: str
    rejected: str
    construction: str
    rationale: str | None
    raw: str
    chosen_model: str
    rejected_model: str
    chosen_sampled: Sampled | None
    rejected_sampled: Sampled | None
    chosen_score: float | None
    rejected_score: float | None
    order: str | None
    rounds: int | None
    modified: str | None
    source: str
    jaccard: float
    levenshtein: int
    length_ratio: float
    chosen_chars: int
    rejected_chars: int


@dataclass(frozen=True, slots=True)
class TrlPreference:
    """TRL's explicit-prompt conversational preference."""

    id: str
    prompt: Messages
    chosen: Messages
    rejected: Messages
    rational: str | None


@dataclass(frozen=True, slots=True)
class TrlConversation:
    """TRL's conversational language-modelling row."""

    id: str
    messages: Messages


@dataclass(frozen=True, slots=True)
class TrlLabelled:
    """TRL's unpaired preference."""

    id: str
    prompt: Messages
    completion: Messages
    label: bool


@dataclass(frozen=True, slots=True)
class TrlPrompt:
    """TRL's prompt-only row, with the answer a reward function compares with."""

    id: str
    prompt: Messages
    answer: str


def pair_record(row: Pair, models: Models) -> PairRecord:
    """A pair as one flat record, engine roles told by the models behind them."""
    sides = (row.chosen_model, row.rejected_model)
    chosen_model, rejected_model = (models.get(role, role) for role in sides)
    return PairRecord(
        row.id, row.instruction.id, row.instruction.messages, row.chosen, row.rejected, row.construction,
        row.rationale, row.raw, chosen_model, rejected_model, row.chosen_sampled, row.rejected_sampled,
        row.chosen_score, row.rejected_score, row.order, row.rounds, row.modified, row.instruction.source,
        row.contrast.jaccard, row.contrast.levenshtein, row.contrast.length_ratio,
        len(row.chosen), len(row.rejected),
    )


def _trl_pair(row: Pair) -> TrlPreference:
    made = preference(row)
    return TrlPreference(row.id, made.prompt, made.chosen, made.rejected, row.rationale)


def _trl_preference(row: Preference) -> TrlPreference:
    return TrlPreference(row.id, row.prompt, row.chosen, row.rejected, None)


def _conversation(row: Demonstration) -> TrlConversation:
    return TrlConversation(row.id, row.messages)


def _unpaired(row: Labelled) -> TrlLabelled:
    return TrlLabelled(row.id, row.prompt, row.completion, row.desirable)


def _prompt(row: Rollout) -> TrlPrompt:
    return TrlPrompt(row.id, row.prompt, row.answer)


TO_TRL: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "Pair": (TrlPreference, _trl_pair),
    "Preference": (TrlPreference, _trl_preference),
    "Demonstration": (TrlConversation, _conversation),
    "Labelled": (TrlLabelled, _unpaired),
    "Rollout": (TrlPrompt, _prompt),
}
"""What TRL reads each kind of row as; the other kinds are no training rows."""
