"""Small rows for tests of pure stages, made by hand and by hypothesis."""

from pairgen.checks import contrast
from pairgen.engine import Completion
from pairgen.records import (
    ORDERS,
    Candidates,
    Instruction,
    Judged,
    Judgment,
    Message,
    Order,
    Pair,
    Response,
    content_id,
    gold_label,
    messages_id,
)


def instruction(text: str = "List three prime numbers.", **tags: object) -> Instruction:
    messages = (Message("user", text),)
    return Instruction(messages_id(messages), messages, "test.jsonl", **tags)


def candidates(text: str = "List three prime numbers.", *answers: str) -> Candidates:
    row = instruction(text)
    made = tuple(Response(a, "policy", "stop", 3) for a in answers or ("2, 3 and 5 are prime numbers.",))
    return Candidates(row.id, row, made)


def pair(text: str = "List three prime numbers.", chosen: str = "2, 3, 5", rejected: str = "4, 6, 8") -> Pair:
    row = instruction(text)
    return Pair(
        content_id(row.id, chosen, rejected),
        row,
        chosen,
        rejected,
        "similar-instruction",
        "List three even numbers.",
        "policy",
        "policy",
        contrast(chosen, rejected),
        "raw reply",
    )


def judgment(order: Order, sample: int, verdict: str | None, **changes: object) -> Judgment:
    """A judgment that says A, B, or nothing readable (None)."""
    values: dict[str, object] = {
        "text": f"sample {sample} says [[{verdict}]]" if verdict else f"sample {sample} says nothing",
        "status": "ok" if verdict else "none",
        "tokens": 5 + sample,
        **changes,
    }
    return Judgment(order, sample, verdict=verdict, gold=gold_label(order), **values)


def judged(first: str, second: str, text: str = "List three prime numbers.") -> Judged:
    """A pair with one judgment per letter: `A`, `B` or `-`; `first` with chosen shown first."""
    made = tuple(
        judgment(order, sample, None if letter == "-" else letter)
        for order, letters in zip(ORDERS, (first, second), strict=True)
        for sample, letter in enumerate(letters)
    )
    source = pair(text)
    return Judged(source.id, source, made)


def reply(text: str, finish: str = "stop") -> Completion:
    return Completion(text, finish, 10, max(1, len(text.split())))
