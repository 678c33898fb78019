"""The modified instructions of pairs, as instructions: general data that wanders off the pool.

Writing similar instructions reaches kinds of task the pool does not hold, and those are the skills that
training on judgments forgets first. Answered again by the seed, they are replay data without a label.
"""

from collections.abc import Iterator
from typing import ClassVar

from pairgen.records import Drop, Instruction, Message, Pair, messages_id
from pairgen.stage import RowStage
from pairgen.stages._ids import IdSet


class Modified(RowStage):
    """Each modified instruction once. Pairs with none (direct-worse) are dropped."""

    reads: ClassVar[type] = Pair
    writes: ClassVar[type] = Instruction

    def run(self, rows: Iterator[Pair]) -> Iterator[Instruction | Drop]:
        seen = IdSet()
        for row in rows:
            if row.modified is None:
                yield Drop(row.id, self.id, "no_modified", failed=False)
                continue
            messages = (Message("user", row.modified),)
            made = Instruction(messages_id(messages), messages, f"{row.instruction.source}, modified")
            yield made if seen.add(made.id) else Drop(row.id, self.id, "duplicate", failed=False)


STAGE = Modified
