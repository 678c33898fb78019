"""Every loss and gradient against numbers of other people's code, and the checker that says so."""

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from pairgen.train.golden import Entry, Number, check
from pairgen.train.golden.__main__ import main
from pairgen.train.objectives import OBJECTIVES

FILE = Path(__file__).parent / "golden_losses.json"
GOLDEN = json.loads(FILE.read_text())
ENTRIES = {entry.name: entry for entry in check(GOLDEN)}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_value_and_gradient_of_an_entry_is_reproduced(name: str) -> None:
    entry = ENTRIES[name]
    off = [n for n in entry.numbers if not n.ok(entry.allowed)]
    assert entry.numbers
    assert not entry.unknown
    assert not off


def test_every_number_of_the_file_that_is_no_input_is_compared() -> None:
    """Counted without the checker: numbers of results, and inputs that stand among them taken away."""
    batch = sum(_numbers(v) for v in GOLDEN["batch"].values())
    batch -= sum(_numbers(v.get(k, [])) for v in GOLDEN["batch"].values() if isinstance(v, dict)
                 for k in ("kl_policy_logps", "kl_ref_logps", "desirable_weight", "undesirable_weight"))
    rewards = sum(_numbers({k: v[k] for k in ("loss", "grad_chosen", "grad_rejected", "metrics")})
                  for v in GOLDEN["reward_modelling"].values())
    rows = sum(_numbers({k: v for k, v in row.items() if isinstance(v, dict)}) for row in GOLDEN["rows"])
    tokens = _numbers(GOLDEN["token_level"]["results"])
    authors = sum(_numbers({k: v for k, v in entry.items() if k != "prompt_embeddings_in_status_order"})
                  for name, entry in GOLDEN["not_trl_authors_code"].items() if not name.startswith("_"))
    assert sum(len(e.numbers) for e in ENTRIES.values()) == rows + batch + rewards + tokens + authors


