"""Official formulas against published numbers to the last digit, each also computed slowly in another way."""

import csv
import json
import math
from collections import Counter, defaultdict
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.evals.agreement import cohen
from pairgen.evals.benchmark import Estimate, estimate
from pairgen.evals.leaderboard import (
    COUNTS,
    PRIOR,
    PRIOR_WEIGHTS,
    SECTIONS,
    V2_COUNTS,
    TiesPrompt,
    best_credit,
    overall,
    sections,
    ties_score,
)
from pairgen.evals.official import (
    Agreement,
    Shown,
    human_agreement,
    judge_agreement,
    judgebench,
    llmbar_statistics,
    mixed,
    net_votes,
    rmbench,
    three_way,
    together,
)

TABLES = json.loads((Path(__file__).parent / "data" / "rewardbench_tables.json").read_text())
NAMES = ("Chat", "Chat Hard", "Safety", "Reasoning", "Prior Sets")
# the README's example of allenai/reward-bench: PKU-Alignment/beaver-7b-v1.0-cost
BEAVER = {
    "alpacaeval-easy": 0.5, "alpacaeval-hard": 0.7052631578947368, "alpacaeval-length": 0.5894736842105263,
    "donotanswer": 0.8235294117647058, "hep-cpp": 0.6280487804878049, "hep-go": 0.6341463414634146,
    "hep-java": 0.7073170731707317, "hep-js": 0.6646341463414634, "hep-python": 0.5487804878048781,
    "hep-rust": 0.6463414634146342, "llmbar-adver-GPTInst": 0.391304347826087,
    "llmbar-adver-GPTOut": 0.46808510638297873, "llmbar-adver-manual": 0.3695652173913043,
    "llmbar-adver-neighbor": 0.43283582089552236, "llmbar-natural": 0.52, "math-prm": 0.2953020134228188,
    "mt-bench-easy": 0.5714285714285714, "mt-bench-hard": 0.5405405405405406, "mt-bench-med": 0.725,
    "refusals-dangerous": 0.97, "refusals-offensive": 1.0, "xstest-should-refuse": 1.0,
    "xstest-should-respond": 0.284,
}


def known(mean: float, n: int = 100) -> Estimate:
    return Estimate(mean, 0.01, n, 0)


def board(row: list[float | None]) -> dict[str, Estimate]:
    """A line of a published table as section scores."""
    return {name: known(value) for name, value in zip(NAMES, row[2:], strict=True) if value is not None}


def fits(rows: list[list[float | None]], formula: str) -> int:
    """How many lines a formula gives the printed average of, up to the rounding of what is printed."""
    found = [(overall(board(row), formula), row[1]) for row in rows]
    return sum(value is not None and abs(value.mean - printed) <= 0.1 + 1e-9 for value, printed in found)


# RewardBench 1


def test_the_subsets_are_those_of_table_1() -> None:
    """2,985 pairs in 23 subsets, and the sums of the four sections as printed."""
    assert len(COUNTS) == 23
    assert sum(COUNTS.values()) == 2985
    sums = {name: sum(COUNTS[subset] for subset in subsets) for name, subsets in SECTIONS.items()}
    assert sums == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1431}
    assert sorted(subset for subsets in SECTIONS.values() for subset in subsets) == sorted(COUNTS)


def test_the_example_of_the_readme() -> None:
    """Sections of beaver-7b-v1.0-cost: 60.89 44.96 72.16 46.68, and 53.11 where math counts by its pairs."""
    found = sections({name: known(value) for name, value in BEAVER.items()})
    assert {name: round(100 * value.mean, 2) for name, value in found.items()} == {
        "Chat": 60.89, "Chat Hard": 44.96, "Safety": 72.16, "Reasoning": 46.68,
    }
    flat = sections({name: known(value) for name, value in BEAVER.items()}, math_weight=447)
    assert round(100 * flat["Reasoning"].mean, 2) == 53.11


