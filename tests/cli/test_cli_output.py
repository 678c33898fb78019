"""What the verbs print: plan, run on a terminal and off it, status, report, show."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loop_lab import PAIRGEN, REPOSITORY, Said, launch, pairgen, run, tree, write
from rich.console import Console

from pairgen.cli.display import Display, compact, duration, finished, running
from pairgen.pipeline.progress import Event, Meter
from pairgen.store import Usage

Cli = Callable[..., Said]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    return lambda *args: pairgen(capfd, *args)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one iteration beside its pipeline, never changed."""
    root = tmp_path_factory.mktemp("finished")
    run(write(root), root / "run", iters=1)
    return root


def test_plain_lines_off_a_terminal(cli: Cli, tmp_path: Path) -> None:
    """One line a step, its place among all, no escape codes, nothing of any library's; results on stdout."""
    said = cli("run", write(tmp_path), "--iters", 1, "--run-dir", tmp_path / "run")
    lines = said.err.splitlines()
    assert said.code == 0
    assert re.fullmatch(r".*/run: 0 of 13 steps are done; ~\d+ answers to ask for", lines[0])
    places = [line.split()[0] for line in lines[1:] if not line.startswith("warning: ")]
    assert places == [f"{n}/13" for n in range(1, 14)]
    assert re.fullmatch(r" 2/13  tagged +20 rows +[\d.]+s  \d+ tokens", lines[2])
    assert "\x1b" not in said.err + said.out
    assert "report: " in said.out
    again = cli("run", tmp_path / "small.yaml", "--iters", 1, "--run-dir", tmp_path / "run")
    assert again.line.endswith("13 of 13 steps are done; nothing to do")


def test_json_is_all_there_is_on_stdout(cli: Cli, finished_run: Path) -> None:
    said = cli("run", finished_run / "small.yaml", "--iters", 1, "--run-dir", finished_run / "run", "--json")
    assert said.err == ""
    assert [record["iteration"] for record in json.loads(said.out)["iterations"]] == [0, 1]


def test_a_line_that_moves_on_a_terminal(tmp_path: Path) -> None:
    """It shows place, rate and ETA, and goes away: what stays is a line a step."""
    pipeline = write(tmp_path, tree(iters=1, latency=0.2, concurrency=2))
    code, text = on_terminal(*PAIRGEN, "run", str(pipeline), "--run-dir", str(tmp_path / "run"))
    shown = ESCAPES.sub("", text)
    assert code == 0, shown
    assert re.search(r" 2/13  tagged +\d+/20  [\d.]+/s  ETA [\d.]+s  \d+ tokens", shown)
    assert "Loading weights" not in shown
    assert len(re.findall(r"tagged +20 rows", shown)) == 1


