"""Files appear whole or not at all, failures say how to go on, and a lock dies with its owner."""

import ast
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairgen import fs
from pairgen.errors import StorageError, UsageError
from pairgen.failpoints import arm

STEPS = ("file.create", "file.write", "file.fsync", "file.rename")


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm(None)


def test_write_atomic_replaces(tmp_path: Path) -> None:
    """A committed file holds exactly what was written and leaves no temporary file."""
    path = tmp_path / "a.json"
    fs.write_atomic(path, b"one")
    fs.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("action", "word"), [("enospc", "free some space"), ("eio", "check the disk")])
def test_failed_write_keeps_the_old_file(tmp_path: Path, step: str, action: str, word: str) -> None:
    """A write that fails at any step before the rename leaves the old bytes, no temporary file and advice."""
    path = tmp_path / "a.json"
    fs.write_atomic(path, b"old")
    arm(f"{step}:1:{action}")
    with pytest.raises(StorageError, match=word) as caught:
        fs.write_atomic(path, b"new")
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 74
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", [*STEPS, "file.dirsync", "file.done"])
def test_kill_leaves_old_or_new(tmp_path: Path, step: str) -> None:
    """A process killed at any step of a commit leaves the old file or the new one, never a torn one."""
    path = tmp_path / "a.bin"
    fs.write_atomic(path, b"old")
    code = "import sys; from pairgen import fs; fs.write_atomic(fs.Path(sys.argv[1]), b'new' * 9)"
    environment = {**os.environ, "PAIRGEN_FAILPOINT": f"{step}:1"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == (b"old" if step in STEPS else b"new" * 9)
    fs.clear_temps(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_atomic_file_vanishes_on_error(tmp_path: Path) -> None:
    """A block that fails commits nothing, and its own error comes through."""

    def fail() -> None:
        with fs.atomic_file(tmp_path / "a") as file:
            file.write(b"half")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_order_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is synced before the rename and the folder after it: the one order a power cut cannot tear."""
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        done.append("sync folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "sync file")
        real_fsync(handle)

    def replace(old: Path, new: Path) -> None:
        done.append("rename")
        real_replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    fs.write_atomic(tmp_path / "a", b"x")
    assert done == ["sync file", "rename", "sync folder"]


def test_never_writes_through_a_link(tmp_path: Path) -> None:
    """A link with the file's name is replaced, and what it points at stays as it was."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    link = tmp_path / "run" / "a"
    fs.make_dirs(link.parent)
    link.symlink_to(outside)
    fs.write_atomic(link, b"new")
    assert outside.read_bytes() == b"mine"
    assert not link.is_symlink()


def test_append_line_closes_a_torn_line(tmp_path: Path) -> None:
    """A log whose last line was torn by a crash goes on with a line of its own."""
    log = tmp_path / "log.jsonl"
    fs.append_line(log, b"one")
    log.write_bytes(log.read_bytes() + b"tor")
    fs.append_line(log, b"two\n")
    assert log.read_bytes() == b"one\ntor\ntwo\n"


def test_write_loose_and_probe(tmp_path: Path) -> None:
    """A display file is replaced whole; the probe times a durable write and leaves nothing."""
    fs.write_loose(tmp_path / "status.json", b"1")
    fs.write_loose(tmp_path / "status.json", b"2")
    assert (tmp_path / "status.json").read_bytes() == b"2"
    seconds = fs.probe(tmp_path)
    assert seconds is not None
    assert 0 < seconds < 10
    assert fs.probe(tmp_path / "nowhere") is None
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_adopt_takes_a_folder_over(tmp_path: Path) -> None:
    """What a library wrote under another name replaces the old folder whole."""
    for name, text in (("new", b"2"), ("model", b"1")):
        fs.make_dirs(tmp_path / name / "deep")
        fs.write_atomic(tmp_path / name / "deep" / "a", text)
    fs.adopt(tmp_path / "new", tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "deep" / "a").read_bytes() == b"2"


def test_make_dirs_says_what_is_in_the_way(tmp_path: Path) -> None:
    """A file where a folder should be is named."""
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StorageError, match=str(tmp_path / "a")):
        fs.make_dirs(tmp_path / "a" / "b")


@pytest.mark.parametrize(("code", "word"), [(errno.EACCES, "permission"), (errno.EROFS, "writable")])
def test_advice(code: int, word: str) -> None:
    """A refusal by the system comes with what to do about it."""
    assert word in str(fs.storage_error(Path("x"), OSError(code, os.strerror(code))))


def test_failpoint_text_is_checked() -> None:
    """A failpoint that makes no sense is refused with its form."""
    with pytest.raises(UsageError, match="name:k"):
        arm("file.write:soon")
    with pytest.raises(UsageError, match="enospc"):
        arm("file.write:1:explode")


def test_failpoint_strikes_at_the_kth_hit(tmp_path: Path) -> None:
    """`k` strikes once, `k+` from then on, `*` counts every name."""
    arm("file.rename:2:eio")
    fs.write_atomic(tmp_path / "a", b"")
    with pytest.raises(StorageError):
        fs.write_atomic(tmp_path / "a", b"")
    fs.write_atomic(tmp_path / "a", b"")
    arm("*:1+:eio")
    for _ in range(2):
        with pytest.raises(StorageError):
            fs.write_atomic(tmp_path / "a", b"")


WRITERS = {
    "os.rename", "os.replace", "os.remove", "os.unlink", "os.mkdir", "os.makedirs",
    "shutil.rmtree", "shutil.move", "shutil.copy", "shutil.copyfile", "shutil.copytree",
}
WRITING_METHODS = {"write_text", "write_bytes", "unlink", "mkdir", "rmdir", "touch", "symlink_to"}


def _writes(call: ast.Call) -> bool:
    """Whether a call writes, renames or deletes a file without `fs`."""
    name = ast.unparse(call.func)
    if name == "os.open":
        return "O_CREAT" in ast.unparse(call)
    if name in WRITERS or name.rpartition(".")[2] in WRITING_METHODS:
        return True
    modes = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
    return name.rpartition(".")[2] == "open" and any(isinstance(m, str) and m in MODES for m in modes)


NO_FS = {
    "fs.py": "it is the one",
    "locks.py": "opens the file that a lock is on",
    "cli/terminal.py": "hands a log's descriptor to C libraries",
    "world/make_data.py": "makes the data that ships; no run calls it",
}
MODES = {kind + more for kind in "wax" for more in ("", "b", "t", "+", "b+")}


def test_only_fs_writes() -> None:
    """No other module of the package opens a file for writing, renames or deletes."""
    package = Path(fs.__file__).parent
    found = [
        f"{path.relative_to(package)}:{node.lineno}: {ast.unparse(node.func)}"
        for path in sorted(package.rglob("*.py")) if str(path.relative_to(package)) not in NO_FS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _writes(node)
    ]
    assert found == []
