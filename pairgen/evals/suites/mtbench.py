"""MT-Bench human judgments (arXiv 2306.05685): does a judge agree with experts, as often as experts with each other?

An item is a question, a turn and two models, with the vote of every expert. The judge's verdict is that of both
orders, a tie when they differ; it is held against each vote, with ties and without. Our own accuracy takes the
experts' majority for the label.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pairgen.errors import UsageError
from pairgen.evals.asking import View
from pairgen.evals.benchmark import Estimate, EvalItem, estimate
from pairgen.evals.filepairs import FilePairs
from pairgen.evals.filerow import BadRow, Row, turns
from pairgen.evals.files import Loaded, Skipped
from pairgen.evals.items import PairItem
from pairgen.evals.official import TIE, human_agreement, judge_agreement, shown, together, winner
from pairgen.evals.said import Said
from pairgen.prompts import Prompt, shipped

WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": TIE, "tie (inconsistent)": TIE}
LENGTHS = ("longer", "shorter", "length")


class MTBench(FilePairs):
    """lmsys/mt_bench_human_judgments (split human), or a file of its votes; without answers it can be rescored only.

    `voters` whose votes count: experts, as in the paper, the authors, or all. Of a second turn the instruction is
    the first question and an answer is the rest of the conversation.
    """

    version: ClassVar[int] = 1
    HUB: ClassVar[str | None] = "lmsys/mt_bench_human_judgments"
    SPLIT: ClassVar[str] = "human"
    GROUPS: ClassVar[tuple[str, ...]] = ("turn 1", "turn 2")
    PARSER: ClassVar[str] = "self-taught"

    prompt: Prompt = shipped("judges/mtbench_tie.md")
    voters: Literal["expert", "author", "all"] = "expert"

    def key_of(self, row: Row) -> str:
        models = sorted(str(row.value.get(name)) for name in ("model_a", "model_b"))
        return "/".join((str(row.value.get("question_id")), *models, str(row.value.get("turn"))))

    def items_of(self, row: Row) -> Sequence[PairItem]:
        first, second, question, one, two = _told(row)
        vote = WINNERS[row.choice("winner", tuple(WINNERS))]
        if second < first:
            one, two, vote = two, one, 1 - vote
        counts = self.voters == "all" or row.text("judge").startswith(self.voters)
        turn = f"turn {row.choice('turn', (1, 2))}"
        return [PairItem(self.key_of(row), turn, question, one, two, votes=(vote,) if counts else ())]

    def joined(self, loaded: Loaded[PairItem]) -> Loaded[PairItem]:
        """One item for all votes on the same two answers, the answer most vote for first."""
        items: dict[str, PairItem] = {}
        for vote in loaded.items:
            before = items.setdefault(vote.id, replace(vote, votes=()))
            items[vote.id] = replace(before, votes=before.votes + vote.votes)
        none = [Skipped(key, f"{key}: no vote of the {self.voters}s") for key, item in items.items() if not item.votes]
        return Loaded(tuple(_by_majority(item) for item in items.values() if item.votes), (*loaded.skipped, *none))

    def skipped(self) -> tuple[str, ...]:
        """Bad rows; answers that others voted on are no such thing."""
        return tuple(skipped.why for skipped in self.load().skipped if "no vote of the" not in skipped.why)

    def views(self, item: PairItem) -> list[View]:
        if not item.chosen and not item.rejected:
            raise UsageError(f"{self.id}: the file has votes and no answers to judge; give {self.HUB}, or rescore")
        return super().views(item)

    def metrics(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Of verdicts made of both orders elsewhere only what can be known; of label files nothing about lengths."""
        if any(reply.order == "both" for row in rows for reply in row.replies):
            return self.official(rows)
        found = super().metrics(rows)
        if any(answer for row in rows for answer in row.answers):
            return found
        return {name: value for name, value in found.items() if not any(part in name for part in LENGTHS)}

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Per turn: agreement with votes, that of voters with each other, both with ties and without; flips."""
        found = super().official(rows)
        for group in self.GROUPS:
            some = [row for row in rows if row.group == group]
            name = f"mtbench_{group.replace(' ', '')}"
            said = [(vote, row.ratings) for row in some if (vote := _vote(row)) is not None]
            for ties, ending in ((True, ""), (False, "_no_ties")):
                if said:
                    found[f"{name}_agreement{ending}"] = judge_agreement(said, ties).share
                if some:
                    found[f"{name}_human_agreement{ending}"] = human_agreement([r.ratings for r in some], ties).share
        return found | {"mtbench_flips": estimate(_flips(row) for row in rows)}

    def said(self, row: Row) -> list[Said] | None:
        """A vote of a judge in the columns of the human ones (split gpt4_pair): made of both orders."""
        if "winner" not in row.value or "model_a" not in row.value:
            return None
        name = row.choice("winner", tuple(WINNERS))
        vote = WINNERS[name] if row.text("model_a") <= row.text("model_b") else 1 - WINNERS[name]
        which = {1.0: "first", 0.0: "second"}.get(vote, "tie")
        note = "inconsistent" if "inconsistent" in name else None
        return [Said(row.where, self.key_of(row), "both", winner=which, note=note, optional=True)]


def _told(row: Row) -> tuple[str, str, str, str, str]:
    """The models, the question, and the answers of both; "" for answers that the file does not have."""
    first, second = row.text("model_a"), row.text("model_b")
    if not row.has("conversation_a"):
        return first, second, "", "", ""
    told = [turns(row, name) for name in ("conversation_a", "conversation_b")]
    length = 2 * row.choice("turn", (1, 2))
    if any(len(turns) < length for turns in told):
        raise BadRow(f"{row.where}: a conversation of fewer than {length} messages in turn {length // 2}")
    one, two = ("\n\n".join(
        turn.content if place == 0 else f"### {turn.role.capitalize()}:\n{turn.content}"
        for place, turn in enumerate(conversation[1:length])
    ) for conversation in told)
    return first, second, told[0][0].content, one, two


def _by_majority(item: PairItem) -> PairItem:
    """The item with the answer that most votes are for as the better one; level votes are a tie."""
    counts = Counter(item.votes)
    if counts[1.0] >= counts[0.0] and counts[1.0] > counts[TIE]:
        return replace(item, tie=counts[1.0] == counts[0.0])
    if counts[0.0] > max(counts[1.0], counts[TIE]):
        votes = tuple(1 - vote for vote in item.votes)
        return replace(item, chosen=item.rejected, rejected=item.chosen, votes=votes, swapped=True)
    return replace(item, tie=True)


def _vote(row: EvalItem) -> float | None:
    """The judge's vote for the row's first answer."""
    both = next((reply for reply in row.replies if reply.order == "both"), None)
    if both is not None:
        word = winner(both)
        return None if word is None else {"chosen": 1.0, "rejected": 0.0}.get(word, TIE)
    pair = shown(row)
    return None if pair is None else together(pair)


def _flips(row: EvalItem) -> float | None:
    """Whether the two orders gave two verdicts."""
    both = next((reply for reply in row.replies if reply.order == "both"), None)
    if both is not None:
        return float(both.status == "inconsistent")
    pair = shown(row)
    return None if pair is None or None in (pair.plain, pair.exchanged) else float(pair.plain != pair.exchanged)


BENCHMARK = MTBench