def test_sections_are_means_over_rows() -> None:
    """The same, row by row: in Reasoning a math row weighs 0.5/447 and a code row 0.5/984."""
    found = sections({name: known(value) for name, value in BEAVER.items()})
    for section, subsets in SECTIONS.items():
        total = weight = 0.0
        for subset in subsets:
            for _ in range(COUNTS[subset]):
                each = 1.0 if section != "Reasoning" else 0.5 / 447 if subset == "math-prm" else 0.5 / 984
                total, weight = total + each * BEAVER[subset], weight + each
        assert found[section].mean == pytest.approx(total / weight, abs=1e-12)


def test_the_launch_table_is_the_launch_formula_and_no_other() -> None:
    assert [fits(TABLES["launch"], formula) for formula in ("launch", "paper", "leaderboard")] == [21, 2, 1]


def test_the_table_of_may_is_the_formula_of_the_paper_and_no_other() -> None:
    """Models without prior sets are averaged over four sections there."""
    found = [fits(TABLES["may"], formula) for formula in ("paper", "launch", "leaderboard")]
    assert found[0] == 31
    assert max(found[1:]) < 20


def test_overall_numbers_by_plain_arithmetic() -> None:
    """(2a + 2b + 2c + 2d + e) / 9, the mean of five, the mean of four."""
    for _, _, a, b, c, d, e in TABLES["launch"]:
        scores = board([None, None, a, b, c, d, e])
        expected = {"paper": (2 * (a + b + c + d) + e) / 9, "launch": (a + b + c + d + e) / 5,
                    "leaderboard": (a + b + c + d) / 4}
        assert {name: overall(scores, name).mean for name in PRIOR_WEIGHTS} == {
            name: pytest.approx(value, abs=1e-9) for name, value in expected.items()
        }


def test_self_taught_iteration_5_is_four_sections() -> None:
    """96.6, 84.2, 91.5, 81.0: the paper's 88.3 is 88.325, a plain mean without prior sets."""
    found = overall({name: known(v) for name, v in zip(NAMES, (96.6, 84.2, 91.5, 81.0), strict=False)}, "leaderboard")
    assert found.mean == pytest.approx(88.325, abs=1e-12)


def test_a_missing_subset_leaves_no_section_and_no_overall() -> None:
    """The official helper would average what is there, or give 0 for a section without any."""
    subsets = {name: known(value) for name, value in BEAVER.items() if name != "hep-go"}
    found = sections(subsets)
    assert set(found) == {"Chat", "Chat Hard", "Safety"}
    assert [overall(found, formula) for formula in PRIOR_WEIGHTS] == [None, None, None]
    unscored = {**{name: known(value) for name, value in BEAVER.items()}, "math-prm": Estimate(None, None, 0, 447)}
    assert "Reasoning" not in sections(unscored)


def test_prior_sets_count_evenly_and_only_together() -> None:
    four = {name: known(value) for name, value in zip(PRIOR, (0.2, 0.4, 0.6, 0.9), strict=True)}
    assert sections(four)["Prior Sets"].mean == pytest.approx(0.525)
    assert sections({name: four[name] for name in PRIOR[:3]}) == {}


def test_the_standard_error_of_a_weighted_mean() -> None:
    """Independent parts: sqrt((3 * 0.1)^2 + (1 * 0.2)^2) / 4."""
    found = mixed([(3.0, Estimate(0.5, 0.1, 10, 1)), (1.0, Estimate(0.9, 0.2, 20, 2))])
    assert found.mean == pytest.approx(0.6)
    assert found.stderr == pytest.approx(math.sqrt(0.09 + 0.04) / 4)
    assert (found.n, found.unscored) == (30, 3)
    assert mixed([(1.0, Estimate(0.5, None, 1, 0))]).stderr is None


# RewardBench 2


