"""Stored verdicts scored without a model: published runs to the digit, and every bad row named."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.engine import Sampling
from pairgen.errors import UsageError
from pairgen.evals.benchmark import Benchmark, EvalItem, said
from pairgen.evals.rescore import rescore
from pairgen.evals.run import EvalResult, result_of
from pairgen.fingerprint import digest
from pairgen.registry import find
from pairgen.store import Manifest, StepWriter, seal


def suite(use: str, path: Path, **options: Any) -> Benchmark[Any]:
    found: Benchmark[Any] = find("pairgen.evals.suites", use).BENCHMARK(id=use, use=use, path=str(path), **options)
    return found


def mean(result: EvalResult, name: str) -> float:
    value = result.metrics[name]["mean"]
    assert isinstance(value, float)
    return value


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Four pairs of one's own."""
    rows = [
        {"id": f"p{n}", "prompt": f"Question {n}?", "chosen": "good " * (n + 1), "rejected": "bad"} for n in range(4)
    ]
    return written(tmp_path / "items.jsonl", rows)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def verdicts(tmp_path: Path) -> Callable[..., str]:
    return lambda *rows: str(written(tmp_path / "verdicts.jsonl", list(rows)))


# published runs


def test_runs_of_llmbar_through_its_published_table(real_data: Path) -> None:
    """Five judges on the five sets: average, both right and equal as in statistics.json, one call each."""
    published = json.loads((real_data / "llmbar" / "published_statistics.json").read_text())
    table = real_data / "llmbar" / "verdicts_both_orders.csv"
    judges = [("GPT-4", "CoT"), ("Falcon", "CoT"), ("PaLM2", "Vanilla"), ("GPT-4", "Rating"), ("ChatGPT", "Swap_CoT")]
    benchmark = suite("llmbar", real_data / "llmbar")
    for evaluator, strategy in judges:
        found = rescore(benchmark, str(table), where={"evaluator": evaluator, "strategy": strategy})
        for group in ("natural", "neighbor", "gptinst", "gptout", "manual"):
            expected = published[f"{group}/{evaluator}/{strategy}"]
            average = float(expected["correct_average"].rstrip("%")) / 100
            both = float(expected["correct_both"].split("= ")[1].rstrip("%")) / 100
            equal = float(expected["equal"].split("= ")[1].rstrip("%")) / 100
            assert mean(found, f"llmbar_{group}") == pytest.approx(average, abs=1e-12)
            assert mean(found, f"llmbar_{group}_correct_both") == pytest.approx(both, abs=1e-12)
            assert mean(found, f"llmbar_{group}_equal") == pytest.approx(equal, abs=1e-12)


def test_gpt_4_and_falcon_under_all_rules(real_data: Path) -> None:
    """The 419 pairs in percent: average, consistent accuracy, consistency, winner shown first and second.

    Consistency is the loose one, where two unreadable words agree.
    """
    table = str(real_data / "llmbar" / "verdicts_both_orders.csv")
    expected = {"GPT-4": (81.3, 75.9, 89.3, 83.5, 79.0), "Falcon": (52.0, 8.6, 12.6, 95.2, 8.8)}
    names = ("accuracy", "consistent_accuracy", "consistency_loose", "accuracy_chosen_first", "accuracy_rejected_first")
    for judge, figures in expected.items():
        found = rescore(suite("llmbar", real_data / "llmbar"), table, where={"evaluator": judge, "strategy": "CoT"})
        got = [100 * mean(found, name) for name in names]
        assert got == pytest.approx(figures, abs=0.06)


def test_case_studies_of_llmbar_by_name(real_data: Path) -> None:
    """A set beyond the five is read when `subset` names it, and nothing else then."""
    found = rescore(
        suite("llmbar", real_data / "llmbar", subset=["case_negation"]),
        str(real_data / "llmbar" / "verdicts_both_orders.csv"), where={"evaluator": "Falcon", "strategy": "CoT"},
    )
    assert len(found.rows) == 59
    assert mean(found, "llmbar_case_negation") == pytest.approx((15 + 23) / 118)
    assert "llmbar_overall" not in found.metrics


