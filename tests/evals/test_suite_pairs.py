"""The pairwise suites on real sets, and on rows of the documented columns where the set is on the hub only."""

import json
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from suites_lab import judged, means, suite, write_rows

from pairgen.errors import UsageError
from pairgen.evals.select import selected


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Rows as a JSONL file of that name."""
    return lambda *rows, name="rows.jsonl": write_rows(tmp_path / name, *rows)


def test_llmbar_has_the_papers_sizes(real_data: Path) -> None:
    benchmark = suite("llmbar", real_data / "llmbar")
    found = Counter(item.group for item in benchmark.items())
    assert found == {"natural": 100, "neighbor": 134, "gptinst": 92, "gptout": 47, "manual": 46}
    named = suite("llmbar", real_data / "llmbar", subset=["case_base_9"])
    assert len(selected(named)) == 54
    assert len(selected(suite("llmbar", real_data / "llmbar", subset=["llmeval2", "faireval"]))) == 266
    with pytest.raises(UsageError, match="llmbar: no subset 'neighbour': did you mean 'neighbor'"):
        selected(suite("llmbar", real_data / "llmbar", subset=["neighbour"]))
    one = suite("llmbar", real_data / "llmbar" / "gptout.json")
    rows = [judged(item, None, None) for item in one.items()]
    assert one.missing(rows) == ("natural", "neighbor", "gptinst", "manual")


def test_the_better_answer_is_the_labelled_one(real_data: Path) -> None:
    rows = json.loads((real_data / "llmbar" / "manual.json").read_text())
    items = suite("llmbar", real_data / "llmbar" / "manual.json").items()
    for row, item in zip(rows, items, strict=True):
        assert item.chosen == row[f"output_{row['label']}"]
        assert item.swapped == (row["label"] == 2)


def test_hhh(real_data: Path) -> None:
    """221 pairs; a judge right on harmless alone: 58/221 micro, a quarter macro."""
    benchmark = suite("hhh", real_data / "prometheus_eval" / "hhh_pairs.jsonl")
    items = benchmark.items()
    assert Counter(item.group for item in items) == {"helpful": 59, "honest": 61, "harmless": 58, "other": 43}
    words = ["chosen" if item.group == "harmless" else "rejected" for item in items]
    found = means(benchmark, [judged(item, word, word) for item, word in zip(items, words, strict=True)])
    assert (found["hhh_micro"], found["hhh_macro"]) == (pytest.approx(58 / 221), 0.25)
    part = benchmark.official([judged(items[0], "chosen", "chosen")])
    assert set(part) == {"hhh_harmless"}


def test_hhh_in_the_hubs_columns(tmp_path: Path) -> None:
    row = {"input": "q", "targets": {"choices": ["bad", "good"], "labels": [0, 1]}}
    (tmp_path / "helpful.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "other.jsonl").write_text(json.dumps(row) + "\n")
    items = suite("hhh", tmp_path).items()
    assert [(item.id, item.chosen, item.rejected) for item in items] == [
        ("helpful/0", "good", "bad"), ("other/0", "good", "bad"),
    ]
    (tmp_path / "other.jsonl").write_text(json.dumps({**row, "targets": {"choices": ["a"], "labels": [1]}}) + "\n")
    with pytest.raises(UsageError, match="targets is a dict; it must have two choices and two labels"):
        suite("hhh", tmp_path).items()


def test_evalbias(real_data: Path) -> None:
    """80 pairs of six biases, response 1 always the better; a judge of the first slot gets 50 % and no pair."""
    benchmark = suite("evalbias", real_data / "evalbiasbench" / "biasbench.json")
    items = benchmark.items()
    assert sorted(Counter(item.group for item in items).values()) == [12, 12, 12, 13, 14, 17]
    found = means(benchmark, [judged(item, "chosen", "rejected") for item in items])
    names = ("evalbias_single_accuracy", "evalbias_pair_accuracy", "evalbias_pair_agreement")
    assert [found[name] for name in names] == [0.5, 0, 0]
    longer = ["chosen" if len(item.chosen) > len(item.rejected) else "rejected" for item in items]
    always_longer = [judged(item, word, word) for item, word in zip(items, longer, strict=True)]
    assert means(benchmark, always_longer)["evalbias_single_accuracy"] == pytest.approx(0.262, abs=0.001)


def test_pandalm_refuses_booleans_and_takes_empty_answers(real_data: Path) -> None:
    path = real_data / "pandalm" / "testset-v1.json"
    with pytest.raises(UsageError, match=r"testset-v1.json\[157\]: response1 is true, not text"):
        suite("pandalm", path).items()
    benchmark = suite("pandalm", path, on_bad_row="skip")
    items = benchmark.items()
    assert (len(items), len(benchmark.skipped())) == (993, 6)
    assert any(not item.chosen.strip() or not item.rejected.strip() for item in items)
    assert sum(item.tie for item in items) in (104, 105)
    voted = [item for item in items if len(set(item.votes)) > 1 and not item.tie]
    assert all(item.votes.count(1.0) == 2 for item in voted)


def judgebench_row(n: int, label: str, source: str = "mmlu-pro-math") -> dict[str, Any]:
    return {"pair_id": f"j{n}", "source": source, "question": "q", "response_A": "a", "response_B": "b", "label": label}


def test_judgebench(written: Callable[..., Path]) -> None:
    """Right+right and right+tie count, right+wrong does not; sources fall into four groups."""
    sources = ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench")
    path = written(*(judgebench_row(n, "AB"[n % 2] + ">" + "BA"[n % 2], source) for n, source in enumerate(sources)))
    benchmark = suite("judgebench", path)
    items = benchmark.items()
    assert [item.chosen for item in items] == ["a", "b", "a", "b"]
    words = [("chosen", "chosen"), ("chosen", "tie"), ("chosen", "rejected"), (None, "chosen")]
    found = means(benchmark, [judged(item, *word) for item, word in zip(items, words, strict=True)])
    assert found["judgebench"] == 0.75
    assert found["judgebench_livebench-math"] == 0
    with pytest.raises(UsageError, match="label is 'A=B'; it must be one of A>B, B>A"):
        suite("judgebench", written(judgebench_row(0, "A=B"))).items()
    with pytest.raises(UsageError, match="source is 'gsm8k'; it must begin with one of mmlu-pro, livebench-reasoning"):
        suite("judgebench", written(judgebench_row(0, "A>B", "gsm8k"))).items()


def rmbench_row(n: int, domain: str) -> dict[str, Any]:
    answers = [f"{word}{n}" for word in ("short", "long and more", "# long with marks")]
    return {"id": n, "prompt": "q", "chosen": answers, "rejected": [f"{a}!" for a in answers], "domain": domain}


def test_rmbench(written: Callable[..., Path]) -> None:
    """A model that loves style: the fancier answer wins, the right one among equals. Hard 0, normal 1, easy 1."""
    domains = ("chat", "code", "math", "safety-refuse", "safety-response", "safety-response")
    benchmark = suite("rmbench", written(*(rmbench_row(n, domain) for n, domain in enumerate(domains))))
    items = benchmark.items()
    assert len(items) == 54
    assert items[1].cluster == "chat/0"
    styles = {item.id: tuple(map(int, item.id[-2:])) for item in items}
    rows = [item.row(scores=(styles[item.id][0] + 0.5, styles[item.id][1])) for item in items]
    found = means(benchmark, rows)
    assert [found[f"rmbench_{level}"] for level in ("hard", "normal", "easy")] == [0, 1, 1]
    assert found["rmbench_overall"] == pytest.approx(2 / 3)
    some = [row for row in rows if not row.group.startswith("math")]
    assert "rmbench_overall" not in means(benchmark, some)
    assert benchmark.missing(some) == ("math",)
    wrong = [item.row(scores=(0, 1) if item.group == "safety-refuse" else (1, 0)) for item in items]
    assert means(benchmark, wrong)["rmbench_safety_mean"] == pytest.approx(2 / 3)  # by prompts, not by kinds
    with pytest.raises(UsageError, match="2 chosen and 3 rejected answers; 3 each are wanted"):
        suite("rmbench", written({**rmbench_row(0, "chat"), "chosen": ["a", "b"]})).items()


def test_autoj(written: Callable[..., Path]) -> None:
    """Won, lost, tied; a pair counts when both orders are right."""
    row = {"scenario": "planning", "prompt": "q", "response 1": "one", "response 2": "two"}
    benchmark = suite("autoj", written(*({**row, "label": n} for n in range(3))))
    items = benchmark.items()
    assert [(item.chosen, item.tie) for item in items] == [("one", False), ("two", False), ("one", True)]
    words = list(product([("chosen", "chosen"), ("chosen", "tie")], [("rejected", "rejected")], [("tie", "tie")]))
    for first, second, third in words:
        found = means(benchmark, [judged(i, *w) for i, w in zip(items, (first, second, third), strict=True)])
        assert found["autoj_agreement"] == pytest.approx((1 + (first[1] == "chosen")) / 3)
        assert found["autoj_consistency"] == pytest.approx((2 + (first[1] == "chosen")) / 3)


def test_mt_bench_with_answers(written: Callable[..., Path]) -> None:
    """Votes on one pair of answers are one item, whichever way round; the majority's answer is the better one."""
    a, b = ([{"role": r, "content": f"{x}{n}"} for n in (1, 2) for r, x in (("user", "q"), ("assistant", who))]
            for who in ("alpha ", "beta "))
    vote = {"question_id": 81, "model_a": "m1", "model_b": "m2", "conversation_a": a, "conversation_b": b, "turn": 2}
    turned = {**vote, "model_a": "m2", "model_b": "m1", "conversation_a": b, "conversation_b": a}
    path = written(
        {**vote, "judge": "expert_1", "winner": "model_b"}, {**turned, "judge": "expert_2", "winner": "model_a"},
        {**vote, "judge": "expert_3", "winner": "tie"}, {**vote, "judge": "author_1", "winner": "model_a"},
    )
    [item] = suite("mtbench", path).items()
    assert item.id == "81/m1/m2/2"
    assert item.votes == (1.0, 1.0, 0.5)
    assert item.instruction == "q1"
    assert item.chosen == "beta 1\n\n### User:\nq2\n\n### Assistant:\nbeta 2"
    assert item.swapped
    assert suite("mtbench", path, voters="all").items()[0].votes == (1.0, 1.0, 0.5, 0.0)
    found = means(suite("mtbench", path), [judged(item, "chosen", "chosen")])
    assert found["mtbench_turn2_agreement"] == pytest.approx(2 / 3)
    assert found["mtbench_turn2_agreement_no_ties"] == 1
    assert found["mtbench_turn2_human_agreement"] == pytest.approx(1 / 3)
    assert found["mtbench_flips"] == 0


def test_votes_without_answers_cannot_be_judged(real_data: Path) -> None:
    benchmark = suite("mtbench", real_data / "mt_bench" / "human_votes.jsonl")
    items = benchmark.items()
    assert sum(len(item.votes) for item in items) == 2668
    with pytest.raises(UsageError, match="no answers to judge; give lmsys/mt_bench_human_judgments, or rescore"):
        benchmark.ask(items[0])


@pytest.mark.parametrize(("value", "said"), [(True, "true"), (3, "3"), (None, "null")])
def test_an_answer_that_is_no_text_is_named_as_it_stands(written: Callable[..., Path], value: Any, said: str) -> None:
    """The row, the column and what stood there."""
    path = written({"id": "1", "prompt": "q", "chosen": value, "rejected": "b"})
    with pytest.raises(UsageError, match=rf"rows\.jsonl:1: chosen is {said}, not text"):
        suite("pairs", path).items()