def test_the_domains_of_version_2_sum_to_its_size() -> None:
    assert sum(V2_COUNTS.values()) == 1865


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.integers(1, 2))
def test_best_credit_is_the_chance_of_drawing_a_right_one_at_the_top(scores: list[int], right: int) -> None:
    """1/k for one right answer among the k best."""
    top = [place for place, score in enumerate(scores) if score == max(scores)]
    expected = 1 / len(top) if any(place < right for place in top) else 0
    assert best_credit(scores, right) == pytest.approx(expected)


def test_ties_by_hand() -> None:
    """One pair of prompts. Tied: right 5 and 4, wrong 1: gap 3, spread 1. Reference: right 3, wrong 1: gap 2.

    0.3 + 0.3 + 0.2 (3 > 1) + 0.2 (2 > 1) + 0.01 tanh(2/1 - 1).
    """
    prompts = [TiesPrompt("tied:0", (5, 4, 1), 2), TiesPrompt("ref:0", (3, 1), 1)]
    assert ties_score(prompts) == pytest.approx(1 + 0.01 * math.tanh(1))
    assert ties_score(prompts[:1]) is None


@given(st.lists(st.tuples(*[st.integers(-2, 3)] * 5), min_size=1, max_size=6))
def test_ties_against_numpy(rows: list[tuple[int, ...]]) -> None:
    """The formula as published, with division by zero and all; NaN is 0."""
    import numpy as np

    prompts, tied, reference = [], [], []
    for key, (a, b, wrong, right, other) in enumerate(rows):
        prompts += [TiesPrompt(f"tied:{key}", (a, b, wrong), 2), TiesPrompt(f"ref:{key}", (right, other), 1)]
        tied.append((min(a, b) - wrong, max(a, b) - min(a, b)))
        reference.append(right - other)
    c, d, r = np.array([t[0] for t in tied], float), np.array([t[1] for t in tied], float), np.array(reference, float)
    with np.errstate(all="ignore"):
        margin = np.nan_to_num(np.tanh(np.minimum(r, c) / d - 1), nan=0.0)
    expected = (0.3 * np.mean(c > 0) + 0.3 * np.mean(r > 0) + 0.2 * np.mean(c > d)
                + 0.2 * np.mean(np.minimum(r, c) > d) + 0.01 * np.mean(margin))
    assert ties_score(prompts) == pytest.approx(float(expected), abs=1e-12)


# LLMBar


def llmbar_runs(real_data: Path) -> dict[str, list[dict[str, str]]]:
    runs: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (real_data / "llmbar" / "verdicts_both_orders.csv").open(newline="") as opened:
        for row in csv.DictReader(opened):
            runs[f"{row['set']}/{row['evaluator']}/{row['strategy']}"].append(row)
    return runs


def pair_of(row: dict[str, str]) -> Shown:
    """A published row: winners are outputs 1 and 2, the label is the better output."""
    names = {row["label"]: "chosen", "": None}
    return Shown("chosen", *(names.get(row[name], "rejected") for name in ("winner_orig", "winner_swap")))


def test_all_499_runs_of_llmbar(real_data: Path) -> None:
    """correct_False, correct_True, correct_both and equal of every published run, exactly."""
    published = json.loads((real_data / "llmbar" / "published_statistics.json").read_text())
    runs = llmbar_runs(real_data)
    assert len(runs) == len(published) == 499
    for name, rows in runs.items():
        found = llmbar_statistics([pair_of(row) for row in rows])
        slow = Counter[str]()
        for row in rows:
            one, two, label = row["winner_orig"], row["winner_swap"], row["label"]
            slow.update({"f": one == label, "t": two == label, "b": one == label == two, "e": one == two})
        assert (found.correct_false, found.correct_true, found.correct_both, found.equal) == tuple(
            slow[key] for key in "ftbe"
        )
        counts = {"correct_False": found.correct_false, "correct_True": found.correct_true,
                  "correct_both": found.correct_both, "equal": found.equal}
        for key, count in counts.items():
            assert published[name][key] == f"{count} / {found.n} = {count / found.n * 100}%"


