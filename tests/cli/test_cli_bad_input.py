"""What a user gets wrong is one line on stderr, its own exit code, and nothing half-written."""

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from loop_lab import Said, pairgen, run, steps, tree, write

from pairgen import failpoints, fs
from pairgen.locks import lock

Cli = Callable[..., Said]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    return lambda *args: pairgen(capfd, *args)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one iteration and its pipeline, never changed."""
    root = tmp_path_factory.mktemp("finished")
    run(write(root), root / "run", iters=1)
    return root


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


DATA: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("none.jsonl", None, "none.jsonl: no such file"),
    "empty": ("empty.jsonl", b"", "empty.jsonl: is empty"),
    "no column": ("odd.jsonl", b'{"prompts": "x"}\n', "odd.jsonl:1: which column holds the instruction?"),
    "not JSON": ("bad.jsonl", b'{"text": "x"}\n{"text": \n', "bad.jsonl:2: not JSON"),
    "not UTF-8": ("latin.jsonl", b'{"text": "x"}\n{"text": "\xe9"}\n', "latin.jsonl:2: not UTF-8"),
    "unknown kind": ("notes.docx", b"hello", "notes.docx: unknown kind of file"),
    "a folder": ("folder", None, "folder: is a folder"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_read(cli: Cli, tmp_path: Path, case: str) -> None:
    """File and line are named; no step is sealed, and no temporary file is left."""
    name, content, says = DATA[case]
    path, folder = tmp_path / name, tmp_path / "run"
    if content is not None:
        path.write_bytes(content)
    elif case == "a folder":
        path.mkdir()
    said = cli("run", write(tmp_path / "pipeline"), "--run-dir", folder, "--set", f"data.path={path}", "-q")
    assert said.code == 2
    assert says in said.line
    assert not list(folder.glob("*/manifest.json"))
    assert not list(folder.rglob(f"*{fs.TEMP}"))


def test_a_missing_file_leaves_no_run_folder(cli: Cli, tmp_path: Path) -> None:
    cli("run", write(tmp_path), "--run-dir", tmp_path / "run", "--set", "data.path=none.jsonl")
    assert not (tmp_path / "run").exists()


NAMES = {
    "run self-tought": "no pipeline 'self-tought': did you mean 'self-taught'?",
    "plan none.yaml": "none.yaml: no such pipeline file",
    "plan {} --set engines.policy.use=scriptd": "engines.policy.use: no 'scriptd' in engines: did you mean",
    "plan {} --set engines.policy.concurency=1": "unknown key; did you mean 'concurrency'?",
    "plan {} --set loop.stages.juged.n=1": "no 'juged' in the list: did you mean 'judged'?",
    "plan {} --set loop.stages.judged.use=juge": "did you mean 'judge'?",
    "plan {} --set loop.stages.judged.engine=polcy": "no engine 'polcy': did you mean 'policy'?",
    "plan {} --set loop.train.learning_rat=1": "unknown key; did you mean 'learning_rate'?",
    "plan {} --set loop.train.learning_rate=fast": "loop.train.learning_rate: input should be a valid number",
    "plan {} --set loop.train_on=[sfd]": "loop.train_on: no step 'sfd': did you mean 'sft'?",
    "plan {} --set loop.policy=polcy": "loop.policy: no engine 'polcy'",
    "plan {} --set novalue": "--set 'novalue': write it as key.path=value",
    "status {}": "not a run folder",
    "report {}": "not a run folder",
    "show {}": "neither a run folder, a finished step folder nor an .arrow shard",
    "show none.arrow": "none.arrow: no such file",
}


@pytest.mark.parametrize("command", NAMES)
def test_names_that_do_not_exist(cli: Cli, tmp_path: Path, command: str) -> None:
    """The nearest valid name is offered."""
    pipeline = write(tmp_path)
    said = cli(*(str(pipeline) if word == "{}" else word for word in command.split()))
    assert (said.code, said.out) == (2, "")
    assert NAMES[command] in said.line


@pytest.mark.parametrize("use", ["transformers", "vllm"])
def test_a_model_folder_that_is_not_there(cli: Cli, tmp_path: Path, use: str) -> None:
    """A path is not looked for on the hub, and nothing is written."""
    model, config = tmp_path / "no-model", tree()
    config["engines"]["policy"] = {"use": use, "model": str(model)}
    said = cli("run", write(tmp_path, config), "--run-dir", tmp_path / "run", "-q")
    assert said.code == 2
    assert f"{model}: no such folder" in said.line
    assert not (tmp_path / "run").exists()


def test_a_model_folder_without_a_model(cli: Cli, tmp_path: Path) -> None:
    said = cli("plan", write(tmp_path), "--set", f"engines.policy.model={tmp_path}")
    assert said.code == 2
    assert f"{tmp_path}: no model here" in said.line


def test_an_engine_that_is_not_installed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is in the line."""
    monkeypatch.setattr("pairgen.engines.vllm.importlib.util.find_spec", lambda name: None)
    config = tree()
    config["engines"]["policy"] = {"use": "vllm", "model": "builtin:world/seed-a"}
    said = cli("run", write(tmp_path, config), "--run-dir", tmp_path / "run", "-q")
    assert said.code == 2
    assert "vLLM is not installed" in said.line