def test_raw_judgements_of_llmbar(tmp_path: Path, real_data: Path) -> None:
    """An evaluator's result.json: completions in both orders, read by a parser; strict and official agree here."""
    pairs = json.loads((real_data / "llmbar" / "natural.json").read_text())
    rows = []
    for place, pair in enumerate(pairs):
        says = "I think Output (b) rambles.\nTherefore, Output (a) is better."
        other = "Therefore, Output (b) is better." if place % 2 else "Neither is good."
        told = {"swap = False": {"completion": [says, "stop"]}, "swap = True": {"completion": [other, "stop"]}}
        rows.append({**pair, "results": [told]})
    path = tmp_path / "natural__Some-Judge__CoT.json"
    path.write_text(json.dumps(rows))
    benchmark = suite("llmbar", real_data / "llmbar" / "natural.json")
    found = rescore(benchmark, str(path))
    assert mean(found, "official_parser_disagreement") == 0
    first = [float(pair["label"] == 1) for pair in pairs]  # (a) in the file's order, (b) when exchanged: output 1
    expected = sum(one + one * (place % 2) for place, one in enumerate(first)) / 200
    assert mean(found, "accuracy") == pytest.approx(expected)
    assert mean(found, "parse_rate") == 0.75
    assert mean(found, "llmbar_natural") == pytest.approx(expected)


def test_mt_bench_with_one_call(real_data: Path) -> None:
    folder = real_data / "mt_bench"
    found = rescore(suite("mtbench", folder / "human_votes.jsonl"), str(folder / "gpt4_pair_votes.jsonl"))
    fractions = {
        "agreement": 886 / 1343, "agreement_no_ties": 727 / 859, "human_agreement": 454 / 721,
        "human_agreement_no_ties": 388 / 479,
    }
    for name, fraction in fractions.items():
        assert mean(found, f"mtbench_turn1_{name}") == fraction
    assert found.metrics["mtbench_turn1_agreement"]["n"] == 1343


@pytest.mark.parametrize(("file", "column"), [("pandalm-7b", "pandalm_result"), ("gpt-3.5-turbo", "gpt_result")])
def test_pandalm_without_its_six_broken_rows(real_data: Path, file: str, column: str) -> None:
    """993 of 999 pairs; verdicts on the rows that were left out belong to nothing and are no error."""
    folder = real_data / "pandalm"
    told = folder / f"{file}-testset-v1.json"
    found = rescore(suite("pandalm", folder / "testset-v1.json", on_bad_row="skip"), str(told))
    rows = json.loads((folder / "testset-v1.json").read_text())
    said = json.loads(told.read_text())
    right = count = 0
    for row, verdict in zip(rows, said, strict=True):
        if isinstance(row["response1"], bool) or isinstance(row["response2"], bool):
            continue
        given = [row[f"annotator{n}"] for n in (1, 2, 3)]
        label = max(set(given), key=given.count)
        count += 1
        right += {"Tie": "0", "garbage": "0"}.get(str(verdict[column]), str(verdict[column])) == str(label)
    assert count == len(found.rows) == 993
    assert mean(found, "pandalm_accuracy") == pytest.approx(right / 993)


# the documented format


def test_slots_winners_and_texts_say_the_same(items: Path, verdicts: Callable[..., str]) -> None:
    """The judge that always names the first slot, told in five ways."""
    orders = (("chosen_first", "chosen"), ("rejected_first", "rejected"))
    ways: list[Callable[[str, str], dict[str, Any]]] = [
        lambda order, winner: {"order": order, "verdict": "A"},
        lambda order, winner: {"order": order, "verdict": "a"},
        lambda order, winner: {"order": order, "winner": winner},
        lambda order, winner: {"order": order, "text": "Both are fine. [[A]]"},
        lambda order, winner: {"order": order != "chosen_first", "winner": "12"[winner == "rejected"]},
    ]
    for way in ways:
        path = verdicts(*({"id": f"p{n}", **way(*order)} for n in range(4) for order in orders))
        found = rescore(suite("pairs", items), path)
        assert (mean(found, "accuracy"), mean(found, "consistency"), mean(found, "first_slot")) == (0.5, 0, 1)


def test_csv_reads_like_jsonl(items: Path, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    with path.open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["id", "order", "verdict", "sample"])
        for n in range(4):
            table.writerows([[f"p{n}", "chosen_first", "A", ""], [f"p{n}", "rejected_first", "" if n else "B", ""]])
    found = rescore(suite("pairs", items), str(path))
    assert mean(found, "accuracy") == 5 / 8
    assert mean(found, "parse_rate") == 5 / 8


