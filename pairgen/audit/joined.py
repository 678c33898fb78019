"""Two files of answers to the same prompts as one dataset: outputs of a better and a worse model.

Rows are joined on the prompt, never on the row number: output files of leaderboards leave prompts out.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from pairgen.audit.cells import Bad, cell, plain
from pairgen.audit.raw import Raw
from pairgen.audit.shapes import ALIASES
from pairgen.errors import UsageError, nearest

PARTS = ("prompt", "completion")


def columns_for(path: str, sample: Raw, columns: Mapping[str, str]) -> dict[str, str]:
    """The prompt and answer columns of one of the two files. Raises UsageError when one is missing."""
    record = sample.record or {}
    found = {part: columns.get(part) or next((n for n in ALIASES[part] if n in record), "") for part in PARTS}
    for part, column in found.items():
        if column not in record:
            hint = f"{nearest(column, map(str, record))}" if column else f"found: {', '.join(map(str, record))}"
            raise UsageError(f"{path}: no column for the {part}; {hint}. Name it with --columns {part}=...")
    return found


def joined(chosen: Iterator[Raw], rejected: Iterator[Raw], columns: tuple[dict[str, str], ...],
           other: str) -> Iterator[Raw]:
    """The rows of `chosen` with the answer of `rejected` to the same prompt, equal prompts in their order.

    What has no partner is a bad row, of `rejected` (the file `other`) too; those come last.
    """
    waiting: dict[str, list[tuple[int, str]]] = defaultdict(list)
    bad: list[Raw] = []
    for raw in rejected:
        found = _text(raw, columns[1])
        if isinstance(found, Raw):
            bad.append(found)
        else:
            waiting[found[0]].append((raw.row, found[1]))
    for raw in chosen:
        found = _text(raw, columns[0])
        if isinstance(found, Raw):
            yield found
        elif not waiting[found[0]]:
            yield Raw(raw.row, None, "no partner", f"no answer in {other} to {found[0][:60]!r}")
        else:
            rest = {name: value for name, value in (raw.record or {}).items() if name not in columns[0].values()}
            partner = waiting[found[0]].pop(0)[1]
            yield Raw(raw.row, {"prompt": found[0], "chosen": found[1], "rejected": partner, **rest})
    left = (row for rows in waiting.values() for row, _ in rows)
    bad += [Raw(row, None, "no partner", "no other answer to its prompt") for row in left]
    for raw in sorted(bad, key=lambda raw: raw.row):
        yield Raw(raw.row, None, raw.reason, f"in {other}: {raw.detail}", lost=raw.lost)


def _text(raw: Raw, columns: Mapping[str, str]) -> tuple[str, str] | Raw:
    """Prompt and answer of a row, or why it has none."""
    if raw.record is None:
        return raw
    try:
        prompt, answer = (cell(raw.record, columns[part]) for part in PARTS)
        return plain(prompt, columns["prompt"]), plain(answer, columns["completion"])
    except Bad as why:
        return Raw(raw.row, None, *why.args)
