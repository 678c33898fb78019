"""Running a benchmark: order, concurrency, refusals, self-checks, and metrics again from stored rows."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from pairgen.engine import Completion, Request
from pairgen.engines.scripted import ScriptedEngine
from pairgen.errors import RowError, Stopped, UsageError
from pairgen.evals.benchmark import EvalItem, Known, said
from pairgen.evals.judging import PairBenchmark, PairItem
from pairgen.evals.run import EvalResult, benchmark_identity, result_of, run_benchmark
from pairgen.evals.suites.heldout import Heldout
from pairgen.fingerprint import digest
from pairgen.journal import Journal, Journaled
from pairgen.records import Contrast, Instruction, Message, Pair
from pairgen.schema import from_batch, schema_of, to_batch
from pairgen.store import Manifest, StepWriter, seal


class Numbers(PairBenchmark):
    """Ten pairs; the better answer of pair i is `right i`."""

    def items(self) -> Sequence[PairItem]:
        return [
            PairItem(str(i), "even" if i % 2 == 0 else "odd", f"q{i}", f"right {i}", f"wrong {i}")
            for i in range(10)
        ]


class Judge:
    """Right on even pairs; always says A on odd ones. Counts how many requests it holds at once."""

    def __init__(self) -> None:
        self.held = self.most = self.asked = 0

    async def __call__(self, request: Request) -> list[Completion]:
        self.held, self.asked = self.held + 1, self.asked + 1
        self.most = max(self.most, self.held)
        text = request.messages[-1].content
        await asyncio.sleep(0.001 * (len(text) + request.seed) % 0.004)
        self.held -= 1
        first = text.index("right") < text.index("wrong")
        even = int(text.split("right ")[1].split()[0]) % 2 == 0
        return [said("[[A]]" if first or not even else "[[B]]")] * request.n


def judged(concurrency: int = 3, votes: int = 2) -> tuple[EvalResult, Judge]:
    judge = Judge()
    return asyncio.run(run_benchmark(Numbers(id="n", use="numbers", votes=votes), judge, concurrency)), judge


def test_every_reply_lands_on_its_item() -> None:
    result, judge = judged()
    assert judge.asked == 40
    assert [row.id for row in result.rows] == [str(i) for i in range(10)]
    error = pytest.approx(0.25 / 3)
    assert result.metrics["accuracy"] == {"mean": 0.75, "stderr": error, "n": 10, "unscored": 0}
    assert result.metrics["consistent_accuracy"]["mean"] == 0.5
    assert result.metrics["vote_ties"]["mean"] == 0.5


def test_concurrency_is_a_bound_and_changes_no_number() -> None:
    one, alone = judged(1)
    many, crowd = judged(7)
    assert (alone.most, crowd.most) == (1, 7)
    assert one == many


def test_the_numbers_come_back_from_stored_rows_without_the_model() -> None:
    """Rows pass through Arrow and give the same result, metrics and all."""
    result, _ = judged()
    stored = from_batch(EvalItem, to_batch(EvalItem, result.rows))
    assert result_of(Numbers(id="n", use="numbers", votes=2), stored) == result
    assert json.loads(json.dumps(result.metrics, allow_nan=False)) == result.metrics
    assert schema_of(EvalItem).field("error").type == pa.string()


def test_a_refused_request_leaves_its_item_unscored() -> None:
    async def complete(request: Request) -> list[Completion]:
        if "q3" in request.messages[-1].content:
            raise RowError("too_long", "9,000 of 8,192 tokens")
        return await Judge()(request)

    result = asyncio.run(run_benchmark(Numbers(id="n", use="numbers"), complete, 4))
    assert result.metrics["accuracy"]["n"] == 9
    assert result.metrics["accuracy"]["unscored"] == 1
    assert result.rows[3].error == "too_long: 9,000 of 8,192 tokens"


def test_a_stop_stops_at_once() -> None:
    """Nothing is asked after the first error that is not about one item."""
    asked = 0

    async def complete(request: Request) -> list[Completion]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.001)
        raise Stopped("budget spent")

    with pytest.raises(Stopped, match="budget spent"):
        asyncio.run(run_benchmark(Numbers(id="n", use="numbers"), complete, 4))
    assert asked <= 4


def test_a_benchmark_that_fails_its_self_check_asks_nothing() -> None:
    class Wrong(Numbers):
        def gold(self) -> list[Known]:
            right = super().gold()[0]
            return [Known(right.item, right.replies, {"accuracy": 0.0})]

    async def complete(request: Request) -> list[Completion]:
        raise AssertionError("asked")

    with pytest.raises(UsageError, match=r"accuracy of item 'right' is 1\.0, known to be 0\.0"):
        asyncio.run(run_benchmark(Wrong(id="n", use="wrong"), complete, 1))


def pair(i: int, category: str | None) -> Pair:
    instruction = Instruction(f"i{i}", (Message("user", f"q{i}"),), "test", category)
    far = Contrast(0, 1, 1)
    return Pair(f"p{i}", instruction, f"good {i}", f"bad {i}", "similar", None, "m", "m", far, "")


def sealed(folder: Path, pairs: list[Pair]) -> Path:
    with StepWriter(folder, Pair, 100) as writer:
        for row in pairs:
            writer.add(row)
        out = writer.close()
    seal(
        folder,
        Manifest(
            name="heldout",
            use="split",
            identity={"n": len(pairs)},
            digest=digest({"n": len(pairs)}),
            row_class=out.row_class,
            rows=out.rows,
            shards=out.shards,
            code_version="test",
        ),
    )
    return folder


def test_heldout_judges_the_pairs_of_a_step(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "heldout", [pair(0, "Coding"), pair(1, None)])
    items = Heldout(id="h", use="heldout", path=str(folder)).items()
    assert items[0] == PairItem("p0", "Coding", "q0", "good 0", "bad 0")
    assert items[1].group == "all"


def test_heldout_draws_by_content_and_knows_what_it_read(tmp_path: Path) -> None:
    """A subset does not depend on the order of the rows; other rows are another identity."""
    pairs = [pair(i, None) for i in range(20)]
    one = Heldout(id="h", use="heldout", path=str(sealed(tmp_path / "a", pairs)), n=5)
    two = Heldout(id="h", use="heldout", path=str(sealed(tmp_path / "b", pairs[::-1])), n=5)
    assert one.items() == two.items()
    assert one.items() != one.model_copy(update={"seed": 1}).items()
    more = Heldout(id="h", use="heldout", path=str(sealed(tmp_path / "c", [*pairs, pair(99, None)])))
    assert more.outside() != one.outside()


@pytest.mark.parametrize(
    "option",
    [{"seed": 1}, {"votes": 1}, {"sampling": {"temperature": 0.5}}, {"prompt": "judge_plan.md"}, {"n": 3}],
)
def test_every_option_changes_the_identity_and_placement_does_not(option: dict[str, object]) -> None:
    base = {"id": "h", "use": "heldout", "path": "a"}
    plain = benchmark_identity(Heldout.model_validate(base))
    assert benchmark_identity(Heldout.model_validate(base | option)) != plain
    assert benchmark_identity(Heldout.model_validate(base | {"id": "i", "path": "b"})) == plain


@pytest.mark.parametrize("way", ["text", "logits"])
def test_letters_go_from_an_engine_through_the_journal_to_stored_rows(tmp_path: Path, way: str) -> None:
    """A judge that always says A, asked for its letter: sure of it, right in one order, and free the second time."""
    engine = ScriptedEngine(lambda messages, seed: "A")
    benchmark = Numbers(id="n", use="numbers", prompt="judges/letter.md", verdict=way)
    journal = Journal.open(tmp_path / "journal.db")
    first, again = (asyncio.run(run_benchmark(benchmark, Journaled(engine, journal).complete, 3)) for _ in range(2))
    journal.close()
    assert len(engine.asked) == 20
    assert first == again
    stored = from_batch(EvalItem, to_batch(EvalItem, first.rows))
    assert result_of(benchmark, stored) == first
    assert {reply.confidence for row in stored for reply in row.replies} == {1.0 if way == "logits" else None}
    assert (first.metrics["accuracy"]["mean"], first.metrics["first_slot"]["mean"]) == (0.5, 1)
    if way == "logits":
        assert first.metrics["logit_accuracy"]["mean"] == 0.5
