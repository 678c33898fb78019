"""A page opened in a real Chromium without a window: what became of it, and what the browser said."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from report_payloads import PAYLOADS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the report with")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)


@dataclass(frozen=True)
class Opened:
    """A page as the browser left it, and what it said on its console."""

    dom: str
    console: tuple[str, ...]

    def said(self, name: str) -> str:
        """The value of an attribute that a probe left on the root element."""
        found = re.search(rf'<html[^>]* {name}="([^"]*)"', self.dom)
        assert found, self.dom[:300]
        return found.group(1)


def open_page(path: Path) -> Opened:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(dir=path.parent) as profile:
        command = [CHROMIUM, *FLAGS, "--dump-dom", f"--user-data-dir={profile}", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Opened(done.stdout, tuple(said))


def probed(html: str, script: str) -> str:
    """A page with its policy taken off and a script of the test's own at its end, to press its buttons."""
    open_to_tests = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)
    assert open_to_tests != html
    return open_to_tests.replace("</body>", f"<script>{script}</script></body>")


def armed(port: int) -> str:
    """Every payload, aimed at a local server."""
    return "\n".join(PAYLOADS).replace("{port}", str(port))
