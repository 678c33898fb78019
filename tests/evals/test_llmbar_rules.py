"""One judge, six rules: the published verdicts of LLMBar give the specification's table to the printed digit,
and choosing the longer answer gives its baselines."""

import csv
import json
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from pairgen.evals import baselines
from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.items import PairItem
from pairgen.evals.slices import judge_metrics
from pairgen.records import ORDERS, gold_label

SETS = ("natural", "neighbor", "gptinst", "gptout", "manual")
TABLE = {
    ("GPT-4", "Vanilla"): (82.8, 86.2, 84.5, 86.2, 80.9, 92.8, 51.2, 85.7, 83.3),
    ("GPT-4", "CoT"): (81.1, 81.4, 81.3, 81.4, 75.9, 89.3, 52.3, 83.5, 79.0),
    ("PaLM2", "Vanilla"): (68.0, 71.6, 69.8, 71.6, 56.1, 72.6, 55.6, 75.9, 63.7),
    ("ChatGPT", "CoT"): (40.1, 40.6, 40.3, 40.6, 19.6, 58.2, 69.5, 60.1, 20.5),
    ("Falcon", "CoT"): (51.6, 52.5, 52.0, 52.5, 8.6, 12.6, 93.1, 95.2, 8.8),
}
"""order 1, order 2, average, best of 2, consistent, consistency, first slot, winner first / second; in percent."""


@cache
def verdicts(path: Path) -> dict[tuple[str, str], list[dict[str, str]]]:
    found = defaultdict(list)
    with path.open() as file:
        for line in csv.DictReader(file):
            if line["set"] in SETS:
                found[line["evaluator"], line["strategy"]].append(line)
    return found


def item_row(line: dict[str, str]) -> EvalItem:
    """The original order shows output 1 first; a blank is a reply nobody could read."""
    replies = []
    for column, first in (("winner_orig", "1"), ("winner_swap", "2")):
        winner = line[column]
        order = ORDERS[0] if first == line["label"] else ORDERS[1]
        answer = None if not winner else "A" if winner == first else "B"
        replies.append(EvalReply("greedy", order, 0, column, answer, "ok", gold_label(order), 0))
    return EvalItem(f"{line['set']}-{line['idx']}", line["set"], "", ("", ""), tuple(replies))


def in_column(rows: list[EvalItem], column: str) -> float:
    """The share of right verdicts in the order that the authors ran first or second."""
    return sum(reply.right for row in rows for reply in row.replies if reply.text == column) / len(rows)


@pytest.mark.parametrize("run", list(TABLE))
def test_six_rules_for_one_judge(real_data: Path, run: tuple[str, str]) -> None:
    """The table's first-slot rate is of all replies; ours is of those that can be read, hence the product."""
    rows = [item_row(line) for line in verdicts(real_data / "llmbar" / "verdicts_both_orders.csv")[run]]
    assert len(rows) == 419
    found = {name: value.mean for name, value in judge_metrics(rows).items()}
    one, two = in_column(rows, "winner_orig"), in_column(rows, "winner_swap")
    got = (
        one, two, found["accuracy"], max(one, two), found["consistent_accuracy"], found["consistency_loose"],
        found["first_slot"] * found["parse_rate"], found["accuracy_chosen_first"], found["accuracy_rejected_first"],
    )
    assert [round(100 * value, 1) for value in got] == list(TABLE[run])


KEYS = ("correct_False", "correct_True", "correct_both", "equal")


def test_every_published_statistic(real_data: Path) -> None:
    """499 runs: right in each order, right in both, and agreement of the orders, as the authors counted them."""
    published = json.loads((real_data / "llmbar" / "published_statistics.json").read_text())
    with (real_data / "llmbar" / "verdicts_both_orders.csv").open() as file:
        runs = defaultdict(list)
        for line in csv.DictReader(file):
            runs[f"{line['set']}/{line['evaluator']}/{line['strategy']}"].append(item_row(line))
    assert len(published) == len(runs) == 499
    for name, rows in runs.items():
        found, expected = judge_metrics(rows), published[name]
        got = (in_column(rows, "winner_orig"), in_column(rows, "winner_swap"), found["consistent_accuracy"].mean,
               found["consistency_loose"].mean)
        counted = tuple(int(expected[key].split()[0]) for key in KEYS)
        assert tuple(round(value * len(rows)) for value in got) == counted, name


LONGER = {
    "natural": 56.5, "neighbor": 11.9, "gptinst": 13.0, "gptout": 44.7, "manual": 18.5,
    "case_constraint": 32.6, "case_negation": 30.5, "llmeval2": 61.3, "mtbench_human200": 69.2,
}


@pytest.mark.parametrize("name", list(LONGER))
def test_choosing_the_longer_answer(real_data: Path, name: str) -> None:
    """Length alone, in percent: the specification's baselines."""
    items = []
    for i, line in enumerate(json.loads((real_data / "llmbar" / f"{name}.json").read_text())):
        outputs = (line["output_1"], line["output_2"])
        chosen, rejected = outputs if line["label"] == 1 else outputs[::-1]
        items.append(PairItem(str(i), name, line["input"], chosen, rejected))
    rows = baselines.rows(items)
    found = judge_metrics(rows["longer"])
    assert round(100 * found["accuracy"].mean, 1) == LONGER[name]
    assert found["accuracy_gold_longer"].mean == 1
    assert found["accuracy_gold_shorter"].mean == 0
    assert "consistency" not in found
    first = judge_metrics(rows["always-first"])
    assert (first["accuracy"].mean, first["consistency"].mean, first["first_slot"].mean) == (0.5, 0, 1)
