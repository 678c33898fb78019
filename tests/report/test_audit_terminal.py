"""The audit in a terminal and as JSON: fits its width, shows what is hostile, and every number is plain."""

import json
import re
from dataclasses import replace

import pytest
from audit_sample import AUDIT, with_text
from report_payloads import PAYLOADS
from test_terminal import shown

from pairgen.audit.summary import Audit, Stat
from pairgen.report.audit_json import audit_json
from pairgen.report.audit_terminal import AuditView
from pairgen.report.measures import plain_number, titled
from pairgen.report.measures import shown as said
from pairgen.report.text import INVISIBLE

NAN = float("nan")
RIVER = AUDIT.datasets[0]


def stat(name: str, *numbers: float) -> Stat:
    return Stat(name, "Label", *numbers, n=9)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    five = replace(AUDIT, datasets=(*AUDIT.datasets, *AUDIT.datasets, RIVER))
    lines = shown(AuditView(five), width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("Contrast") for line in lines) == -(-5 // ((width - 24) // 24))


def test_findings_come_before_any_table() -> None:
    text = shown(AuditView(AUDIT), 120)
    assert text.index("models trained on this learn to be long") < text.index("Contrast  ")
    assert "--filter 'len_ratio>0.7 and len_ratio<1.4'" in text
    assert re.search(r"^! .*\n", text, re.MULTILINE)


def test_datasets_are_columns_and_the_papers_sets_stand_below() -> None:
    text = " ".join(shown(AuditView(AUDIT), 120).split())
    river, stones = (said(d.contrast[0]) for d in AUDIT.datasets)
    assert f"Jaccard of tokens ×100 {river.mean} {river.interval} {stones.mean} {stones.interval}" in text
    assert "paper: CLAIR 43.11 1,108 paper: on-policy judge 39.06 1,258" in text
    assert "poems 1,000" in text


@pytest.mark.parametrize("payload", PAYLOADS[::4], ids=range(len(PAYLOADS[::4])))
def test_hostile_text_is_shown_and_never_obeyed(payload: str) -> None:
    """Without colours rich writes no escape of its own, so none may be left."""
    assert not INVISIBLE.search(shown(AuditView(with_text(payload)), 100).replace("\r", ""))


def test_an_audit_of_nothing_is_printed() -> None:
    assert "paper: CLAIR" in shown(AuditView(Audit((), "c", "0", 0.1)))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(1234567.0, 0, "1,234,567"), (1e-16, 3, "0.000"), (-1e-16, 1, "0.0"), (NAN, 2, "–"), (0.1 + 0.2, 2, "0.30")],
)
def test_numbers_are_plain(value: float, digits: int, text: str) -> None:
    assert plain_number(value, digits) == text


def test_measures_have_the_digits_their_size_asks_for() -> None:
    assert said(stat("levenshtein", 1108.4, 1080.2, 1133.9, 907.0, 101.0, 2000.5)).mean == "1,108"
    share = said(stat("jaccard", 0.43114, 0.42, 0.44, 0.4, 0.2, 0.7))
    assert (share.mean, share.interval, share.median, share.spread) == ("43.1", "[42.0, 44.0]", "40.0", "20.0 to 70.0")
    assert titled(stat("jaccard", *[0.1] * 6)) == "Label ×100"
    assert said(stat("score_margin", 0.0123, NAN, NAN, 0.01, 0, 0.02)).interval == "–"


def test_json_is_the_summary_with_null_for_what_is_not_known() -> None:
    one = replace(RIVER, contrast=(stat("jaccard", 1 / 3, NAN, float("inf"), 1e-16, 2.0, 1234567890.4),))
    found = json.loads(audit_json(replace(AUDIT, datasets=(one,))))
    assert found["datasets"][0]["contrast"][0] == {
        "name": "jaccard", "label": "Label", "mean": 0.333333333, "low": None, "high": None, "median": 0.0,
        "p10": 2.0, "p90": 1234567890.0, "n": 9, "missing": 0,
    }
    assert found["datasets"][0]["bad"] == {"not JSON": 11, "no rejected": 3}
    assert found["command"] == AUDIT.command
    assert [f["level"] for f in found["datasets"][0]["findings"]] == [f.level for f in RIVER.findings]


def test_json_survives_any_text() -> None:
    text = "".join(PAYLOADS)
    raw = audit_json(with_text(text))
    raw.encode("ascii")
    assert json.loads(raw)["datasets"][0]["path"] == RIVER.path + text
