"""docs/clair.md is executed: its transcript is what the demonstration says, its commands and options exist."""

import json
import re
import shlex
from pathlib import Path

import pytest
from loop_lab import REPOSITORY, pairgen

from pairgen.loop.config import load_experiment

DOC = (REPOSITORY / "docs" / "clair.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)


def squeezed(text: str) -> list[str]:
    """The lines of a transcript without times and with single spaces."""
    return [" ".join(re.sub(r"\d+\.\d+s", "", line).split()) for line in text.splitlines()]


def test_the_demonstration(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run, show, drops and export, as the page shows them, word for word apart from times."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    said = ""
    for block in (BLOCKS[0], BLOCKS[-1]):
        for line in (line for line in block.splitlines() if line.startswith("$ pairgen")):
            words = shlex.split(line.removeprefix("$ "))[1:]
            if words[0] == "train":
                continue
            done = pairgen(capfd, *words)
            assert done.code == 0, done.err
            said += done.out + done.err
        shown = [line for line in squeezed(block) if line and not line.startswith(("$", "..."))]
        missing = [line for line in shown if line not in squeezed(said)]
        assert not missing, missing


def test_its_rows_train(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last command plans a training on what the demonstration made."""
    monkeypatch.chdir(tmp_path)
    assert pairgen(capfd, "run", "clair-demo", "-q").code == 0
    (line,) = [line for line in BLOCKS[-1].splitlines() if line.startswith("$ pairgen train")]
    done = pairgen(capfd, *shlex.split(line)[2:])
    assert done.code == 0, done.err
    assert "4 to train on" in done.out


def test_every_option_and_pipeline_it_names(tmp_path: Path) -> None:
    """Each `--set` of the page is valid in the pipeline it is about, and each pipeline exists."""
    data = tmp_path / "prompts.jsonl"
    data.write_text(json.dumps({"prompt": "Why?", "completions": [], "answer": "#### 1"}) + "\n")
    homes = {"clair-pairs": "clair", "on-policy-pairs": "on-policy-judge", "rounds": "clair-rounds"}
    found = re.findall(r"--set (?:'([^']+)'|([\w.=\-]+))", DOC)
    sets = [a or b for a, b in found if (a or b).startswith(("stages.", "engines."))]
    assert len(sets) >= 6
    for item in sets:
        key = item.split("=")[0].split(".")
        load_experiment(homes.get(key[1], "clair"), [f"data.path={data}", item.replace("=...", "=x")])
    for name in re.findall(r"pairgen run ([\w-]+)", DOC):
        load_experiment(name, [f"data.path={data}"])
