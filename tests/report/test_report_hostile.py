"""Whatever a model writes, in any field, adds no element and no attribute to a report."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from report_payloads import PAYLOADS
from report_sample import SAMPLE, with_text

from pairgen.report.html import Section, bullets, figure, folded, page, paragraphs, table, verbatim, word_diff
from pairgen.report.run import run_report
from pairgen.report.text import INVISIBLE


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, in order; what differs is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"ins", "del"}:
            self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def structure(html: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Structure()
    parser.feed(html)
    parser.close()
    return parser.found


def every_block(text: str) -> str:
    """A page with the text in every place of every building block."""
    body = [
        table([text, text], [[text, text], [text, text]], text),
        figure(verbatim(text), text),
        bullets([text]),
        paragraphs([text]),
        folded(text, verbatim(text)),
        word_diff(text, f"other {text}", text, text),
    ]
    return page(text, [Section(text, block, text) for block in body], text)


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_a_payload_in_every_place_of_every_block_is_only_text(payload: str) -> None:
    html = every_block(payload)
    assert structure(html) == structure(every_block("harmless"))
    assert not INVISIBLE.search(html)


@pytest.mark.parametrize(
    "payload",
    [
        "\n".join(PAYLOADS),
        *PAYLOADS[:2],
        '"><img src=x onerror=window.pwned=1>',
        "$\\frac{1}{",
        "____",
        "\x1b[2J",
    ],
    ids=range(7),
)
def test_a_payload_in_every_field_of_a_run_is_only_text(payload: str) -> None:
    html = run_report(with_text(payload))
    assert structure(html) == structure(run_report(with_text(" harmless")))
    assert not INVISIBLE.search(html)


def test_text_is_shown_as_written() -> None:
    parser = Structure()
    parser.feed(run_report(with_text("<b>&amp;{{ 7 * 7 }}</b>")))
    assert parser.text.count("<b>&amp;{{ 7 * 7 }}</b>") > 50


def test_the_policy_allows_one_style_sheet_and_nothing_else() -> None:
    html = run_report(SAMPLE)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(sha256(style.group(1).encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    expected = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy.group(1).replace("&#39;", "'") == expected
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_nothing_in_a_report_needs_what_the_policy_forbids() -> None:
    found = structure(run_report(SAMPLE))
    assert not {tag for tag, _ in found} & {"script", "img", "link", "iframe", "object", "form"}
    assert not {
        name for _, names in found for name in names if name.startswith("on") or name in {"style", "src"}
    }


def test_names_in_a_report_are_unique_and_links_lead_somewhere() -> None:
    html = run_report(SAMPLE)
    names = re.findall(r'\sid="([^"]+)"', html)
    assert len(names) == len(set(names))
    targets = re.findall(r'href="#([^"]+)"', html) + re.findall(r"url\(#([^)]+)\)", html)
    assert targets
    assert set(targets) <= set(names)


def test_the_same_run_gives_the_same_bytes() -> None:
    assert run_report(SAMPLE) == run_report(with_text(""))
