"""A run as the loop describes one, with the figures of the prototype study (embedded world, loop seed 0)."""

import math
from collections.abc import Callable
from dataclasses import replace

from pairgen.evals.benchmark import Difference
from pairgen.report.summary import (
    Change,
    IterationSummary,
    LoopRecord,
    Metrics,
    Point,
    ReferenceCurve,
    ReferenceStudy,
    RunSummary,
    SampleJudgment,
    SamplePair,
    StepFlow,
    Suite,
)

OTHER = [(0.607, 0.390), (0.795, 0.628), (0.879, 0.772), (0.941, 0.890), (0.934, 0.876), (0.978, 0.960)]
UNSEEN = [0.756, 0.79, 0.84, 0.81, 0.74, 0.69]
ANSWERS = [1.0, 0.93, 0.88, 0.81, 0.74, 0.66]
CONTROL = [0.607, 0.608, 0.611, 0.605, 0.602, 0.595]
SUITES = (
    Suite(
        "other",
        "Other task types (in the loop, never shown judged)",
        ("accuracy", "consistent_accuracy", "tokens"),
    ),
    Suite("demo", "Task types judged in pretraining", ("accuracy", "consistency", "first_slot")),
    Suite("unseen", "Task types outside the loop", ("accuracy", "vote_accuracy"), goal=False),
    Suite("answers", "Answering questions", ("answer_accuracy",), goal=False),
)


def estimate(mean: float, n: int = 500) -> dict[str, float | int | None]:
    error = math.sqrt(max(mean * (1 - mean), 0) / n) if mean <= 1 else 0.02
    return {"mean": mean, "stderr": error, "n": n, "unscored": 0}


def metrics(index: int) -> dict[str, Metrics]:
    accuracy, consistent = OTHER[index]
    return {
        "other": {
            "accuracy": estimate(accuracy),
            "consistent_accuracy": estimate(consistent),
            "tokens": estimate(9.2 + index / 10),
        },
        "demo": {"accuracy": estimate(0.999), "consistency": estimate(0.998), "first_slot": estimate(0.501)},
        "unseen": {"accuracy": estimate(UNSEEN[index], 250), "vote_accuracy": estimate(UNSEEN[index], 250)},
        "answers": {"answer_accuracy": estimate(ANSWERS[index], 300)},
    }


def loop(index: int) -> LoopRecord:
    seen = [0.721, 0.843, 0.901, 0.945, 0.945][index]
    return LoopRecord(
        parse_rate=0.998,
        agreement={"chosen_first": seen + 0.03, "rejected_first": seen - 0.02},
        none_right=0.08 - index * 0.015,
        all_right=0.42 + index * 0.1,
        classes_before={"A": 2900 + index, "B": 2700},
        classes_after={"A": 2700, "B": 2700},
        rows_kept=5300 + 350 * index,
        judgment_tokens=9.2 + index / 10,
        length_gap=0.01,
        tokens={"generate": 41_000, "judge": 252_000},
        seconds={"generate": 7.1, "judge": 8.4 + index, "train": 20.3, "evaluate": 5.2},
    )


def training(index: int) -> tuple[dict[str, float], ...]:
    return tuple(
        {
            "step": step,
            "loss": 0.9 / (1 + index / 3) * math.exp(-step / 60) + 0.06,
            "lr": 1e-3 * (1 - step / 180),
        }
        for step in range(0, 180, 5)
    )


def iteration(index: int) -> IterationSummary:
    if index == 0:
        return IterationSummary(0, metrics(0))
    return IterationSummary(index, metrics(index), loop(index - 1), training(index))


def curve(name: str, values: list[float]) -> ReferenceCurve:
    points = tuple(Point(iteration=i, mean=v, stderr=0.02) for i, v in enumerate(values))
    return ReferenceCurve(name=name, suite="other", metric="accuracy", points=points)


STUDY = ReferenceStudy(
    title="prototype study, one seed lineage, 500 pairs",
    curves=(
        curve("random-filter control", CONTROL),
        curve("oracle, one iteration", [0.607, 0.993]),
    ),
)

