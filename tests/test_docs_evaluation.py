"""docs/evaluation.md: its commands exist with these options, its suites and prompts too, its numbers are measured."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from loop_lab import REPOSITORY, pairgen

from pairgen.cli import app
from pairgen.evals.suites.llmbar import LLMBar
from pairgen.loop.assessed import baselines_of, by_group
from pairgen.prompts import load_prompt
from pairgen.registry import names

DOC = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
COMMANDS = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_exists_with_its_options(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["pairgen", "eval"]
    group = typer.main.get_command(app).commands["eval"]
    verb = words[2] if words[2] in group.commands else "suite"
    context = group.commands[verb].make_context(verb, words[2 + (verb != "suite"):], resilient_parsing=False)
    if suite := context.params.get("suite"):
        assert suite in names("pairgen.evals.suites")
    if prompt := context.params.get("prompt"):
        load_prompt(prompt)


def test_the_pages_first_evaluation_runs(capfd: pytest.CaptureFixture[str], tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """The world's suite with the script in the model's place, in the folder the page names."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(next(c for c in COMMANDS if "world-judging" in c).replace("--model builtin:world/seed-a", ""))
    said = pairgen(capfd, *words[1:], "--engine", "scripted", "--set", "engine.default='[[A]]'", "--limit", "20", "-q")
    assert said.code == 0, said.err
    folder = tmp_path / "runs" / "eval" / "world-judging-scripted"
    assert {path.name for path in folder.iterdir()} >= {"journal.db", "result.json", "report.html", "config.yaml"}
    assert len(list(folder.glob("world-judging@*/manifest.json"))) == 1


def test_what_the_longer_answer_gets_is_as_the_page_says(real_data: Path) -> None:
    benchmark = LLMBar(id="llmbar", use="llmbar", path=str(real_data / "llmbar"))
    asked = [item.row() for item in benchmark.items()]
    groups = by_group(benchmark, baselines_of(benchmark, asked)["longer"])
    adversarial = [groups[name]["accuracy"]["mean"] or 0 for name in ("neighbor", "gptinst", "gptout", "manual")]
    assert (round(min(adversarial), 2), round(max(adversarial), 2)) == (0.12, 0.45)