def _numbers(value: Any) -> int:
    if isinstance(value, dict | list):
        return sum(map(_numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) or value in {"inf", "-inf", "nan"}


def test_where_the_reference_overflows_ours_is_finite_and_listed() -> None:
    listed = {(e.name, n.where): n for e in ENTRIES.values() for n in e.overflows}
    assert set(listed) == {("trl_dpo sigmoid|f=forward_kl", f"r11 {field}") for field in ("loss", "grad_chosen")}
    assert all(math.isfinite(n.ours) for n in listed.values())


NOT_IN_THE_FILE = {"gold-nll", "apo-auto", "bco-matched"}
"""nll on other rows; a choice between two losses of the file; bco with weights. Tested by hand elsewhere."""


@pytest.mark.parametrize("use", OBJECTIVES)
def test_a_loss_of_ours_off_by_a_ten_thousandth_fails_unless_the_file_has_none_of_it(
    use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = OBJECTIVES[use]
    monkeypatch.setitem(OBJECTIVES, use, replace(right, loss=lambda x, **p: right.loss(x, **p) * (1 + 1e-4)))
    assert all(entry.ok for entry in check(GOLDEN)) == (use in NOT_IN_THE_FILE)


def run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pairgen.train.golden", str(path)], capture_output=True, text=True, timeout=120
    )


def test_the_command_prints_a_line_for_every_entry_and_exits_0() -> None:
    done = run(FILE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(any(line.startswith(name) for line in lines) for name in ENTRIES)
    count = sum(len(e.numbers) for e in ENTRIES.values())
    assert lines[-1] == f"{count} values of {len(ENTRIES)} entries compared, 0 entries fail"


def test_a_perturbed_value_makes_the_command_exit_1_and_name_the_entry(tmp_path: Path) -> None:
    golden = copy.deepcopy(GOLDEN)
    golden["rows"][1]["trl_dpo"]["apo_zero"]["grad_chosen"] *= 1 + 1e-8
    path = tmp_path / "perturbed.json"
    path.write_text(json.dumps(golden))
    done = run(path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "fails: trl_dpo apo_zero"
    assert "r01 grad_chosen  FAILS" in done.stdout


PLACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "trl_cpo hinge (summed)": lambda g: g["rows"][4]["trl_cpo"]["hinge (summed)"],
    "trl_orpo odds_ratio[beta=0.1] (avg, float32 inside)":
        lambda g: g["rows"][0]["trl_orpo"]["odds_ratio[beta=0.1] (avg, float32 inside)"],
    "batch trl_dpo:aot": lambda g: g["batch"]["trl_dpo:aot"],
    "batch trl_kto:kto kl>0": lambda g: g["batch"]["trl_kto:kto kl>0"],
    "reward_modelling bt+margin": lambda g: g["reward_modelling"]["bt+margin"],
    "authors Yin RPO unpaired[beta=0.1,tau=0.5]":
        lambda g: g["not_trl_authors_code"]["Yin RPO unpaired[beta=0.1,tau=0.5]"],
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("field", ["grad_chosen", "grad_rejected"])
def test_a_sign_changed_in_any_section_fails_there_and_nowhere_else(name: str, field: str) -> None:
    golden = copy.deepcopy(GOLDEN)
    entry = PLACES[name](golden)
    entry[field] = [-v for v in entry[field]] if isinstance(entry[field], list) else -entry[field]
    assert [e.name for e in check(golden) if not e.ok] == [name]


def test_entries_and_fields_it_does_not_know_fail_by_name() -> None:
    golden = copy.deepcopy(GOLDEN)
    golden["rows"][0]["trl_dpo"]["sigmoid[gamma=1]"] = {"loss": 1.0}
    golden["rows"][0]["trl_dpo"]["dancing"] = {"loss": 1.0}
    golden["rows"][1]["trl_dpo"]["hinge"]["curvature"] = 0.0
    golden["rows"][2]["elsewhere"] = {"sigmoid": 0.5}
    golden["batch"]["someone:sigmoid"] = {"loss_mean": 1.0}
    golden["not_trl_authors_code"]["SLuG"] = {"losses": [1.0]}
    golden["astrology"] = {}
    golden["batch"]["trl_dpo:aot"]["grad_chosen"].append(0.0)
    unknown = {e.name: e.unknown for e in check(golden) if not e.ok}
    assert unknown == {
        "trl_dpo sigmoid[gamma=1]": "r00: sigmoid has no option 'gamma' here",
        "trl_dpo dancing": "r00: no loss here is called 'dancing'",
        "trl_dpo hinge": "r01: no counterpart for the field 'curvature'",
        "rows elsewhere": "r02: no section here is called 'elsewhere'",
        "batch trl_dpo:aot": "9 values of 'grad_chosen', where the inputs give 8",
        "batch someone:sigmoid": "no trainer here is called 'someone'",
        "authors SLuG": "no loss here is called so",
        "astrology": "no such section here",
    }


def test_settings_that_the_file_lacks_are_read_from_the_name() -> None:
    """exo's loss at policy == reference is -log(4 e (1 - e))/2 for any noise e."""
    row = {**GOLDEN["rows"][0], "trl_dpo": {"exo_pair[ls=0.25]": {"loss": -0.5 * math.log(0.75)}}}
    golden = {"_about": {}, "rows": [row]}
    assert all(entry.ok for entry in check(golden))


def test_rows_of_extreme_log_probs_stay_finite_where_their_code_does_not() -> None:
    """Margins of 4950 either way and a completion of probability 1, with `nan` in place of every value."""
    extreme = [(-10.0, -5000.0), (-5000.0, -10.0), (0.0, -10.0), (-10.0, 0.0), (0.0, 0.0)]
    rows = []
    for i, (chosen, rejected) in enumerate(extreme):
        row = copy.deepcopy(GOLDEN["rows"][0])
        for section in ("trl_dpo", "trl_cpo", "trl_orpo", "trl_0_28"):
            row[section] = {name: dict.fromkeys(entry, "nan") for name, entry in row[section].items()}
        row.update(id=f"x{i}", policy_chosen_logps=chosen, policy_rejected_logps=rejected)
        del row["trl_tpo (tpo_alpha=0)"], row["metrics"]
        rows.append(row)
    found = check({"_about": {}, "rows": rows})
    assert [e.name for e in found if not e.ok] == []
    assert all(len(e.overflows) == len(e.numbers) for e in found)


def test_a_finite_number_beside_an_overflow_may_move_by_what_kept_ours_finite_and_no_more() -> None:
    beside = [Number("loss", 0.0, 4.5e-7, overflow=True), Number("grad", math.nan, 0.1, overflow=True)]
    assert Entry("trl_dpo sigmoid", tuple(beside)).ok
    assert not Entry("trl_dpo sigmoid", (Number("loss", 0.0, 0.1, overflow=True),)).ok
    assert not Entry("trl_dpo sigmoid", (Number("loss", math.inf, math.inf, overflow=True),)).ok
    assert not Entry("trl_dpo sigmoid", (Number("loss", 0.0, 4.5e-7),)).ok


@pytest.mark.parametrize(("content", "said"), [
    (None, "No such file"),
    ("{", "not a file of golden losses"),
    ("[1]", "not of the format of golden losses"),
    ('{"_about": {}, "rows": [{"id": "r00", "metrics": {"rewards/chosen": 1}}]}', "not of the format"),
])
def test_a_file_that_is_missing_or_of_another_form_exits_2_with_one_line(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "golden.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert str(path) in err


def test_the_command_without_a_file_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m pairgen.train.golden FILE")