def test_items_without_a_verdict_are_unscored(items: Path, verdicts: Callable[..., str]) -> None:
    path = verdicts({"id": "p1", "order": "chosen_first", "verdict": "A"},
                    {"id": "p1", "order": "rejected_first", "verdict": "B"})
    found = rescore(suite("pairs", items), path)
    assert found.metrics["accuracy"]["mean"] == 1
    assert (found.metrics["accuracy"]["n"], found.metrics["accuracy"]["unscored"]) == (1, 3)
    assert found.rows[0].error == "no verdict in verdicts.jsonl"


def test_samples_are_votes(items: Path, verdicts: Callable[..., str]) -> None:
    rows = [
        {"id": f"p{n}", "order": order, "sample": sample, "winner": "chosen" if sample < 2 else "rejected"}
        for n in range(4) for order in ("chosen_first", "rejected_first") for sample in range(3)
    ]
    found = rescore(suite("pairs", items), verdicts(*rows))
    assert mean(found, "vote_accuracy") == 1
    assert mean(found, "sampled_accuracy") == pytest.approx(2 / 3)


def test_scores_of_a_reward_model(items: Path, verdicts: Callable[..., str]) -> None:
    """A list, or one column each; a tie is no win in RewardBench and half a point in our accuracy."""
    scores = [(1.5, 0.5), (0.0, 2.0), (1.0, 1.0), (3, -1)]
    rows = [{"id": f"p{n}", "scores": list(pair)} for n, pair in enumerate(scores[:2])]
    rows += [{"id": f"p{n}", "score_chosen": a, "score_rejected": b} for n, (a, b) in enumerate(scores) if n > 1]
    found = rescore(suite("pairs", items), verdicts(*rows))
    assert mean(found, "accuracy") == 2.5 / 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "p9", "order": "file", "verdict": "A"}, "jsonl:1: no item 'p9' in pairs: its 4 ids are like p0"),
        ({"id": "p1", "order": "file", "verdict": "D"}, "verdict is 'D'; it must be A, B or tie, or empty"),
        ({"id": "p1", "order": "file", "winner": "best"}, "winner is 'best'; it must be one of chosen, rejected"),
        ({"id": "p1", "order": "sideways", "verdict": "A"}, "order is 'sideways'; it must be chosen_first"),
        ({"id": "p1", "verdict": "A"}, "no order; without it nobody knows"),
        ({"order": "file", "verdict": "A"}, "no column 'id' or 'item' or 'item_id'; have: order, verdict"),
        ({"id": "p1", "order": "file"}, "no column 'text' or 'judgment'"),
        ({"id": "p1", "order": "file", "text": 3}, "text is 3, not text"),
        ({"id": "p1", "scores": [1.0]}, "1 scores; item 'p1' has 2 answers"),
        ({"id": "p1", "scores": [1.0, "high"]}, "scores is 'high', not a number"),
    ],
)
def test_a_bad_verdict_is_named_by_its_row(
    items: Path, verdicts: Callable[..., str], row: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        rescore(suite("pairs", items), verdicts(row))
    assert message in str(refused.value)
    assert "verdicts.jsonl:1" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_verdict_said_twice_names_both_rows(items: Path, verdicts: Callable[..., str]) -> None:
    twice = {"id": "p1", "order": "chosen_first", "verdict": "A"}
    with pytest.raises(UsageError, match=r"jsonl:2: item 'p1' in order chosen_first was said already, at .*jsonl:1"):
        rescore(suite("pairs", items), verdicts(twice, twice))
    with pytest.raises(UsageError, match="in order file was said already"):
        rescore(suite("pairs", items), verdicts(twice, {**twice, "order": "file"}))


def test_a_choice_of_judges_that_are_not_there(real_data: Path) -> None:
    benchmark, table = suite("llmbar", real_data / "llmbar"), str(real_data / "llmbar" / "verdicts_both_orders.csv")
    with pytest.raises(UsageError, match="no row has evaluator=GPT-9"):
        rescore(benchmark, table, where={"evaluator": "GPT-9"})
    with pytest.raises(UsageError, match="no column 'evaluater' to choose by: did you mean 'evaluator'"):
        rescore(benchmark, table, where={"evaluater": "GPT-4"})
    with pytest.raises(UsageError, match="was said already"):
        rescore(benchmark, table, where={"evaluator": "GPT-4"})


def test_choices_in_the_order_shown(tmp_path: Path, verdicts: Callable[..., str]) -> None:
    """The right answer is index 0, wherever it stood; an order that is no order of four is named."""
    row = {"subset": "Math", "prompt": "q", "chosen": ["right"], "rejected": ["x", "y", "z"]}
    benchmark = suite("rewardbench2", written(tmp_path / "v2.jsonl", [{**row, "id": f"{n}"} for n in range(4)]))
    said = [("0,1,2,3", "A"), ("2,0,1,3", "B"), ("3,2,1,0", "A"), ("1,2,3,0", "")]
    found = rescore(benchmark, verdicts(*({"id": n, "order": o, "verdict": v} for n, (o, v) in enumerate(said))))
    assert mean(found, "accuracy") == 0.5
    assert mean(found, "rewardbench2_math") == (1 + 1 + 0 + 0.25) / 4
    for order, message in (("0,1,2", "has 4 answers, their indices in the order shown"), ("file", "has 4 answers")):
        with pytest.raises(UsageError, match=message):
            rescore(benchmark, verdicts({"id": "1", "order": order, "verdict": "A"}))
    with pytest.raises(UsageError, match="verdict is 'E'; it must be A, B, C, D or tie, or empty"):
        rescore(benchmark, verdicts({"id": "1", "order": "0,1,2,3", "verdict": "E"}))


def test_ratings_as_numbers_and_as_texts(tmp_path: Path, verdicts: Callable[..., str]) -> None:
    """A verdict is the number itself; a text is read by the prompt's format; one off the scale is named."""
    rows = [{"id": f"r{n}", "instruction": "q", "response": "a", "score": n + 1} for n in range(4)]
    benchmark = suite("ratings", written(tmp_path / "rated.jsonl", rows))
    numbers = rescore(benchmark, verdicts(*({"id": f"r{n}", "verdict": 4 - n} for n in range(4))))
    assert mean(numbers, "pearson") == pytest.approx(-1)
    texts = rescore(benchmark, verdicts(*({"id": f"r{n}", "text": f"Fine. [RESULT] {n + 1}"} for n in range(4))))
    assert (mean(texts, "pearson"), mean(texts, "exact")) == (pytest.approx(1), 1)
    with pytest.raises(UsageError, match=r"jsonl:1: verdict is '9', not a rating from 1 to 5"):
        rescore(benchmark, verdicts({"id": "r0", "verdict": 9}))


def test_a_reply_that_was_cut_says_nothing_yet(items: Path, verdicts: Callable[..., str]) -> None:
    """Cut at its limit a text was still weighing; the official parser does not know that."""
    row = {"id": "p1", "order": "chosen_first", "text": "At first sight [[A]] it is, but", "finish": "length"}
    assert mean(rescore(suite("pairs", items), verdicts(row)), "parse_rate") == 0
    assert mean(rescore(suite("pairs", items), verdicts(row), parser="official"), "parse_rate") == 1


# parsers


def test_strict_and_official_parsers_and_how_often_they_differ(items: Path, verdicts: Callable[..., str]) -> None:
    """A text with both marks on one line is nothing to us and A to RewardBench; the share of such texts is said."""
    texts = ["[[A]]", "[[A]] or [[B]]", "[[B]]", "no idea"]
    rows = [{"id": f"p{n}", "order": "chosen_first", "text": text} for n, text in enumerate(texts)]
    strict = rescore(suite("pairs", items), verdicts(*rows))
    official = rescore(suite("pairs", items), verdicts(*rows), parser="official")
    assert (mean(strict, "accuracy"), mean(strict, "parse_rate")) == (0.25, 0.5)
    assert (mean(official, "accuracy"), mean(official, "parse_rate")) == (0.5, 0.75)
    assert mean(strict, "official_parser_disagreement") == 0.25
    assert mean(official, "official_parser_disagreement") == 0
    named = rescore(suite("pairs", items), verdicts(*rows), parser="self-taught")
    assert mean(named, "accuracy") == 0.25
    with pytest.raises(UsageError, match="no parser 'rewardbnch': did you mean 'rewardbench'"):
        rescore(suite("pairs", items), verdicts(*rows), parser="rewardbnch")


def test_rewardbench_gives_half_a_point_for_what_it_cannot_read(tmp_path: Path, verdicts: Callable[..., str]) -> None:
    """One order, 0.5 for an error: 1, 0 and 0.5 make 0.5, where our accuracy is a third."""
    rows = [{"id": n, "subset": "hep-go", "prompt": "p", "chosen": "c", "rejected": "r"} for n in range(3)]
    path = written(tmp_path / "rb.jsonl", rows)
    texts = ("[[A]]", "[[B]]", "both")
    said = verdicts(*({"id": n, "order": "chosen_first", "text": text} for n, text in enumerate(texts)))
    found = rescore(suite("rewardbench", path), said)
    assert mean(found, "rewardbench_hep-go") == 0.5
    assert mean(found, "accuracy") == pytest.approx(1 / 3)
    assert not any("overall" in name or "reasoning" in name for name in found.metrics)


# pairgen's own rows


def test_own_rows_are_scored_again_to_the_same_numbers(items: Path, tmp_path: Path) -> None:
    """A sealed step of evaluation rows, and its shard alone; the texts are read again."""
    benchmark = suite("pairs", items, votes=2, sampling=Sampling(temperature=1.0))
    rows = []
    for place, item in enumerate(benchmark.items()):
        verdict = "[[A]]" if place else "[[A]] and [[B]]"
        replies = [[said(verdict)] * n for _, n in benchmark.modes().values() for _ in range(2)]
        rows.append(benchmark.read(item, replies))
    before = result_of(benchmark, rows)
    folder = stored(tmp_path / "run" / "eval@12345678", rows)
    assert rescore(benchmark, str(folder)).metrics == before.metrics
    assert rescore(benchmark, str(folder.parent)).metrics == before.metrics
    shard = rescore(benchmark, str(folder / "part-00000.arrow"))
    assert shard.metrics == result_of(benchmark, rows[:2]).metrics
    official = rescore(benchmark, str(folder), parser="official")
    assert mean(official, "parse_rate") == 1 > mean(before, "parse_rate")


def stored(folder: Path, rows: list[EvalItem]) -> Path:
    """A sealed step of evaluation rows."""
    with StepWriter(folder, EvalItem, 2) as writer:
        for row in rows:
            writer.add(row)
        out = writer.close()
    identity = {"rows": "some"}
    seal(folder, Manifest(
        name="eval", use="pairs", identity=identity, digest=digest(identity), row_class=out.row_class, rows=out.rows,
        shards=out.shards, code_version="0",
    ))
    return folder


def test_a_folder_without_an_evaluation_says_so(items: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished evaluation"):
        rescore(suite("pairs", items), str(tmp_path))


@given(st.lists(st.sampled_from(["A", "B", "tie", ""]), min_size=8, max_size=8))
def test_rescoring_is_what_the_judge_would_have_got(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> None:
    """The rows of a verdict file are those of the replies it was made from."""
    folder = tmp_path_factory.mktemp("rescore")
    rows = [{"id": f"p{n}", "prompt": "Q?", "chosen": "good", "rejected": "bad"} for n in range(4)]
    benchmark = suite("pairs", written(folder / "items.jsonl", rows), prompt="prompts/judges/mtbench_tie.md")
    orders = ("chosen_first", "rejected_first")
    asked = [(f"p{n}", order) for n in range(4) for order in orders]
    marks = {"A": "[[A]]", "B": "[[B]]", "tie": "[[C]]", "": "dunno"}
    lines = [{"id": key, "order": order, "verdict": word} for (key, order), word in zip(asked, told, strict=True)]
    found = rescore(benchmark, str(written(folder / "v.jsonl", lines)))
    replies = dict(zip(asked, told, strict=True))
    made = [
        benchmark.read(item, [[said(marks[replies[item.id, order]])] for order in orders])
        for item in benchmark.items()
    ]
    judged = result_of(benchmark, made).metrics
    texts_only = {"tokens", "truncated", "official_parser_disagreement"}
    assert found.metrics == {name: value for name, value in judged.items() if name not in texts_only}
