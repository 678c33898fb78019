"""docs/judges.md says what is there: its code runs, its prompts exist, its parsers and numbers are named right."""

import json
import re
from pathlib import Path

import pytest

from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.slices import judge_metrics
from pairgen.prompts import load_prompt
from pairgen.records import ORDERS
from pairgen.resources import ROOT

TEXT = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1:-1] for line in TEXT.splitlines() if re.match(r"\| `(judges/|judge\.md)", line)]


def test_the_examples_run() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(code, {})


def test_every_shipped_judge_is_listed_once() -> None:
    named = [name for cells in ROWS for name in re.findall(r"`(judges/[^`]+)`", cells[0])]
    shipped = [f"judges/{path.name}" for path in (ROOT / "prompts" / "judges").glob("*.md")]
    assert sorted(named) == sorted(shipped)


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0].strip())
def test_parsers_are_as_listed(cells: list[str]) -> None:
    names, parsers = (re.findall(r"`([^`]+)`", cell) for cell in cells[:2])
    used = [load_prompt(name).parser for name in names]
    assert set(used) - {None} == set(parsers)


def test_every_number_is_listed() -> None:
    """Rows that make every number of pairs: their names are those of the table."""
    replies = [
        EvalReply(mode, order, 0, "", "A", "ok", "A" if order == ORDERS[0] else "B", 1, confidence=0.7)
        for mode in ("greedy", "sampled") for order in ORDERS
    ]
    answers = [("x" * 40, "x"), ("x", "x" * 40), ("x", "y")]
    rows = [EvalItem(str(i), "g", "q", pair, tuple(replies)) for i, pair in enumerate(answers)]
    rows.append(EvalItem("tie", "g", "q", ("x", "y"), tuple(replies), right=0))
    found = {name for name in judge_metrics(rows) if not name.startswith("sampled_")}
    table = TEXT.split("## Numbers for pairs")[1].split("## Prompts")[0]
    listed = {name for line in table.splitlines() if line.startswith("| `")
              for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert found == listed


@pytest.mark.parametrize(
    ("name", "published"),
    [("mtbench_tie", "pair-v2"), ("mtbench_tie_reference", "pair-math-v1"), ("mtbench_rating", "single-v1")],
)
def test_mt_benchs_prompts_are_its_own_to_the_letter(real_data: Path, name: str, published: str) -> None:
    lines = (real_data / "mt_bench" / "judge_prompts.jsonl").read_text().splitlines()
    found = {line["name"]: line for line in map(json.loads, lines)}[published]
    holes = {"question": "instruction", "ref_answer_1": "reference"}
    prompt = load_prompt(f"judges/{name}.md")
    assert prompt.system == found["system_prompt"]
    assert prompt.user == re.sub(r"\{(\w+)\}", lambda m: f"{{{{{holes.get(m[1], m[1])}}}}}", found["prompt_template"])


def test_prometheus_prompts_are_those_of_its_benchmark(real_data: Path) -> None:
    """Vicuna-Bench ships its prompts filled. Ours, filled with the same, is that one but for the word "Feedback: "
    in the format's description, which the later library leaves out."""
    line = json.loads((real_data / "prometheus_eval" / "vicuna_eval.json").read_text())[0]
    text = line["instruction"]
    parts = re.search(
        r"###The instruction to evaluate:\n(.*)\n\n###Response to evaluate:\n(.*)\n\n###Reference Answer \(Score 5\):\n"
        r"(.*)\n\n###Score Rubrics:\n(.*)\n\n###Feedback: ?\Z", text, re.DOTALL,
    )
    assert parts is not None
    instruction, answer, reference, rubric = parts.groups()
    prompt = load_prompt("judges/prometheus_absolute_reference.md")
    ours = prompt.render(instruction=instruction, answer=answer, reference=reference, rubric=rubric)[-1].content
    assert ours == text.replace('"Feedback: (write', '"(write')
