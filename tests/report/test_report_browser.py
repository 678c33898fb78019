"""The report in a real browser: nothing runs, nothing is fetched, nothing is complained about."""

import re
from pathlib import Path

from browser import armed, needs_browser, open_page
from report_sample import SAMPLE, with_text
from test_report_hostile import every_block, structure

from pairgen.report.run import run_report

pytestmark = needs_browser


def test_a_hostile_report_runs_and_fetches_nothing(tmp_path: Path, server: tuple[int, list[str]]) -> None:
    """The browser's own parser sees the elements of a harmless report, and no more."""
    port, hits = server
    for name, text in {"hostile": armed(port), "harmless": " harmless"}.items():
        (tmp_path / f"{name}.html").write_text(run_report(with_text(text)), encoding="utf-8")
    hostile, harmless = open_page(tmp_path / "hostile.html"), open_page(tmp_path / "harmless.html")
    assert structure(hostile.dom) == structure(harmless.dom)
    assert hits == []
    assert hostile.console == harmless.console == ()


def test_hostile_blocks_run_and_fetch_nothing(tmp_path: Path, server: tuple[int, list[str]]) -> None:
    port, hits = server
    (tmp_path / "blocks.html").write_text(every_block(armed(port)), encoding="utf-8")
    found = open_page(tmp_path / "blocks.html")
    assert hits == []
    assert found.console == ()


def test_the_canary_would_sing(tmp_path: Path, server: tuple[int, list[str]]) -> None:
    """Without escaping and policy the same payloads run and fetch: the tests above can fail."""
    port, hits = server
    cage = "Object.defineProperty(window, 'pwned', {set() { document.documentElement.lang = 'sung' }})"
    raw = f"<!doctype html><html><body><script>{cage}</script>{armed(port)}"
    (tmp_path / "raw.html").write_bytes(raw.encode("utf-8", "replace"))
    found = open_page(tmp_path / "raw.html")
    assert hits
    assert '<html lang="sung">' in found.dom


def test_the_style_sheet_is_applied_and_charts_are_drawn(tmp_path: Path) -> None:
    """The policy's hash fits: a wrong one would leave the page bare and complain on the console."""
    html = run_report(SAMPLE)
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    (tmp_path / "wrong.html").write_text(html.replace("margin: 0 auto", "margin: 0"), encoding="utf-8")
    assert open_page(tmp_path / "page.html").console == ()
    assert any("Content Security Policy" in line for line in open_page(tmp_path / "wrong.html").console)
    assert len(re.findall(r"<svg [^>]*role=\"img\"", html)) == 8
