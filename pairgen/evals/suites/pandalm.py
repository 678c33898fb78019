"""PandaLM's test set (arXiv 2306.05087): 999 pairs with three annotators; the label is their majority.

The authors show each pair once, in the file's order, and take a reply that cannot be read for a tie. Their table
has accuracy, and precision, recall and F1 averaged over the three labels.
"""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem, estimate
from pairgen.evals.filepairs import FilePairs, labelled
from pairgen.evals.filerow import BadRow, Row
from pairgen.evals.items import PairItem
from pairgen.evals.official import TIE, three_way, winner
from pairgen.evals.said import Said
from pairgen.prompts import Prompt, shipped

VOTES = {0: TIE, 1: 1.0, 2: 0.0}


class PandaLM(FilePairs):
    """testset-v1.json of WeOpenML/PandaLM. Its answers may be empty; six rows hold no texts but booleans."""

    version: ClassVar[int] = 1
    PARSER: ClassVar[str] = "pandalm"

    prompt: Prompt = shipped("judges/pandalm.md")

    def key_of(self, row: Row) -> str:
        return row.key("idx")

    def items_of(self, row: Row) -> Sequence[PairItem]:
        given = [row.choice(f"annotator{n}", (0, 1, 2)) for n in (1, 2, 3)]
        label, count = Counter(given).most_common(1)[0]
        asked = [row.text(name, empty=True) for name in ("instruction", "input") if row.has(name)]
        instruction = "\n\n".join(part for part in asked if part.strip())
        if not instruction:
            raise BadRow(f"{row.where}: neither instruction nor input has a text")
        answers = (row.text("response1", empty=True), row.text("response2", empty=True))
        votes = tuple(VOTES[vote] for vote in given)
        return [labelled(self.key_of(row), "all", instruction, answers, label if count > 1 else 0, votes=votes)]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """The authors' four numbers, of replies to the file's order."""
        said = [_word(row) for row in rows]
        gold = ["chosen" if row.right else "tie" for row in rows]
        kept = [(_file(one, row), _file(word, row)) for one, word, row in zip(gold, said, rows, strict=True) if word]
        if not kept:
            return super().official(rows)
        table = three_way([one for one, _ in kept], [word for _, word in kept])
        right = estimate(None if word is None else float(word == one) for one, word in zip(gold, said, strict=True))
        others = {"precision": table.precision, "recall": table.recall, "f1": table.f1}
        return super().official(rows) | {"pandalm_accuracy": right} | {
            f"pandalm_{name}": Estimate(value, None, right.n, right.unscored) for name, value in others.items()
        }

    def said(self, row: Row) -> list[Said] | None:
        """A row of a published result file: pandalm_result or gpt_result, which is 0 or Tie, 1, 2 or garbage."""
        column = next((name for name in ("pandalm_result", "gpt_result") if name in row.value), None)
        if column is None:
            return None
        names = {"0": "tie", "Tie": "tie", "1": "first", "2": "second", "garbage": ""}
        return [Said(row.where, self.key_of(row), "file", winner=names[row.choice(column, tuple(names))])]


def _word(row: EvalItem) -> str | None:
    """What was said in the file's order, a tie where it cannot be read; None where nothing was."""
    if row.scores:
        one, two = row.scores
        return None if one is None or two is None else "chosen" if one > two else "rejected" if two > one else "tie"
    order = "rejected_first" if row.swapped else "chosen_first"
    reply = next((reply for reply in row.replies if reply.order == order), None)
    return None if reply is None else winner(reply) or "tie"


def _file(word: str, row: EvalItem) -> str:
    """A winner as the file's label, for precision and recall are of labels."""
    return word if word == "tie" else "1" if (word == "chosen") != row.swapped else "2"


BENCHMARK = PandaLM
