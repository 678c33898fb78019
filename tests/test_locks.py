"""A lock lives as long as the process that holds it, and says who that is."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairgen.errors import Stopped
from pairgen.locks import is_locked, lock


def _holder(path: Path) -> "subprocess.Popen[str]":
    """A process that holds a lock until it is killed."""
    code = "import sys, time; from pathlib import Path; from pairgen import locks\n" \
           "held = locks.lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_lock_names_the_owner(tmp_path: Path) -> None:
    """The second taker learns within a second which process has the lock, and leaves with exit code 75."""
    path = tmp_path / "lock"
    holder = _holder(path)
    began = time.monotonic()
    with pytest.raises(Stopped, match=f"process {holder.pid} ") as caught:
        lock(path)
    assert time.monotonic() - began < 1
    assert caught.value.exit_code == 75
    assert is_locked(path)
    holder.kill()
    holder.wait()
    assert not is_locked(path)
    with lock(path):
        assert path.read_text().split()[0] == str(os.getpid())


def test_lock_file_alone_is_no_lock(tmp_path: Path) -> None:
    """A folder copied from a running one carries the file but not the lock."""
    holder = _holder(tmp_path / "lock")
    shutil.copytree(tmp_path, tmp_path / "copy")
    with lock(tmp_path / "copy" / "lock"):
        pass
    holder.kill()
    holder.wait()


def test_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A child that outlives its parent does not keep others out."""
    path = tmp_path / "lock"
    code = (
        "import os, sys, time; from pathlib import Path; from pairgen.locks import lock\n"
        "held = lock(Path(sys.argv[1]))\n"
        "if os.fork() == 0: os.close(1); time.sleep(20); os._exit(0)\n"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=10)
    with lock(path):
        pass


def test_is_locked_disturbs_nobody(tmp_path: Path) -> None:
    """Looking whether a lock is held never makes a taker fail."""
    path = tmp_path / "lock"
    code = "import sys, pathlib; from pairgen.locks import is_locked\nwhile True: is_locked(pathlib.Path(sys.argv[1]))"
    looker = subprocess.Popen([sys.executable, "-c", code, str(path)])
    for _ in range(200):
        lock(path).release()
    looker.kill()
    looker.wait()