SAMPLE = RunSummary(
    title="self-taught: 5 iterations on the embedded world",
    command="pairgen run self-taught --iters 5",
    config="pipeline: self-taught\nengines:\n  policy:\n    use: vllm\n    model: builtin:world/seed-a\n",
    code_version="0.1.0",
    suites=SUITES,
    iterations=tuple(iteration(i) for i in range(6)),
    changes=(
        Change("other", "accuracy", Difference(0.371, 0.330, 0.412, 500)),
        Change("demo", "accuracy", Difference(0.0, -0.004, 0.004, 500)),
        Change("unseen", "accuracy", Difference(-0.066, -0.124, -0.008, 250)),
        Change("answers", "answer_accuracy", Difference(-0.34, -0.393, -0.287, 300)),
    ),
    flows=(
        StepFlow("respond", 4000, 3992, {"empty": 8}, 4000, 0, 88_000, 12_000, 0.0, 3.4),
        StepFlow(
            "pair", 7984, 3440, {"same_answer": 2110, "duplicate": 2434}, 8000, 0, 176_000, 41_000, 0.0, 7.1
        ),
        StepFlow("judge", 3440, 3440, {}, 27_520, 1200, 660_000, 252_000, 1.234, 8.4),
        StepFlow("filter", 3440, 3160, {"nothing_kept": 280}),
    ),
    alarms=(
        "Iteration 4: consistency over both orders fell from 0.890 (iteration 3) to 0.830; "
        "the limit is a fall of 0.05.",
    ),
    samples=(
        SamplePair(
            "9f3c2b1a00d4e5f6",
            "80413: second largest",
            "The digits are 8, 0, 4, 1 and 3; the second largest is =4.",
            "The digits are 8, 0, 4, 1 and 3; the second smallest is =1.",
            "similar",
            "80413: second smallest",
            (
                SampleJudgment("chosen_first", "A", "A", "ok", "=4 (A) [[A]]"),
                SampleJudgment("rejected_first", "A", "B", "ok", "=1 (A) [[A]]"),
                SampleJudgment("rejected_first", None, "B", "none", "=4 and =1 are both there"),
            ),
        ),
        SamplePair(
            "1",
            "Write a haiku about rivers that ends with the word stone. " * 6,
            "Water finds its way\nround every patient shoulder\nof the ancient stone",
            "Water makes its way\naround each patient boulder\nthen it meets the sea",
            "similar",
        ),
    ),
    reference=STUDY,
)


def with_text(text: str) -> RunSummary:
    """The sample with `text` appended to every text field there is, ids and names included."""

    def add(value: str) -> str:
        return value + text

    def keys(values: dict[str, int]) -> dict[str, int]:
        return {add(key): value for key, value in values.items()}

    return replace(
        SAMPLE,
        title=add(SAMPLE.title),
        command=add(SAMPLE.command),
        config=add(SAMPLE.config),
        code_version=add(SAMPLE.code_version),
        alarms=tuple(map(add, SAMPLE.alarms)),
        suites=tuple(
            Suite(add(s.id), add(s.title), tuple(map(add, s.metrics)), s.goal) for s in SAMPLE.suites
        ),
        iterations=tuple(_hostile_iteration(i, add, keys) for i in SAMPLE.iterations),
        changes=tuple(Change(add(c.suite), add(c.metric), c.difference) for c in SAMPLE.changes),
        flows=tuple(replace(f, step=add(f.step), drops=keys(dict(f.drops))) for f in SAMPLE.flows),
        samples=tuple(_hostile_sample(s, add) for s in SAMPLE.samples),
        reference=ReferenceStudy(
            title=add(STUDY.title),
            curves=tuple(
                ReferenceCurve(name=add(c.name), suite=add(c.suite), metric=add(c.metric), points=c.points)
                for c in STUDY.curves
            ),
        ),
    )


def _hostile_iteration(
    one: IterationSummary, add: Callable[[str], str], keys: Callable[[dict[str, int]], dict[str, int]]
) -> IterationSummary:
    found = {add(s): {add(m): value for m, value in ms.items()} for s, ms in one.metrics.items()}
    record = one.loop and replace(
        one.loop,
        agreement={add(k): v for k, v in one.loop.agreement.items()},
        classes_before=keys(dict(one.loop.classes_before)),
        classes_after=keys(dict(one.loop.classes_after)),
        tokens=keys(dict(one.loop.tokens)),
        seconds={add(k): v for k, v in one.loop.seconds.items()},
    )
    return replace(one, metrics=found, loop=record)


def _hostile_sample(one: SamplePair, add: Callable[[str], str]) -> SamplePair:
    judgments = tuple(
        SampleJudgment(
            add(j.order), add(j.verdict) if j.verdict else None, add(j.gold), add(j.status), add(j.text)
        )
        for j in one.judgments
    )
    return SamplePair(
        add(one.id),
        add(one.instruction),
        add(one.chosen),
        add(one.rejected),
        add(one.construction),
        add(one.modified) if one.modified else None,
        judgments,
    )