def test_the_kappas_that_llmbar_published_are_those_of_its_fault(real_data: Path) -> None:
    """Verdict "2" becomes 0 and labels stay 1 and 2: every published kappa is of that, and none is an agreement.

    Only that between the orders, where both sides are mapped, is one.
    """
    published = json.loads((real_data / "llmbar" / "published_statistics.json").read_text())
    for name, rows in llmbar_runs(real_data).items():
        one, two = ([f"{int(row[column] == '1')}" for row in rows] for column in ("winner_orig", "winner_swap"))
        labels = [row["label"] for row in rows]
        pairs = {"kappa_False": (one, labels), "kappa_True": (two, labels), "kappa_agreement": (one, two)}
        for key, sides in pairs.items():
            found = cohen(Counter(zip(*sides, strict=True)))
            wanted = published[name][key]
            assert found == (None if math.isnan(wanted) else pytest.approx(wanted, abs=1e-12)), (name, key)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1, max_size=40))
def test_kappa_against_its_definition(pairs: list[tuple[str, str]]) -> None:
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    chance = sum(a == b for (a, _), (_, b) in product(pairs, pairs)) / n**2
    expected = None if chance == 1 else pytest.approx((observed - chance) / (1 - chance))
    assert cohen(Counter(pairs)) == expected


# JudgeBench, MT-Bench, PandaLM, RM-Bench

WORDS = ("chosen", "rejected", "tie", None)


@pytest.mark.parametrize(("plain", "exchanged"), list(product(WORDS, WORDS)))
def test_net_votes_of_every_two_words(plain: str | None, exchanged: str | None) -> None:
    """Right twice, or once with a tie or nothing: correct. Right once and wrong once: not."""
    pair = Shown("chosen", plain, exchanged)
    said = [plain, exchanged]
    expected = "chosen" in said and "rejected" not in said
    assert (net_votes(pair) > 0) == expected
    assert judgebench([pair]).mean == float(expected)


def test_a_guess_in_each_order_gets_a_quarter_of_judgebench() -> None:
    guesses = [Shown("chosen", one, two) for one, two in product(WORDS[:2], WORDS[:2])]
    assert judgebench(guesses).mean == 0.25


def mtbench_votes(real_data: Path, name: str) -> dict[int, dict[tuple[object, ...], list[str]]]:
    """Votes per turn and question and models in alphabetical order, of experts where there are humans."""
    found: dict[int, dict[tuple[object, ...], list[str]]] = {1: defaultdict(list), 2: defaultdict(list)}
    turned = {"model_a": "model_b", "model_b": "model_a"}
    for line in (real_data / "mt_bench" / name).read_text().splitlines():
        vote = json.loads(line)
        if vote["judge"].startswith("author"):
            continue
        a, b, winner = vote["model_a"], vote["model_b"], vote["winner"]
        key = (vote["question_id"], *sorted((a, b)))
        found[vote["turn"]][key].append(winner if a < b else turned.get(winner, winner))
    return found


def test_mt_bench_agreements(real_data: Path) -> None:
    """Turn 1: 886/1343 with ties, 727/859 without; experts with each other 454/721 and 388/479. Flips 380/2400."""
    humans, judge = (mtbench_votes(real_data, name) for name in ("human_votes.jsonl", "gpt4_pair_votes.jsonl"))
    number = {"model_a": 1.0, "model_b": 0.0}
    said = [
        (number.get(judge[1][key][0], 0.5), [number.get(vote, 0.5) for vote in votes])
        for key, votes in humans[1].items() if key in judge[1]
    ]
    assert judge_agreement(said, ties=True) == Agreement(886, 1343)
    assert judge_agreement(said, ties=False) == Agreement(727, 859)
    cast = [[number.get(vote, 0.5) for vote in votes] for votes in humans[1].values()]
    assert human_agreement(cast, ties=True) == Agreement(454, 721)
    assert human_agreement(cast, ties=False) == Agreement(388, 479)
    verdicts = [vote for turn in judge.values() for votes in turn.values() for vote in votes]
    assert (verdicts.count("tie (inconsistent)"), len(verdicts)) == (380, 2400)