def on_terminal(*command: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; its exit code and everything that was drawn."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            drawn += os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return process.wait(), drawn.decode("utf-8", "replace")


def test_reused_steps_are_counted_in_one_line() -> None:
    file = io.StringIO()
    shown = Display(Console(file=file), ["a", "b", "c"])
    for event in (Event("a", "reused", rows=1), Event("b", "reused", rows=1), Event("c", "done", rows=3)):
        shown(event)
    assert file.getvalue().splitlines() == ["2 steps were done already", "3/3  c         3 rows     0.0s"]


def test_model_text_cannot_draw() -> None:
    """Alarms and notes may quote a model: escape codes and markup stay text."""
    file = io.StringIO()
    Display(Console(file=file, force_terminal=True), ["a"]).say("\x1b[2J [red]x[/red]")
    assert "\x1b[2J" not in file.getvalue()
    assert "[red]x[/red]" in file.getvalue()


def test_lines_in_words() -> None:
    usage = Usage(requests=5, reused=7, prompt_tokens=80_000, completion_tokens=1_000, cost=1.5)
    event = Event("s", "running", 1204, 3440, 1200, 3, usage, 8.3, 412.0)
    assert running(event) == [
        "1,204/3,440", "412/s", "ETA 5.4s", "81k tokens", "7 from the journal", "3 drops", "$1.50",
    ]
    assert finished(Event("s", "done", 422, 422, seconds=64, note="588,494 tokens trained on")) == [
        "     422 steps", " 1m04s", "588,494 tokens trained on",
    ]
    assert [duration(s) for s in (8.34, 59.96, 125, 11520)] == ["8.3s", "1m00s", "2m05s", "3h12m"]
    assert [compact(n) for n in (950, 81_000, 2_400_000)] == ["950", "81k", "2.4M"]


def test_a_rate_looks_back_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the journal gave at once at the start does not promise an early end."""
    now, told = [0.0], list[Event]()
    monkeypatch.setattr("pairgen.pipeline.progress.time.monotonic", lambda: now[0])
    meter = Meter("s", 1000, told.append)
    for second in range(1, 31):
        now[0], meter.done = float(second), 500 + second
        meter.tell(Usage())
    assert told[-1].rate == pytest.approx(1.0)
    assert told[-1].eta == pytest.approx(470.0)


def test_status_in_the_order_of_the_plan(cli: Cli, finished_run: Path) -> None:
    """Every step once, drops with reasons, and the records for scripts."""
    found = json.loads(cli("status", finished_run / "run", "--json").out)
    assert [s["step"] for s in found["steps"]][:6] == [
        "data", "tagged", "answered", "pairs", "training-pairs", "heldout-pairs",
    ]
    assert (found["working"], found["waiting"], found["now"], found["of"]) == (False, [], [], 13)
    assert [record["iteration"] for record in found["iterations"]] == [0, 1]
    text = cli("status", finished_run / "run").out
    assert "run: not working now, 13 of 13 steps done" in text
    assert re.search(r"training-pairs +15 .*other_part 5", text)


def test_status_and_plan_while_it_works(cli: Cli, tmp_path: Path) -> None:
    """Both read along without disturbing the run."""
    pipeline, folder = write(tmp_path, tree(iters=1, latency=0.3, concurrency=1)), tmp_path / "run"
    process = launch("run", pipeline, "--run-dir", folder, "-q")
    try:
        found = _status_with_progress(cli, folder)
        assert found["working"]
        assert found["now"][0]["step"] in ("tagged", "answered")
        assert "now in " in cli("status", folder).out
        assert cli("plan", pipeline, "--run-dir", folder).code == 0
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert "stopped in " in cli("status", folder).out


def _status_with_progress(cli: Cli, folder: Path) -> dict[str, list[dict[str, object]]]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        said = cli("status", folder, "--json")
        if said.code == 0 and any(s["done"] for s in json.loads(said.out)["now"]):
            found: dict[str, list[dict[str, object]]] = json.loads(said.out)
            return found
        time.sleep(0.1)
    raise AssertionError("the run never told of progress")


def test_plan_says_what_it_would_ask_and_why(cli: Cli, finished_run: Path) -> None:
    command = ("plan", finished_run / "small.yaml", "--iters", 1, "--run-dir", finished_run / "run")
    assert "13 of 13 steps are done; nothing to do." in cli(*command).out
    text = cli(*command, "--set", "loop.stages.judged.n=5").out
    assert re.search(r"it1-judged +changed +15 +120 +30 +~\d+ +options.n: 4 ->", text)
    assert re.search(r"7 of 13 steps are done; ~\d+ answers to ask for, 120 more are in the journal", text)
    lines = json.loads(cli(*command, "--json").out)["steps"]
    assert {line["state"] for line in lines} == {"done"}


def test_the_report_can_be_written_again(cli: Cli, finished_run: Path) -> None:
    """From sealed steps alone, the same page but for nothing."""
    page = finished_run / "run" / "report.html"
    before = page.read_text()
    page.unlink()
    (finished_run / "run" / "iterations.jsonl").unlink()
    assert cli("report", finished_run / "run").out == f"report: {page}\n"
    assert page.read_text() == before
    assert len((finished_run / "run" / "iterations.jsonl").read_text().splitlines()) == 2


def test_show_reads_rows_drops_and_shards(cli: Cli, finished_run: Path) -> None:
    folder = finished_run / "run"
    assert "chosen" in cli("show", folder, "-n", 1).out
    assert "other_part in training-pairs" in cli("show", folder, "--step", "training-pairs", "--drops").out
    (shard,) = folder.glob("it1-judged@*/part-00000.arrow")
    rows = [json.loads(line) for line in cli("show", shard, "-n", 3, "--json").out.splitlines()]
    assert len(rows) == 3
    assert "it1-judge" in cli("show", folder, "--step", "it1-judge").err


def test_doctor_and_version(cli: Cli) -> None:
    findings = json.loads(cli("doctor", "--json").out)
    assert {"torch", "transformers", "vllm", "machine"} <= {f["what"] for f in findings}
    assert cli("--version").out.startswith("pairgen ")


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_traceback(closed: int, tmp_path: Path) -> None:
    """Started with stdin, stdout or stderr closed, a command does its work and ends as ever."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "a", "chosen": "b c", "rejected": "b d"}\n' * 3)
    html = tmp_path / "audit.html"
    command = [*PAIRGEN, "audit", str(pairs), "--html", str(html)]
    code = f"import os; os.close({closed}); os.execv({command[0]!r}, {command!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert html.is_file()
