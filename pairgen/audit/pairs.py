"""Records into pairs: one function for each form that two answers to one prompt come in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from pairgen.audit import votes
from pairgen.audit.cells import (
    LLAMA,
    Bad,
    cell,
    conversation,
    has_turns,
    joined,
    number,
    parted,
    plain,
    prompt_turns,
    whole,
)
from pairgen.audit.raw import kind_of

TEXTS = ("response", "text", "answer", "completion", "output", "content", "generation")
SCORES = ("fine-grained_score", "score", "rating", "reward", "overall_score")
"""Scores of a listed answer. UltraFeedback's fine-grained mean stands before its overall score, which was a
bogus 10 in 2,628 rows before it was mended (December 2023)."""
LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class Sides:
    """A pair of one record. Scores are nan where there are none."""

    prompt: str
    chosen: str
    rejected: str
    chosen_score: float = nan
    rejected_score: float = nan


@dataclass(frozen=True, slots=True)
class Half:
    """One labelled answer, which makes a pair with one of the other label."""

    prompt: str
    completion: str
    desirable: bool


Cells = Mapping[str, Any]
Parts = Mapping[str, str]
Build = Callable[[Cells, Parts], Sides | Half]
"""A record and the column of each part into a pair or half of one. Raises Bad."""


def preference(record: Cells, parts: Parts) -> Sides:
    """Columns chosen and rejected, texts or conversations, with or without a column for their prompt."""
    chosen, rejected = cell(record, parts["chosen"]), cell(record, parts["rejected"])
    if has_turns(chosen) or has_turns(rejected):
        return _of_turns(record, parts, chosen, rejected)
    prompt = _prompt(record, parts) if "prompt" in parts else ""
    chosen, rejected = plain(chosen, parts["chosen"]), plain(rejected, parts["rejected"])
    return Sides(prompt, chosen, rejected, *_scores(record, parts))


def own_pair(record: Cells, parts: Parts) -> Sides:
    """A Pair row: its instruction is a record with messages."""
    instruction = cell(record, parts["prompt"])
    if not isinstance(instruction, dict):
        raise Bad("no record", f"{parts['prompt']} is {kind_of(instruction)}")
    return preference({**record, "messages": instruction.get("messages")}, {**parts, "prompt": "messages"})


def judged(record: Cells, parts: Parts) -> Sides:
    """A Judged row: the pair it judges."""
    pair = cell(record, parts["pair"])
    if not isinstance(pair, dict):
        raise Bad("no record", f"{parts['pair']} is {kind_of(pair)}")
    names = ("chosen", "rejected", "chosen_score", "rejected_score")
    return own_pair(pair, {"prompt": "instruction"} | {name: name for name in names})


def voted(record: Cells, parts: Parts) -> Sides:
    """Two answers and which is the better."""
    chosen, rejected = votes.better(record, parts)
    return preference(record, {**parts, "chosen": chosen, "rejected": rejected})


def listed(record: Cells, parts: Parts) -> Sides:
    """A list of answers with scores: the best against the worst, the first listed of equals."""
    answers = cell(record, parts["answers"])
    if not isinstance(answers, list):
        raise Bad("no list", f"{parts['answers']} is {kind_of(answers)}")
    beside = record.get(parts["scores"]) if "scores" in parts else None
    scores = [number(s) for s in beside] if isinstance(beside, list) else [_score(answer) for answer in answers]
    rated = [(score, answer) for score, answer in zip(scores, answers, strict=False) if not isnan(score)]
    if len(rated) < 2:
        raise Bad("too few answers", f"{parts['answers']}: {len(rated)} with a score of {len(answers)}")
    best, worst = max(rated, key=lambda found: found[0]), min(rated, key=lambda found: found[0])
    if best[0] == worst[0]:
        raise Bad("tie", f"all {len(rated)} answers have the score {best[0]:g}")
    prompt = _prompt(record, parts) if "prompt" in parts else ""
    return Sides(prompt, _text(best[1], parts), _text(worst[1], parts), best[0], worst[0])


def half(record: Cells, parts: Parts) -> Half:
    """One answer that is desirable or not."""
    column, value = parts["completion"], cell(record, parts["completion"])
    name = str(cell(record, parts["label"])).lower()
    if name not in LABELS:
        raise Bad("unknown label", f"{parts['label']} is {name[:40]!r}; it must be true or false")
    if not has_turns(value):
        return Half(_prompt(record, parts), plain(value, column), LABELS[name])
    return Half(_prompt(record, parts), joined(conversation(value, column, ()), "assistant", column), LABELS[name])


# --- parts of them ------------------------------------------------------------------------------------


def _prompt(record: Cells, parts: Parts) -> str:
    """The prompt as one text, with its system and input columns."""
    column, value = parts["prompt"], cell(record, parts["prompt"])
    system = record.get(parts["system"]) if "system" in parts else None
    extra = record.get(parts["input"]) if "input" in parts else None
    if type(value) is str and not system and not has_turns(value) and LLAMA not in value:
        text = whole(value, column)
    else:
        turns = prompt_turns(value, column)
        text = joined(turns, "" if system else "user", column)
        text = f"System: {plain(system, parts['system'])}\n\n{text}" if system else text
    return f"{text}\n\n{plain(extra, parts['input'])}" if extra else text


def _of_turns(record: Cells, parts: Parts, chosen: Any, rejected: Any) -> Sides:
    """Sides that are conversations, which may begin with their prompt."""
    columns = parts["chosen"], parts["rejected"]
    good, bad = (_turns(value, column) for value, column in zip((chosen, rejected), columns, strict=True))
    if "prompt" in parts and good[0].role == "assistant" == bad[0].role:
        prompt = _prompt(record, parts)
    else:
        shared, good, bad = parted(good, bad)
        prompt = joined(shared, "user", columns[0])
    better, worse = (joined(side, "assistant", column) for side, column in zip((good, bad), columns, strict=True))
    return Sides(prompt, better, worse, *_scores(record, parts))


def _turns(value: Any, column: str) -> Any:
    if not isinstance(value, str | list | dict):
        raise Bad("not text", f"{column} is {kind_of(value)}")
    return conversation(value, column, ())


def _scores(record: Cells, parts: Parts) -> tuple[float, float]:
    """The scores of both sides; a margin alone is a chosen side that much above 0."""
    if "chosen_score" in parts or "rejected_score" in parts:
        return number(record.get(parts.get("chosen_score", ""))), number(record.get(parts.get("rejected_score", "")))
    return (number(record.get(parts["margin"])), 0.0) if "margin" in parts else (nan, nan)


def _score(answer: Any) -> float:
    """The score of a listed answer; of a rank, the better the higher."""
    if not isinstance(answer, dict):
        return nan
    found = next((score for score in map(number, map(answer.get, SCORES)) if not isnan(score)), nan)
    return -number(answer.get("rank")) if isnan(found) else found


def _text(answer: Any, parts: Parts) -> str:
    """The text of a listed answer."""
    if isinstance(answer, dict):
        name = next((name for name in TEXTS if name in answer), None)
        if name is None:
            raise Bad("missing column", f"{parts['answers']}: an answer without {', '.join(TEXTS)}")
        return plain(cell(answer, name), f"{parts['answers']}.{name}")
    if has_turns(answer):
        return joined(conversation(answer, parts["answers"], ()), "assistant", parts["answers"])
    return plain(answer, parts["answers"])
