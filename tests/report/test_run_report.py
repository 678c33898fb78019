"""What the report of a run says, and that it says nothing where there is nothing to say."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_sample import SAMPLE

from pairgen.errors import UsageError
from pairgen.report.charts import Bars, Line, bar_chart, line_chart
from pairgen.report.headline import headline, metric_name
from pairgen.report.run import run_report
from pairgen.report.summary import IterationSummary, RunSummary, StepFlow, load_reference


def sections(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_the_headline_says_what_rose_and_what_fell_with_intervals() -> None:
    found = headline(SAMPLE)
    assert found.better == (
        "Other task types (in the loop, never shown judged): accuracy (mean of both orders) rose from "
        "0.607 to 0.978, +37.1 points (95 % interval +33.0 to +41.2, 500 items).",
    )
    assert [said.split(":")[0] for said in found.worse] == [
        "Task types outside the loop",
        "Answering questions",
    ]
    assert "-34.0 points (95 % interval -39.3 to -28.7, 300 items)" in found.worse[1]
    assert len(found.unclear) == 1


def test_every_section_is_there_and_in_order() -> None:
    assert sections(run_report(SAMPLE)) == [
        "In short",
        "By iteration",
        "Learning curves",
        "What else changed",
        "Inside the loop",
        "Training",
        "Rows in, rows out",
        "Time and tokens",
        "Samples",
        "Configuration",
    ]


def test_a_run_that_made_nothing_yet_still_has_a_report() -> None:
    bare = RunSummary("t", "c", "", "0", (), ())
    assert sections(run_report(bare)) == ["In short"]
    assert "No two iterations were compared." in run_report(bare)
    seed_only = replace(SAMPLE, iterations=SAMPLE.iterations[:1], changes=(), flows=(), samples=())
    assert sections(run_report(seed_only)) == ["In short", "By iteration", "Configuration"]


def test_what_was_not_measured_is_a_dash_and_never_a_zero() -> None:
    unscored = {"mean": None, "stderr": None, "n": 0, "unscored": 500}
    last = IterationSummary(6, {"other": {"accuracy": unscored}})
    html = run_report(replace(SAMPLE, iterations=(*SAMPLE.iterations, last)))
    assert re.search(r'<th scope="row">6</th>\s*<td class="num">–</td>\s*<td class="num">–</td>', html)


def test_what_answering_cost_is_told_by_step_and_together() -> None:
    """Unknown prices make the cost the most it can have been; evaluations are paid for and move no rows."""
    flows = (
        StepFlow("write", 10, 10, {}, 20, 5, 3000, 900, 1.25, 3.0),
        StepFlow("judge", 10, 9, {"empty": 1}, 10, 0, 2000, 100, 0.5, 2.0, unpriced=3),
        StepFlow("own", 9, 9, {}, 4, 0, 10, 10, 0.0, 1.0, unpriced=4),
        StepFlow("heldout", 50, 50, {}, 100, 0, 9000, 800, 0.25, 4.0, evaluation=True),
    )
    html = run_report(replace(SAMPLE, flows=flows, iterations=()))
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    told = {row[0]: row[1:] for row in cells if len(row) == 7}
    assert told["write"] == ["20", "5", "3,000", "900", "3.0 s", "$1.250"]
    assert told["judge"][-1] == "$0.500 at most"
    assert told["own"][-1] == "unknown"
    assert told["together"] == ["134", "5", "14,010", "1,810", "10.0 s", "$2.000 at most"]
    assert "50" not in {row[1] for row in cells if len(row) == 4}
    assert next(row for row in cells if row[0] == "write") == ["write", "10", "10", "0"]


def test_reference_curves_are_drawn_beside_the_run() -> None:
    html = run_report(SAMPLE)
    assert "random-filter control: 0 → 0.607, 1 → 0.608" in html
    assert "recorded study: prototype study" in html
    without = run_report(replace(SAMPLE, reference=None))
    assert "random-filter" not in without
    assert "recorded study" not in without


def test_a_reference_study_is_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    assert SAMPLE.reference is not None
    path.write_text(SAMPLE.reference.model_dump_json())
    assert load_reference(path) == SAMPLE.reference


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"title": "t"}', "curves: Field required"),
        (
            json.dumps(
                {
                    "title": "t",
                    "curves": [
                        {
                            "name": "n",
                            "suite": "s",
                            "metric": "m",
                            "points": [{"iteration": 0, "mean": "high"}],
                        }
                    ],
                }
            ),
            "curves.0.points.0.mean",
        ),
    ],
)
def test_a_broken_reference_study_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(str(path))) as error:
        load_reference(path)
    assert said in str(error.value)
    with pytest.raises(UsageError, match="cannot be read"):
        load_reference(tmp_path / "none.json")


def test_charts_say_their_numbers_and_follow_the_theme() -> None:
    chart = str(line_chart("c", [Line("a", (0, 1), (0.5, 0.75), (0.1, 0.1))], "iteration", "accuracy"))
    assert 'aria-label="accuracy by iteration. a: 0 → 0.5, 1 → 0.75"' in chart
    assert "var(--series-0)" in chart
    assert not re.search(r"#[0-9a-f]{6}\b|style=|font-family", chart)
    bars = str(
        bar_chart("b", ["1", "2"], [Bars("train", (20, 21)), Bars("judge", (8, 9))], "iteration", "seconds")
    )
    assert "1: train 20, judge 8; 2: train 21, judge 9" in bars


def test_a_line_is_drawn_where_its_numbers_are() -> None:
    """Equal steps in the data are equal steps in the drawing."""
    chart = str(line_chart("c", [Line("a", (0, 1, 2), (0.2, 0.4, 0.6))], "x", "y"))
    path = max(re.findall(r'<path d="([^"]*)" clip-path', chart), key=len)
    at = [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
    assert len(at) == 3
    assert at[1][0] - at[0][0] == pytest.approx(at[2][0] - at[1][0], abs=1e-3)
    assert at[0][1] - at[1][1] == pytest.approx(at[1][1] - at[2][1], abs=1e-3)
    assert at[0][1] > at[2][1]


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("accuracy", "accuracy (mean of both orders)"),
        ("sampled_consistency", "sampled consistency over both orders"),
        ("own_number", "own number"),
        ("sampled_", "sampled "),
    ],
)
def test_metric_names(metric: str, name: str) -> None:
    assert metric_name(metric) == name


def test_importing_the_report_loads_nothing_heavy() -> None:
    code = (
        "import sys, pairgen.report.run, pairgen.report.terminal;"
        "print([m for m in ('matplotlib', 'jinja2', 'numpy', 'pyarrow', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
