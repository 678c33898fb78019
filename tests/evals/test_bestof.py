"""Best of n against every subset spelled out, and by the command line."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_lab import Said, pairgen

from pairgen.evals.bestof import Pool, curve, expected, sizes
from pairgen.records import Message

NUMBERS = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=7), st.data())
def test_it_is_the_mean_over_every_subset(answers: list[tuple[float, float]], data: Any) -> None:
    """The pick of a subset is its best-scored answer, level ones sharing; all subsets of n count alike."""
    n = data.draw(st.integers(1, len(answers)))
    picks = []
    for subset in combinations(answers, n):
        best = max(score for score, _ in subset)
        picks.append(fmean(value for score, value in subset if score == best))
    scores, values = zip(*answers, strict=True)
    assert expected(scores, values, n) == pytest.approx(fmean(picks), abs=1e-9)


def test_the_oracle_is_the_textbooks_pass_at_n() -> None:
    """With right or wrong answers the oracle's best of n is 1 - C(wrong, n) / C(N, n) (2107.03374)."""
    values = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert expected(values, values, 1) == pytest.approx(0.3)
    assert expected(values, values, 2) == pytest.approx(1 - 21 / 45)
    assert expected(values, values, 8) == 1


def pool(scores: tuple[float, ...], values: tuple[float, ...]) -> Pool:
    return Pool("here", (Message("user", "q"),), tuple("abcdefgh"[: len(values)]), scores, values)


def test_curves_stand_between_chance_and_the_oracle() -> None:
    pools = [pool((4, 3, 2, 1), (1, 0, 1, 0)), pool((1, 2, 3, 4, 5), (0, 0, 1, 0, 1))]
    assert sizes(pools) == [1, 2, 4]
    scored, oracle, coin = (curve(pools, picker, [1, 4]) for picker in ("scores", "oracle", "random"))
    assert [c[1].mean for c in (scored, oracle, coin)] == pytest.approx([(0.5 + 0.4) / 2] * 3)
    assert oracle[4].mean == 1
    assert coin[4].mean == pytest.approx(0.45)
    assert scored[4].mean == pytest.approx((1 + 4 / 5 * 1 + 1 / 5 * 0) / 2)
    assert scored[4].n == 2


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command, in this process."""
    return lambda *args: pairgen(capfd, "eval", "bestof", *args)


def test_by_the_command_line(cli: Callable[..., Said], tmp_path: Path) -> None:
    rows = [{"prompt": "q", "answers": ["a", "b", "c"], "scores": [3, 2, 1], "correct": [True, False, False]}]
    data = tmp_path / "pools.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    found = json.loads(cli(data, "--json").out)
    assert (found["prompts"], found["n"]) == (2, [1, 2, 3])
    assert [value["mean"] for value in found["scores"]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [value["mean"] for value in found["random"]] == pytest.approx([1 / 3] * 3)
    assert "expected value of the pick, mean over 2 prompts" in cli(data).out


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no answers": ({"prompt": "q", "scores": [1]}, "pools.jsonl:1: no column 'answers'"),
    "one score missing": ({"prompt": "q", "answers": ["a", "b"], "scores": [1]}, "scores must be a list of 2 numbers"),
    "no values": ({"prompt": "q", "answers": ["a"], "scores": [1]}, "nobody knows how good the picks are"),
    "no scores": ({"prompt": "q", "answers": ["a"], "values": [1]}, "no column scores; give --reward-model"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_cannot_be_used_is_named(cli: Callable[..., Said], tmp_path: Path, case: str) -> None:
    row, says = BAD[case]
    data = tmp_path / "pools.jsonl"
    data.write_text(json.dumps(row) + "\n")
    said = cli(data)
    assert said.code == 2
    assert says in said.line
