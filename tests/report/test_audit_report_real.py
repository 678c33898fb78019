"""The reports of real public datasets say what others have measured on them."""

from dataclasses import replace
from pathlib import Path

import pytest
from audit_sample import visible_words
from browser import needs_browser, open_page
from test_terminal import shown

from pairgen.audit.read import open_source
from pairgen.audit.run import Options, audit
from pairgen.audit.summary import Audit
from pairgen.report.audit import audit_report
from pairgen.report.audit_terminal import AuditView


@pytest.fixture(scope="module")
def llmbar(real_data: Path) -> Audit:
    """LLMBar's natural and neighbour sets, one process."""
    paths = [real_data / "llmbar" / f"{name}.json" for name in ("natural", "neighbor")]
    found = [audit(open_source(str(path)), Options(workers=1)).summary for path in paths]
    return Audit(tuple(found), "pairgen audit natural.json neighbor.json", "0", 1.0)


def test_picking_the_longer_answer_is_right_as_often_as_was_measured(llmbar: Audit) -> None:
    """Judge spec 3.4: 56.5 % on natural, 11.9 % on neighbor, so that there the shorter wins in 88.1 %."""
    words = visible_words(audit_report(llmbar))
    assert "takes the longer answer 56.5 % 11.9 %" in words
    assert "takes the shorter answer is right on 88.1 %" in words
    text = " ".join(shown(AuditView(llmbar), 100).split())
    assert "takes the longer answer 56.5 % 11.9 %" in text


def test_the_page_is_small_and_every_pair_can_be_found_again(llmbar: Audit) -> None:
    html = audit_report(llmbar)
    assert len(html.encode()) < 1_000_000
    for dataset in llmbar.datasets:
        assert all(f"row {example.row:,}" in html for example in dataset.examples)


@needs_browser
def test_a_browser_has_nothing_to_complain_about(llmbar: Audit, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(audit_report(replace(llmbar, command="<script>alert(1)</script>")), encoding="utf-8")
    assert open_page(path).console == ()
