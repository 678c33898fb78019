"""`pairgen eval` as a user types it: numbers that are known, one line for what cannot work, nothing asked twice."""

import json
import math
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from loop_lab import Said, launch, pairgen

Cli = Callable[..., Said]
ALWAYS_A = ("--engine", "scripted", "--set", "engine.default='[[A]]'")
READS = (
    "--engine", "scripted",
    "--set", r"engine.replies=[{match: 'A.s Answer\]\s*good', reply: '[[A]]'}]",
    "--set", "engine.default='[[B]]'",
)
"""A judge that finds the answer with `good` in it."""


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    return lambda *args: pairgen(capfd, "eval", *args)


def pairs(n: int = 12) -> list[dict[str, Any]]:
    """The better answer says good; it is the longer one of every third pair."""
    return [
        {"id": str(i), "subset": "ab"[i % 2], "prompt": f"question {i}?",
         "chosen": "good" + " really" * 4 * (i % 3 == 0), "rejected": "bad, I am afraid"}
        for i in range(n)
    ]


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "pairs.jsonl", pairs())


def result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


def mean(folder: Path, name: str) -> float:
    value: float = result(folder)["metrics"][name]["mean"]
    return value


def test_a_judge_that_reads_and_one_that_does_not(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Right is right in both orders; always A is right in one order of every pair, and never in both."""
    reads, slot = tmp_path / "reads", tmp_path / "slot"
    said = cli("pairs", "--path", data, *READS, "--out", reads)
    assert said.code == 0, said.err
    assert cli("pairs", "--path", data, *ALWAYS_A, "--out", slot).code == 0
    names = ("accuracy", "consistent_accuracy", "consistency", "first_slot", "parse_rate")
    assert [mean(reads, name) for name in names] == [1, 1, 1, 0.5, 1]
    assert [mean(slot, name) for name in names] == [0.5, 0, 0, 1, 1]
    found = result(slot)
    assert found["items"] == 12
    assert found["groups"]["a"]["accuracy"] == {"mean": 0.5, "stderr": 0, "n": 6, "unscored": 0}
    assert found["baselines"]["always-first"]["accuracy"]["mean"] == 0.5
    assert found["baselines"]["longer"]["accuracy"]["mean"] == pytest.approx(4 / 12)
    assert {path.name for path in slot.iterdir()} >= {"config.yaml", "journal.db", "report.html", "result.json"}
    assert "all numbers, and judgments to look at: " in said.out


def test_published_verdicts_give_the_published_numbers(cli: Cli, real_data: Path, tmp_path: Path) -> None:
    """GPT-4 vanilla on LLMBar: the numbers of its 838 published verdicts, counted apart from this code."""
    folder = real_data / "llmbar"
    said = cli("rescore", "llmbar", "--items", folder, "--verdicts", folder / "verdicts_both_orders.csv",
               "--where", "evaluator=GPT-4", "--where", "strategy=Vanilla", "--out", tmp_path)
    assert said.code == 0, said.err
    expected = {"accuracy": 84.5, "consistent_accuracy": 80.9, "consistency": 92.8, "first_slot": 51.2,
                "accuracy_chosen_first": 85.7, "accuracy_rejected_first": 83.3}
    assert {name: round(100 * mean(tmp_path, name), 1) for name in expected} == expected
    longer = result(tmp_path)["longer"]
    by_hand = {"natural": 56.5, "neighbor": 11.9, "gptinst": 13.0, "gptout": 44.7, "manual": 18.5}
    assert {group: round(100 * value["mean"], 1) for group, value in longer.items()} == by_hand


def test_an_evaluation_goes_on_from_its_journal(cli: Cli, data: Path, tmp_path: Path) -> None:
    """More votes ask for the votes only; the same again asks nothing; the numbers come from the sealed rows."""
    out = tmp_path / "out"
    first = json.loads(cli("pairs", "--path", data, *ALWAYS_A, "--out", out, "--json").out)
    more = json.loads(cli("pairs", "--path", data, *ALWAYS_A, "--votes", 3, "--out", out, "--json").out)
    again = json.loads(cli("pairs", "--path", data, *ALWAYS_A, "--votes", 3, "--out", out, "--json").out)
    assert first["spent"]["requests"] == 24
    assert (more["spent"]["requests"], more["spent"]["reused"]) == (24, 24)
    assert {k: v for k, v in again.items() if k != "command"} == {k: v for k, v in more.items() if k != "command"}
    assert more["metrics"]["vote_accuracy"]["mean"] == 0.5


def test_killed_in_the_middle_no_request_is_repeated(data: Path, tmp_path: Path) -> None:
    """kill -9 while answers come in: the same command goes on, and every request is paid for exactly once."""
    out = tmp_path / "out"
    args = ("eval", "pairs", "--path", data, *ALWAYS_A, "--votes", 4, "--set", "engine.latency=0.2",
            "--set", "engine.concurrency=4", "--out", out, "-q")
    process = launch(*args)
    while process.poll() is None and replies(out) < 8:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = replies(out)
    assert 8 <= before < 48
    assert not (out / "result.json").exists()
    done = launch(*args)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert replies(out) == 48  # 12 pairs in 2 orders, once greedy and once for all votes
    assert result(out)["spent"]["requests"] == 48
    assert mean(out, "sampled_accuracy") == 0.5


def replies(out: Path) -> int:
    """How many replies the journal holds."""
    path = out / "journal.db"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as journal:
            return int(journal.execute("SELECT count(*) FROM replies").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


class Judge(BaseHTTPRequestHandler):
    """A chat-completions server that always says A, and counts what it is asked."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body.get("n", 1))
        choices = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": "[[A]]"}}
            for i in range(body.get("n", 1))
        ]
        usage = {"prompt_tokens": 10, "completion_tokens": len(choices)}
        raw = json.dumps({"model": body["model"], "choices": choices, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


class Host(ThreadingHTTPServer):
    """Takes all connections at once: the default queue of five drops some on a busy machine."""

    request_queue_size = 128
    daemon_threads = True


def test_a_judge_behind_a_server(cli: Cli, data: Path, tmp_path: Path) -> None:
    """`--base-url` is an API: 12 pairs in two orders are 24 calls, and 24 for the votes; the same again is none."""
    Judge.asked.clear()
    server = Host(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    args = ("pairs", "--path", data, "--model", "someone/judge-8b", "--votes", 3, "--out", tmp_path / "out", "-q",
            "--base-url", f"http://127.0.0.1:{server.server_port}/v1", "--budget", 1)
    try:
        for _ in range(2):
            said = cli(*args)
            assert said.code == 0, said.err
    finally:
        server.shutdown()
    assert sorted(Judge.asked) == [1] * 24 + [3] * 24
    found = result(tmp_path / "out")
    assert (found["who"], found["spent"]["requests"], found["spent"]["cost"]) == ("judge-8b", 48, 0.0)
    assert (found["spent"]["prompt_tokens"], found["spent"]["completion_tokens"]) == (480, 96)
    assert mean(tmp_path / "out", "first_slot") == 1


def test_two_evaluations_are_compared_item_by_item(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Of 12 pairs one judge has all, the other none wholly right: McNemar's p is 2 / 2^12."""
    reads, slot = tmp_path / "reads", tmp_path / "slot"
    cli("pairs", "--path", data, *READS, "--out", reads, "-q")
    cli("pairs", "--path", data, *ALWAYS_A, "--out", slot, "-q")
    said = cli("--compare", slot, reads, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["before"], found["after"], found["diff"]) == (0.5, 1.0, 0.5)
    assert (found["gained"], found["lost"], found["n"]) == (12, 0, 12)
    assert found["p_value"] == pytest.approx(2 / 2**12)
    text = cli("--compare", slot, reads).out
    assert "difference +50.0 points, 95 % interval +50.0 to +50.0; zero is not in it" in text


def test_texts_are_rescored_by_the_prompt_they_answer(cli: Cli, tmp_path: Path) -> None:
    """Columns have their names and the prompt its format, as when the judge was asked; nobody counted tokens."""
    data = jsonl(tmp_path / "p.jsonl", [{"id": "1", "question": "q", "chosen": "good", "rejected": "bad"}])
    orders = (("chosen_first", "A"), ("rejected_first", "B"))
    told = [{"id": "1", "order": order, "text": f"**Result:** {letter}"} for order, letter in orders]
    args = ("rescore", "pairs", "--items", data, "--verdicts", jsonl(tmp_path / "v.jsonl", told),
            "--set", "columns.prompt=question", "--json")
    as_asked = cli(*args, "--prompt", "judges/sfr.md")
    assert as_asked.code == 0, as_asked.err
    assert json.loads(as_asked.out)["metrics"]["consistent_accuracy"]["mean"] == 1
    otherwise = cli(*args)
    assert otherwise.code == 3
    found = json.loads(otherwise.out)["metrics"]
    assert (found["accuracy"]["mean"], found["tokens"]["mean"]) == (0, None)


def test_a_panel_is_the_plurality_of_what_is_there(
    cli: Cli, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that reads, one that says A, one that says B: whatever the order, two of three are right."""
    folders = [tmp_path / name for name in ("reads", "a", "b")]
    always_b = ("--engine", "scripted", "--set", "engine.default='[[B]]'")
    for folder, who in zip(folders, (READS, ALWAYS_A, always_b), strict=True):
        cli("pairs", "--path", data, *who, "--out", folder, "-q")
    out = tmp_path / "panel"
    said = cli("panel", *folders, "--out", out)
    assert said.code == 0, said.err
    assert "Accuracy of each member by itself: reads 1.000 ± 0.000, a 0.500 ± 0.000, b 0.500 ± 0.000." in said.out
    assert [mean(out, name) for name in ("accuracy", "consistent_accuracy", "vote_accuracy", "unanimous", "split")] == [
        1, 1, 1, 0, 0]
    assert result(out)["spent"]["requests"] == 0
    before = (out / "result.json").read_bytes()
    assert pairgen(capfd, "report", out).code == 0
    assert (out / "result.json").read_bytes() == before
    found = json.loads(cli("--compare", folders[1], out, "--json").out)
    assert (found["before"], found["after"], found["gained"]) == (0.5, 1.0, 12)


def test_who_cannot_be_a_panel_is_said(cli: Cli, data: Path, tmp_path: Path) -> None:
    """An even number, one named twice, judges of other items, one asked in one order: one line each."""
    a, b, part, once = (tmp_path / name for name in ("a", "b", "part", "once"))
    for folder, more in ((a, ()), (b, ()), (part, ("--limit", 5)), (once, ("--orders", "random"))):
        cli("pairs", "--path", data, *ALWAYS_A, "--out", folder, "-q", *more)
    says = {(a,): "a panel of one is that judge", (a, b): "a panel has an odd number of judges",
            (a, b, a): f"{a}: named twice",
            (a, b, part): "judges a and part were not asked the same: item ",
            (a, b, once): "a panel needs `orders: both`"}
    for folders, line in says.items():
        said = cli("panel", *folders, "--out", tmp_path / "panel")
        assert (said.code, line in said.line) == (2, True), said.err
    assert not (tmp_path / "panel").exists()


def test_a_published_panel_is_worse_than_its_best_judge(cli: Cli, real_data: Path, tmp_path: Path) -> None:
    """LLMBar's published verdicts, kept by rescoring: ChatGPT and PaLM 2 outvote GPT-4, and that costs 14 points."""
    folder, judges = real_data / "llmbar", ("GPT-4", "ChatGPT", "PaLM2")
    for judge in judges:
        said = cli("rescore", "llmbar", "--items", folder, "--verdicts", folder / "verdicts_both_orders.csv",
                   "--where", f"evaluator={judge}", "--where", "strategy=Vanilla", "--out", tmp_path / judge)
        assert said.code == 0, said.err
    out = tmp_path / "panel"
    assert cli("panel", *(tmp_path / judge for judge in judges), "--out", out).code == 0
    alone = {name: round(value["mean"], 3) for name, value in result(out)["members"].items()}
    assert alone == {f"{judge} Vanilla": round(mean(tmp_path / judge, "accuracy"), 3) for judge in judges}
    found = json.loads(cli("--compare", tmp_path / "GPT-4", out, "--json").out)
    assert (round(100 * found["diff"], 1), found["gained"], found["lost"]) == (-13.8, 6, 104)


def test_a_report_is_written_again_from_the_sealed_rows(
    cli: Cli, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The result file comes out the same, byte for byte."""
    out = tmp_path / "out"
    cli("pairs", "--path", data, *READS, "--votes", 2, "--out", out, "-q")
    before = (out / "result.json").read_bytes()
    (out / "report.html").unlink()
    said = pairgen(capfd, "report", out)
    assert (said.code, said.out) == (0, f"report: {out / 'report.html'}\n")
    assert (out / "result.json").read_bytes() == before
    assert (out / "report.html").is_file()


def test_commands_and_baselines_are_evaluated_too(cli: Cli, data: Path, tmp_path: Path) -> None:
    """A command that picks the longer answer gets what the baseline of that name gets."""
    script = tmp_path / "longer.py"
    script.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    row = json.loads(line)\n"
        "    print(json.dumps({'winner': 'A' if len(row['a']) > len(row['b']) else 'B'}))\n"
    )
    out = tmp_path / "out"
    assert cli("pairs", "--path", data, "--command", f"{sys.executable} {script}", "--out", out, "-q").code == 0
    assert mean(out, "accuracy") == pytest.approx(1 / 3)
    assert mean(out, "consistency") == 1
    assert cli("pairs", "--path", data, "--baseline", "longer", "--out", out, "-q").code == 0
    assert mean(out, "accuracy") == pytest.approx(1 / 3)
    assert result(out)["spent"]["requests"] == 0


def test_a_judge_that_cannot_be_read_is_said_plainly(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Complete, and yet nothing to be read: every number is there, exit code 3, one line."""
    out = tmp_path / "out"
    vague = ("pairs", "--path", data, "--engine", "scripted", "--set", "engine.default=Both are nice.", "--out", out,
             "-q")
    said = cli(*vague)
    assert said.code == 3
    assert "complete, but 100% of the replies hold no verdict that can be read (limit 50%; none 24)" in said.line
    assert "one says 'Both are nice.'; --prompt takes the prompt that the judge was trained with" in said.line
    assert (mean(out, "accuracy"), mean(out, "parse_rate")) == (0, 0)
    assert cli(*vague, "--max-failed", 1).code == 0


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown suite": (("pears", *ALWAYS_A), "no 'pears' in suites: did you mean 'pairs'?"),
    "nothing to mark": (("world-answers", "--baseline", "longer"), "world-answers asks questions, to be answered by"),
    "no item for the prompt": (("pairs", *ALWAYS_A, "--prompt", "judges/sfr_reference.md"),
                               "shows a reference and the item has none"),
    "a column is called otherwise": (("pairs", *ALWAYS_A, "--set", "columns.prompt=question"),
                                     "(--set columns.prompt=... names it)"),
    "no column chosen": (("rescore", "pairs", "--items", "x", "--verdicts", "x", "--where", "judge"),
                         "--where 'judge': write it as COLUMN=VALUE"),
    "no letter is next": (("pairs", *ALWAYS_A, "--verdict", "logits", "--votes", "2"), "there is nothing to sample"),
    "nobody to evaluate": (("pairs",), "who is evaluated? give --model"),
    "two at once": (("pairs", "--model", "x", "--baseline", "longer"), "--baseline and --model: one is evaluated"),
    "unknown baseline": (("pairs", "--baseline", "shorter"), "--baseline 'shorter': "),
    "unknown subset": (("pairs", *ALWAYS_A, "--subset", "c"), "pairs: no subset 'c': have: a, b"),
    "unknown option": (("pairs", *ALWAYS_A, "--set", "vote=3"), "pairs.vote: unknown key; did you mean 'votes'?"),
    "unknown order": (("pairs", *ALWAYS_A, "--orders", "all"), "pairs.orders: input should be 'both' or 'random'"),
    "unknown prompt": (("pairs", *ALWAYS_A, "--prompt", "judges/x.md"), "no 'judges/x.md' in prompts/"),
    "not for a policy": (("pairs", "--policy", "builtin:world/seed-a", "--votes", "2"), "--votes: is for judges"),
    "a reference alone": (("pairs", "--reference", "x"), "--reference and --implicit go with --policy"),
    "no such model": (("pairs", "--reward-model", "/none"), "model '/none': no such folder here"),
    "no such command": (("pairs", "--command", "/none/x"), "--command '/none/x': cannot be run"),
    "no panel": (("panel", "/none", "/other", "/third"), "/none: no finished evaluation here"),
    "no comparison": (("--compare", "/none", "/none"), "/none: no finished evaluation here"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_one_line(cli: Cli, data: Path, tmp_path: Path, case: str) -> None:
    args, says = BAD[case]
    out = tmp_path / "out"
    path = ("--path", data, "--out", out, "-q") if args[0] == "pairs" else ()
    said = cli(*args, *path)
    assert said.code == 2, said.err
    assert says in said.line
    assert not (out / "result.json").exists()
    assert case == "no such command" or not out.exists()


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "a column is missing": ({"id": "x", "prompt": "q", "chosen": "good"}, "rejected"),
    "an empty answer": ({"id": "x", "prompt": "q", "chosen": "good", "rejected": ""}, "rejected"),
    "no text": ({"id": "x", "prompt": "q", "chosen": "good", "rejected": 7}, "rejected"),
    "a label outside its set": ({"id": "x", "prompt": "q", "first": "a", "second": "b", "label": 3}, "label"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_row_is_named_or_left_out_and_counted(cli: Cli, tmp_path: Path, case: str) -> None:
    """Refused by file and line; with --on-bad-row skip it is in no number, and the report says so."""
    row, names = ROWS[case]
    data, out = jsonl(tmp_path / "pairs.jsonl", [*pairs(3), row]), tmp_path / "out"
    said = cli("pairs", "--path", data, *ALWAYS_A, "--out", out, "-q")
    assert said.code == 2
    assert "pairs.jsonl:4" in said.line
    assert names in said.line
    assert not out.exists()
    said = cli("pairs", "--path", data, *ALWAYS_A, "--out", out, "-q", "--on-bad-row", "skip")
    assert said.code == 0, said.err
    found = result(out)
    assert (found["items"], sum(found["skipped"].values())) == (3, 1)
    assert found["metrics"]["accuracy"]["n"] == 3
    assert "pairs.jsonl:4" in (out / "report.html").read_text()


def test_a_limit_draws_the_same_items_whatever_the_order(cli: Cli, tmp_path: Path) -> None:
    rows = pairs(40)
    ids = []
    for name, some in (("there", rows), ("back", rows[::-1])):
        folder = tmp_path / name
        folder.mkdir()
        data = jsonl(folder / "pairs.jsonl", some)
        assert cli("pairs", "--path", data, *ALWAYS_A, "--limit", 7, "--out", folder / "out", "-q").code == 0
        with closing(sqlite3.connect(folder / "out" / "journal.db")) as journal:
            ids.append({key for (key,) in journal.execute("SELECT key FROM answers")})
        assert result(folder / "out")["items"] == 7
    assert ids[0] == ids[1]


def test_a_draw_and_a_vote_are_said_to_be_such(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Of 12 items 7 are no result to publish; 3 votes in each of two orders are maj@6."""
    out = tmp_path / "out"
    said = cli("pairs", "--path", data, *ALWAYS_A, "--limit", 7, "--votes", 3, "--out", out, "-q")
    assert "A draw of 7 of 12 items (limit), so no official result." in said.out
    assert "vote_accuracy is maj@6: the majority of 6 samples an item, all orders together." in said.out
    assert "A draw of 7 of 12 items" in (out / "report.html").read_text()
    whole = cli("pairs", "--path", data, *ALWAYS_A, "--limit", 12, "--out", out, "-q")
    assert "A draw of" not in whole.out + (out / "report.html").read_text()


def test_the_official_parser_is_held_against_its_own_format_only(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Of a judge asked in another format it would read nothing, which says nothing of either."""
    other = ("--engine", "scripted", "--set", "engine.default='Output (a)'", "--prompt", "judges/offsetbias.md")
    cli("pairs", "--path", data, *other, "--out", tmp_path / "other", "-q")
    cli("pairs", "--path", data, *ALWAYS_A, "--out", tmp_path / "own", "-q")
    assert mean(tmp_path / "other", "parse_rate") == 1
    assert "official_parser_disagreement" not in result(tmp_path / "other")["metrics"]
    assert mean(tmp_path / "own", "official_parser_disagreement") == 0


def test_votes_without_answers_say_nothing_of_lengths(cli: Cli, real_data: Path, tmp_path: Path) -> None:
    """The label-only votes of MT-Bench have no longer answer; both turns have their line."""
    folder = real_data / "mt_bench"
    said = cli("rescore", "mtbench", "--items", folder / "human_votes.jsonl",
               "--verdicts", folder / "gpt4_pair_votes.jsonl", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    found = result(tmp_path / "out")
    assert set(found["baselines"]) == {"always-first", "random"}
    assert found["longer"] == {}
    assert re.search(r"turn 1 +1,343 +0.153 ± 0.013", said.out)
    assert re.search(r"turn 2 +1,325 +0.159 ± 0.013", said.out)
    assert round(mean(tmp_path / "out", "mtbench_turn1_agreement"), 4) == round(886 / 1343, 4)


def test_a_part_of_an_option_leaves_its_other_parts(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Room for long judgments does not change at which temperature votes are drawn; a mapping is made by its parts."""
    rows = [{"question" if key == "prompt" else key: value for key, value in row.items()} for row in pairs()]
    said = cli("pairs", "--path", jsonl(tmp_path / "other.jsonl", rows), *ALWAYS_A, "--out", tmp_path / "out", "-q",
               "--set", "sampling.max_tokens=77", "--set", "columns.prompt=question")
    assert said.code == 0, said.err
    asked = yaml.safe_load(result(tmp_path / "out")["config"])["eval"]
    assert asked["sampling"] == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 77, "stop": []}
    assert asked["columns"] == {"prompt": "question"}


def test_a_narrow_terminal_keeps_names_whole(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baselines go one by one, the longer answer last."""
    heads = {}
    for width in (100, 78, 65, 55):
        monkeypatch.setenv("COLUMNS", str(width))
        said = cli("pairs", "--path", data, *ALWAYS_A, "--out", tmp_path / "out", "-q")
        heads[width] = next(line for line in said.out.splitlines() if "scripted  n" in line or "scripted   n" in line)
        assert "accuracy_rejected_first" in said.out
    beside = {width: [name for name in ("always-first", "longer", "random") if name in head]
              for width, head in heads.items()}
    assert beside == {100: ["always-first", "longer", "random"], 78: ["always-first", "longer"],
                      65: ["longer"], 55: []}


def test_a_part_of_a_suite_has_no_number_of_the_whole(cli: Cli, real_data: Path, tmp_path: Path) -> None:
    """One bias of six: its own number, and none of EvalBiasBench."""
    path = real_data / "evalbiasbench" / "biasbench.json"
    said = cli("evalbias", "--path", path, "--baseline", "longer", "--subset", "length bias", "--out", tmp_path, "-q")
    assert said.code == 0, said.err
    assert result(tmp_path)["official"] == ["evalbias_length bias"]


def test_every_suite_is_listed_with_what_it_is(cli: Cli) -> None:
    from pairgen.registry import names

    said = cli("--list")
    assert [line.split()[0] for line in said.out.splitlines()] == names("pairgen.evals.suites")
    assert all(len(line.split()) > 3 for line in said.out.splitlines())


@pytest.mark.engine
def test_the_seed_says_the_same_through_both_local_engines(cli: Cli, tmp_path: Path) -> None:
    """Greedy verdicts on world pairs are equal, and the policy's own preference is better than a coin's."""
    pytest.importorskip("vllm")
    said = {}
    for engine in ("transformers", "vllm"):
        out = tmp_path / engine
        assert cli("world-judging", "--set", "group=demo", "--limit", 24, "-m", "builtin:world/seed-a",
                   "--engine", engine, "--out", out, "-q").code == 0
        said[engine] = [reply.answer for row in rows_in(out) for reply in row.replies]
        assert len(said[engine]) == 48
    assert said["vllm"] == said["transformers"]
    out = tmp_path / "implicit"
    assert cli("world-judging", "--set", "group=demo", "--limit", 24, "--policy", "builtin:world/seed-a",
               "--out", out, "-q").code == 0
    assert all(math.isfinite(score) for row in rows_in(out) for score in row.scores)
    assert mean(out, "accuracy") > 0.75


def rows_in(out: Path) -> list[Any]:
    from pairgen.evals.benchmark import EvalItem
    from pairgen.store import read_rows

    return list(read_rows(out / result(out)["step"], EvalItem))
