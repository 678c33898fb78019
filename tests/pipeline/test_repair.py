"""`repair: true`: a reply without its form is sent back once, and what is dropped in vain keeps both replies."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sample_rows import candidates, instruction

from pairgen.engine import Completion, Request
from pairgen.engines.scripted import ScriptedEngine
from pairgen.errors import RowError
from pairgen.journal import Journal, Journaled
from pairgen.pipeline.ask import AGAIN, ask_row
from pairgen.records import Drop, Messages, Pair
from pairgen.stage import REPAIR, FormStage
from pairgen.stages.pair import MakePair
from pairgen.stages.prefer import Prefer
from pairgen.stages.respond import Respond
from pairgen.stages.revise import Revise
from pairgen.stages.tag import Tag

ROW = candidates("Which are prime?", "2, 3 and 5 are prime numbers.")
GOOD = "{teacher_reasoning}: say which\n\n{corrected_student_solution}:\n2, 3 and 5 are the first three primes."
BAD = "I would say: the first three primes."


def revise(**options: Any) -> Revise:
    return Revise.model_validate({"id": "pairs", "use": "revise", "engine": "reviser", **options})


def scripted(first: str, second: str) -> ScriptedEngine:
    """An engine that says `first` to a prompt and `second` when it is sent back."""

    def said(messages: Messages, seed: int) -> str:
        if messages[-1].content != REPAIR:
            return first
        if second == "refused":
            raise RowError("too_long", "of the repair")
        return second

    return ScriptedEngine(said)


def asked(engine: ScriptedEngine, stage: Any, row: Any, journal: Journal | None = None) -> list[Any]:
    return asyncio.run(ask_row(stage, row, Journaled(engine, journal)))


def test_a_repaired_reply_makes_the_pair(tmp_path: Path) -> None:
    """The conversation, the reply and one more turn are sent, kept under their own key, and never asked again."""
    engine = scripted(BAD, GOOD)
    with Journal.open(tmp_path / "journal.db") as journal:
        (pair,) = asked(engine, revise(repair=True), ROW, journal)
        first, again = engine.asked
        assert isinstance(pair, Pair)
        assert (pair.chosen, pair.raw) == ("2, 3 and 5 are the first three primes.", GOOD)
        assert again.messages[:-2] == first.messages
        assert [(m.role, m.content) for m in again.messages[-2:]] == [("assistant", BAD), ("user", REPAIR)]
        assert (again.sampling, again.seed, again.n) == (first.sampling, first.seed, 1)
        assert asked(engine, revise(repair=True), ROW, journal) == [pair]
    assert len(engine.asked) == 2


def test_without_the_option_nothing_is_sent_back() -> None:
    """The default: one reply, read as it is."""
    engine = scripted(BAD, GOOD)
    (drop,) = asked(engine, revise(), ROW)
    assert (drop.reason, drop.raw, len(engine.asked)) == ("unparsed", BAD, 1)


@pytest.mark.parametrize(("second", "raw", "why"), [
    ("Still nothing.", f"{BAD}{AGAIN}Still nothing.", "nor in the repair"),
    ("refused", BAD, "the repair came to too_long"),
])
def test_in_vain_the_row_is_dropped_with_both_replies(second: str, raw: str, why: str) -> None:
    """One repair and no more; the drop says so."""
    engine = scripted(BAD, second)
    (drop,) = asked(engine, revise(repair=True), ROW)
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.raw) == ("unparsed", raw)
    assert drop.detail == f"no marked revision in the reply, {why}"
    assert len(engine.asked) == 2


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("2, 3", "As a revision, 2, 3"), "", " \n"])
def test_what_has_its_form_or_nothing_at_all_is_not_sent_back(text: str) -> None:
    """A leak or another fault is no matter of form, and an empty reply has nothing to repair."""
    engine = scripted(text, GOOD)
    asked(engine, revise(repair=True), ROW)
    assert len(engine.asked) == 1


def test_a_cut_reply_is_not_sent_back() -> None:
    """Its form may be missing because it was cut: more words would be cut again."""
    (request,) = revise().ask(ROW)
    assert revise(repair=True).repair_of(request, 0, Completion(BAD, "length", 1, 1)) is None
    assert revise(repair=True).repair_of(request, 0, Completion(BAD, "stop", 1, 1)) is not None


def test_only_the_samples_without_form_are_sent_back() -> None:
    """Of three samples the second is repaired, with its own seed, and stands in its own place."""
    texts = ["similar one\n[The start of Assistant's answer to the modified instruction]\nA good one.", BAD]
    form = "[User Question Modified]: {0}"

    def said(messages: Messages, seed: int) -> str:
        if messages[-1].content == REPAIR:
            return form.format("repaired\n" + texts[0].split("\n", 1)[1].replace("good", "repaired"))
        return BAD if seed == middle else form.format(texts[0].replace("good", f"good {seed % 10}"))

    stage = MakePair.model_validate({"id": "pairs", "use": "pair", "engine": "policy", "n": 3, "repair": True})
    middle = stage.ask(ROW)[0].seed + 1
    engine = ScriptedEngine(said)
    made = asked(engine, stage, ROW)
    assert [type(out) for out in made] == [Pair] * 3
    assert made[1].rejected == "A repaired one."
    assert [request.seed for request in engine.asked if request.messages[-1].content == REPAIR] == [middle]


@pytest.mark.parametrize(("stage", "row", "good", "bad"), [
    (Tag, instruction("Why?"), "Category: Coding\nComplexity: 3\nLength: b", "It is coding."),
    (Prefer, candidates("Why?", "Because.", "So."), "[1]", "Both have merits."),
    (Prefer, candidates("Why?", "Because.", "So."), "[2]", "[1] and [2]"),
])
def test_every_stage_with_a_form_repairs(stage: type[FormStage], row: Any, good: str, bad: str) -> None:
    """Tags and verdicts alike."""
    made = stage.model_validate({"id": "x", "use": stage.__name__.lower(), "engine": "e", "repair": True})
    engine = scripted(bad, good)
    (out,) = asked(engine, made, row)
    assert not isinstance(out, Drop)
    assert len(engine.asked) == 2


def test_a_stage_without_a_form_has_no_such_option() -> None:
    """An answer is text: there is nothing in it to repair."""
    with pytest.raises(ValidationError, match="repair"):
        Respond.model_validate({"id": "a", "use": "respond", "engine": "e", "repair": True})


@pytest.mark.parametrize("slow", [0, 1])
def test_of_two_refusals_the_first_request_counts(slow: int) -> None:
    """Whichever order's refusal is told first, the drop is the same: a row that is asked again ends the same way."""

    class Refusing(ScriptedEngine):
        async def send(self, request: Request) -> bytes:
            self.asked.append(request)
            number = len(self.asked) - 1
            await asyncio.sleep(0.02 * (number == slow))
            raise RowError(("too_long", "content_filter")[number], "no")

    stage = Prefer.model_validate({"id": "x", "use": "prefer", "engine": "e", "orders": "both"})
    (drop,) = asked(Refusing([]), stage, candidates("Why?", "Because.", "So."))
    assert drop.reason == "too_long"


def test_the_seed_of_a_repair_is_its_samples() -> None:
    """Sample i of a request is asked again with the seed it was drawn with."""
    request = Request((), revise().sampling, 7, n=4, first=2)
    again = revise(repair=True).repair_of(request, 1, Completion(BAD, "stop", 1, 1))
    assert again is not None
    assert (again.seed, again.first, again.n) == (10, 0, 1)
