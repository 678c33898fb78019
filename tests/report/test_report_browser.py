"""The report in a real browser: nothing runs, nothing is fetched, nothing is complained about."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from report_payloads import PAYLOADS
from report_sample import SAMPLE, with_text
from test_report_hostile import every_block, structure

from pairgen.report.run import run_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine to open the report with"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
    "--dump-dom",
)


@dataclass(frozen=True)
class Opened:
    """A page as the browser left it, and what it said on its console."""

    dom: str
    console: tuple[str, ...]


def open_page(path: Path) -> Opened:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={path.parent / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(done.stdout, tuple(said))


@pytest.fixture
def server() -> Iterator[tuple[int, list[str]]]:
    """A local web server that notes every request: what the payloads try to reach."""
    hits: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running.server_port, hits
    running.shutdown()
    running.server_close()


def armed(port: int) -> str:
    return "\n".join(PAYLOADS).replace("{port}", str(port))


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