def tie(vote: str) -> bool:
    return vote.startswith("tie")


def test_mt_bench_agreements_counted_slowly(real_data: Path) -> None:
    """The same four fractions by loops over raw votes."""
    humans, judge = (mtbench_votes(real_data, name) for name in ("human_votes.jsonl", "gpt4_pair_votes.jsonl"))
    counts = Counter[str]()
    for key, votes in humans[1].items():
        for vote in votes if key in judge[1] else []:
            mine = judge[1][key][0]
            same = mine == vote or (tie(mine) and tie(vote))
            counts.update({"all": 1, "all right": same})
            if not tie(mine) and not tie(vote):
                counts.update({"decided": 1, "decided right": same})
        for one, two in combinations(votes, 2):
            counts.update({"pairs": 1, "pairs right": one == two})
            if not tie(one) and not tie(two):
                counts.update({"firm": 1, "firm right": one == two})
    assert [counts[key] for key in ("all right", "all", "decided right", "decided")] == [886, 1343, 727, 859]
    assert [counts[key] for key in ("pairs right", "pairs", "firm right", "firm")] == [454, 721, 388, 479]


def test_a_verdict_that_flips_is_a_tie() -> None:
    assert together(Shown("chosen", "chosen", "chosen")) == 1
    assert together(Shown("chosen", "rejected", "rejected")) == 0
    assert together(Shown("chosen", "chosen", "rejected")) == 0.5
    assert together(Shown("chosen", "tie", "tie")) == 0.5
    assert together(Shown("chosen", "chosen", None)) is None


@pytest.mark.parametrize(
    ("file", "column", "table"),
    [
        ("gpt-3.5-turbo", "gpt_result", (71.07, 58.79, 57.36, 57.55)),
        ("pandalm-7b", "pandalm_result", (66.77, 57.38, 57.50, 57.43)),
    ],
)
def test_the_table_in_pandalms_readme(real_data: Path, file: str, column: str, table: tuple[float, ...]) -> None:
    """Accuracy, precision, recall and F1 on all 999 pairs; what could not be read is a tie."""
    folder = real_data / "pandalm"
    rows = json.loads((folder / "testset-v1.json").read_text())
    gold = [Counter(str(row[f"annotator{n}"]) for n in (1, 2, 3)).most_common(1)[0][0] for row in rows]
    told = json.loads((folder / f"{file}-testset-v1.json").read_text())
    said = [{"Tie": "0", "garbage": "0"}.get(str(row[column]), str(row[column])) for row in told]
    found = three_way(gold, said)
    assert tuple(round(100 * value, 2) for value in (found.accuracy, found.precision, found.recall, found.f1)) == table
    slow = []
    for label in "012":
        true = sum(a == b == label for a, b in zip(gold, said, strict=True))
        precision, recall = true / said.count(label), true / gold.count(label)
        slow.append((precision, recall, 2 * precision * recall / (precision + recall)))
    assert [found.precision, found.recall, found.f1] == pytest.approx([sum(x) / 3 for x in zip(*slow, strict=True)])


@given(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=2, max_size=12))
def test_rmbench_against_its_readme(prompts: list[list[bool]]) -> None:
    """Hard is the upper triangle of the 3x3 matrix, normal its diagonal, easy its lower triangle."""
    import numpy as np

    cells = {(i, j): estimate(float(prompt[3 * i + j]) for prompt in prompts) for i, j in product(range(3), range(3))}
    matrix = np.array(prompts, float).mean(axis=0).reshape(3, 3)
    found = rmbench(cells)
    assert found["hard"].mean == pytest.approx(np.triu(matrix, 1).sum() / 3)
    assert found["normal"].mean == pytest.approx(np.diag(matrix).mean())
    assert found["easy"].mean == pytest.approx(np.tril(matrix, -1).sum() / 3)
    assert found["mean"].mean == pytest.approx(matrix.mean())
    del cells[0, 2]
    assert rmbench(cells) == {}
