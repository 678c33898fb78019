"""The audit's page in a real browser: hostile text runs and fetches nothing, and the filters filter."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from audit_sample import AUDIT, with_text
from browser import armed, needs_browser, open_page, probed

from pairgen.audit.summary import Scatter
from pairgen.report.audit import audit_report

pytestmark = needs_browser
SMALL = replace(AUDIT, datasets=tuple(
    replace(d, histograms=d.histograms[:1], scatter=Scatter("x", "y", (0.1, 0.9), (5.0, 50.0)))
    for d in AUDIT.datasets
))
COUNT = """
const shown = () => [...document.querySelectorAll('.pair')].filter(p => p.checkVisibility()).length;
const press = (title, value) => {
  const row = [...document.querySelectorAll('fieldset')].find(f => f.querySelector('legend').textContent == title);
  [...row.querySelectorAll('label')].find(l => l.textContent.trim() == value).click();
};
const found = {all: shown()};
const step = (name, title, value) => { press(title, value); found[name] = shown(); };
"""
"""Helpers of the tests' own script: how many pairs can be seen, and a button to press."""
TELL = "document.documentElement.setAttribute('data-found', JSON.stringify(found));"


def opened(tmp_path: Path, script: str) -> dict[str, int]:
    """What a script of the test's own finds on the page of the sample audit."""
    path = tmp_path / "page.html"
    path.write_text(probed(audit_report(SMALL), COUNT + script + TELL), encoding="utf-8")
    result: dict[str, int] = json.loads(open_page(path).said("data-found").replace("&quot;", '"'))
    return result


def test_a_hostile_audit_runs_and_fetches_nothing(tmp_path: Path, server: tuple[int, list[str]]) -> None:
    """The browser's own parser sees the kinds of elements of a harmless page, and as many outside the charts."""
    port, hits = server
    doms = {}
    for name, text in {"hostile": armed(port), "harmless": " harmless"}.items():
        path = tmp_path / f"{name}.html"
        path.write_text(audit_report(with_text(text, SMALL)), encoding="utf-8")
        found = open_page(path)
        assert found.console == ()
        doms[name] = re.sub(r"<svg.*?</svg>", "", found.dom, flags=re.DOTALL)
    assert hits == []
    tags = {name: re.findall(r"<(?!ins|del|/)(\w+)", dom) for name, dom in doms.items()}
    assert tags["hostile"] == tags["harmless"]


def test_filters_show_what_they_say_and_combine(tmp_path: Path) -> None:
    """Two datasets of six pairs, three of each kind; the groups take turns."""
    found = opened(tmp_path, """
        step('dataset', 'Dataset', '1. river');
        step('why', 'Why it is here', 'most contrastive');
        step('group', 'Group', 'poems');
        step('other', 'Dataset', '2. stones');
        step('reset', 'Why it is here', 'all');
        press('Dataset', 'all'); press('Group', 'all');
        found.again = shown();
    """)
    assert found == {"all": 12, "dataset": 6, "why": 3, "group": 1, "other": 1, "reset": 2, "again": 12}


def test_the_number_of_pairs_shown_is_counted_by_the_page(tmp_path: Path) -> None:
    """The counter is CSS, so it is read from its drawn width: twelve pairs are two digits, two pairs are one."""
    found = opened(tmp_path, """
        const width = () => {
          const note = document.querySelector('.shown'); note.style.display = 'inline-block';
          return Math.round(note.getBoundingClientRect().width);
        };
        found.twelve = width(); press('Dataset', '1. river'); found.six = width();
    """)
    assert found["twelve"] > found["six"] > 0


def test_buttons_are_reached_and_moved_by_the_keyboard(tmp_path: Path) -> None:
    """Native radio buttons under a legend, each named by its label: no tabindex, no handler."""
    found = opened(tmp_path, """
        const inputs = [...document.querySelectorAll('.browse input')];
        found.inputs = inputs.length;
        found.named = inputs.filter(i => i.labels.length == 1 && i.labels[0].textContent.trim()).length;
        found.focusable = inputs.filter(i => { i.focus(); return document.activeElement == i }).length;
        found.legends = document.querySelectorAll('.browse fieldset > legend').length;
    """)
    assert found["inputs"] == found["named"] == found["focusable"] > 8
    assert found["legends"] == 5


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(tmp_path: Path, width: int) -> None:
    page = tmp_path / "inner.html"
    page.write_text(probed(audit_report(SMALL), """
        parent.postMessage(document.documentElement.scrollWidth, '*')
    """), encoding="utf-8")
    outer = tmp_path / "outer.html"
    outer.write_text(f"""<!doctype html><html><body><script>
        onmessage = event => document.documentElement.setAttribute('data-width', event.data)
        </script><iframe src="inner.html" width="{width}" height="800" frameborder="0"></iframe></body></html>""")
    assert int(open_page(outer).said("data-width")) <= width


def test_the_policy_lets_no_script_run_and_no_rule_be_added(tmp_path: Path) -> None:
    """With its policy on, a script at the end of the page does nothing but raise a complaint."""
    path = tmp_path / "page.html"
    html = audit_report(SMALL)
    path.write_text(html.replace("</body>", "<script>document.title = 'taken'</script></body>"), encoding="utf-8")
    found = open_page(path)
    assert "<title>taken</title>" not in found.dom
    assert any("Content Security Policy" in line for line in found.console)
