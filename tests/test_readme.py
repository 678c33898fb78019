"""What the README says to type exists: its commands are parsed and its pipelines planned."""

import re
import shlex
from pathlib import Path

import pytest
from loop_lab import REPOSITORY, pairgen

README = REPOSITORY / "README.md"
BLOCK = re.compile(r"^```(?:sh|bash|console|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(first: str) -> list[list[str]]:
    """The lines of the README's shell blocks that begin with a word, split as a shell would."""
    if not README.exists():
        return []
    joined = "\n".join(BLOCK.findall(README.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = (line.removeprefix("$ ").split("  #")[0].strip() for line in joined.splitlines())
    return [shlex.split(line) for line in lines if line.split(" ")[0] == first]


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert {command[1] for command in commands("make")} <= targets


@pytest.mark.parametrize("command", commands("pairgen"), ids=" ".join)
def test_every_command_can_be_typed(
    command: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are planned; other verbs must know their options (their run folder is not there)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_instructions.jsonl").write_text('{"text": "4713: first"}\n')
    verb, *rest = command[1:]
    if verb in ("run", "plan"):
        said = pairgen(capfd, "plan", *(word for word in rest if word not in ("-q", "--quiet")))
        assert said.code == 0, said.err
    else:
        said = pairgen(capfd, verb, *rest)
        assert "No such" not in said.err, said.err