def test_a_run_folder_that_is_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    said = cli("run", write(tmp_path), "--run-dir", tmp_path / "run", "-q")
    assert said.code == 74
    assert str(tmp_path / "run") in said.line
    assert (tmp_path / "run").read_text() == "mine"


def test_a_run_folder_that_cannot_be_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who may write anywhere, so the system's refusal is put in by hand."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(fs.os, "open", refuse)
    said = cli("run", write(tmp_path), "--run-dir", tmp_path / "run", "-q")
    monkeypatch.undo()
    assert said.code == 74
    assert "Read-only file system" in said.line


@pytest.mark.parametrize("point", ["file.write:3", "file.create:5", "file.rename:4", "journal.commit:2"])
def test_a_full_disk(cli: Cli, tmp_path: Path, point: str) -> None:
    """Exit 74, what to do, no half-written shard; with space again the same command completes."""
    pipeline, folder = write(tmp_path, tree(iters=1)), tmp_path / "run"
    failpoints.arm(f"{point}+:enospc")
    try:
        said = cli("run", pipeline, "--run-dir", folder, "-q")
    finally:
        failpoints.arm(None)
    assert said.code == 74
    assert "No space left on device; free some space, then run the same command" in said.line
    assert not list(folder.rglob(f"*{fs.TEMP}"))
    run(pipeline, folder)


def test_an_error_of_the_system_nobody_foresaw(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/some/file")

    monkeypatch.setattr("pairgen.cli.status.read_status", fail)
    said = cli("status", "run")
    assert said.code == 74
    assert said.line == "pairgen: /some/file: Input/output error; mend that, then run the same command"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda data: data[: len(data) // 2],
    "flipped": lambda data: bytes([*data[:300], data[300] ^ 1, *data[301:]]),
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", ["part-00000.arrow", "manifest.json"])
def test_a_damaged_step_is_refused_by_name(cli: Cli, damaged: Path, name: str, how: str) -> None:
    """Exit 74 with the file, and nothing is trained on it; deleted as told, the run goes on for free."""
    victim = steps(damaged / "run", "training-pairs")[0] / name
    victim.write_bytes(DAMAGE[how](victim.read_bytes()))
    fs.remove(steps(damaged / "run", "it1-judged")[0])
    command = ("run", damaged / "small.yaml", "--iters", 1, "--run-dir", damaged / "run", "-q")
    said = cli(*command)
    assert said.code == 74
    assert str(victim) in said.line
    fs.remove(victim.parent)
    assert run(damaged / "small.yaml", damaged / "run", iters=1).asked == 0


def test_a_journal_that_is_none(cli: Cli, damaged: Path) -> None:
    for path in (damaged / "run").glob("journal.db-*"):
        path.unlink()
    (damaged / "run" / "journal.db").write_bytes(b"not a database" * 1000)
    said = cli("run", damaged / "small.yaml", "--run-dir", damaged / "run", "-q")
    assert said.code == 74
    assert "journal.db: not a journal that can be read" in said.line


def test_a_journal_of_something_else(cli: Cli, damaged: Path) -> None:
    (damaged / "run" / "journal.db").unlink()
    with sqlite3.connect(damaged / "run" / "journal.db") as connection:
        connection.execute("CREATE TABLE mine (x)")
    said = cli("run", damaged / "small.yaml", "--run-dir", damaged / "run", "-q")
    assert said.code == 74
    assert "journal.db" in said.line


def test_a_folder_in_use(cli: Cli, finished: Path) -> None:
    with lock(finished / "run" / "lock"):
        said = cli("run", finished / "small.yaml", "--run-dir", finished / "run", "-q")
    assert said.code == 75
    assert f"is in use by process {os.getpid()} " in said.line


def test_too_many_failed_rows(cli: Cli, tmp_path: Path) -> None:
    """The run is complete, its report written; the exit code and one line say that it is poor."""
    config = tree(iters=1)
    config["max_failed"] = 0.2
    config["engines"]["policy"]["replies"].insert(0, {"match": "^tag\n.*[13579]: ", "reply": "no tags"})
    said = cli("run", write(tmp_path, config), "--run-dir", tmp_path / "run", "--json", "-q")
    assert said.code == 3
    assert "complete, but 50% of the rows of tagged failed (limit 20%)" in said.line
    assert len(json.loads(said.out)["iterations"]) == 2
    assert (tmp_path / "run" / "report.html").exists()


def test_a_bug_shows_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no user can mend is not dressed up as one."""

    def fail(run: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pairgen.cli.status.read_status", fail)
    with pytest.raises(ZeroDivisionError):
        cli("status", "run")
