"""The building blocks of every report: page, table, figure, word diff. All of them escape what they get.

A block is Markup, which only these functions make; plain strings are escaped wherever they land.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pairgen.report.text import DIFF_WORDS, diff_words, one_line, visible

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
EMPTY = Markup("")


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page; `lead` is a sentence or two on how to read it."""

    title: str
    body: Markup
    lead: str = ""


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters |= {"visible": _shown, "one_line": one_line}
    return environment


def _shown(value: object) -> str | Markup:
    """Markup as it is, anything else as visible text (which the template then escapes)."""
    return value if isinstance(value, Markup) else visible(str(value))


def render(template: str, **values: Any) -> Markup:
    """A template of this package, filled; every value that is not Markup is escaped."""
    return Markup(_environment().get_template(template).render(**values))


def page(title: str, sections: Sequence[Section], subtitle: str = "", rules: str = "") -> str:
    """The whole file. Its policy allows this one style sheet and nothing else: no script, no fetch.

    `rules` are style rules of this page alone; they must not hold text that anyone else wrote.
    """
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8") + rules
    policy = base64.b64encode(sha256(style.encode()).digest()).decode()
    return str(render(
        "page.html", title=title, subtitle=subtitle, sections=sections, style=Markup(style), policy=policy,
    ))


Rows = Sequence[Sequence[object]]


def table(columns: Sequence[str], rows: Rows, caption: str = "", texts: int = 1) -> Markup:
    """A table whose first `texts` columns are words and whose others are numbers, set to the right."""
    return render("table.html", columns=columns, rows=rows, caption=caption, texts=texts)


def figure(chart: Markup, caption: str) -> Markup:
    """A chart with what it shows written under it."""
    return render("figure.html", chart=chart, caption=caption)


def figures(charts: Sequence[Markup]) -> Markup:
    """Figures side by side where the screen is wide enough."""
    return render("figures.html", charts=charts)


def word_diff(left: str, right: str, left_title: str = "chosen", right_title: str = "rejected") -> Markup:
    """Two texts side by side; what only the left has is `<ins>`, what only the right has is `<del>`."""
    diff = diff_words(left, right)
    return render(
        "diff.html", left=diff.left, right=diff.right, left_title=left_title, right_title=right_title,
        cut=diff.cut, limit=DIFF_WORDS,
    )


def paragraphs(texts: Sequence[str]) -> Markup:
    """Each text as a paragraph."""
    return Markup("").join(Markup("<p>{}</p>").format(visible(text)) for text in texts)


def bullets(texts: Sequence[str]) -> Markup:
    """Each text as a list entry."""
    items = Markup("").join(Markup("<li>{}</li>").format(visible(text)) for text in texts)
    return Markup("<ul>{}</ul>").format(items) if texts else EMPTY


def verbatim(text: str) -> Markup:
    """A text as it was written, in a fixed-width font."""
    return Markup('<pre tabindex="0">{}</pre>').format(visible(text))


def folded(summary: str, body: Markup) -> Markup:
    """Something that opens on a click, without a script."""
    return Markup("<details><summary>{}</summary>{}</details>").format(one_line(summary, 160), body)
