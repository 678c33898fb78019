"""A matplotlib drawing as SVG that lives inside a page: its colours follow the page's light or dark
theme, it carries no style attribute (the page's policy would block it), and the same data gives the
same bytes.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pairgen.report.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = tuple(f"#01010{index}" for index in range(6))
"""Colours to draw with; the page's style sheet decides what they are."""

GRID = "#010110"
INK = "#000000"
THEME = {INK: "currentColor", GRID: "var(--grid)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)
}
REFERENCE = re.compile(r"^#(\S+)$|^url\(#(\S+)\)$")
METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
SETTINGS: dict[Any, object] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "figure.constrained_layout.use": True,
}


SIZE = (5.0, 3.1)
"""Width and height of a chart in inches."""


def draw(name: str, alt: str, paint: Callable[["Axes"], None], size: tuple[float, float] = SIZE) -> Markup:
    """What `paint` draws, as SVG of `size` inches. `name` is unique in a page; `alt` says what is seen."""
    import matplotlib
    from matplotlib.figure import Figure

    out = io.StringIO()
    settings = {**SETTINGS, "svg.hashsalt": name}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that matplotlib's own font lacks: the page's font draws it
        drawing = Figure(figsize=size)
        paint(drawing.add_subplot())
        drawing.savefig(out, format="svg", transparent=True, metadata=METADATA)
    return _inline(out.getvalue(), name, alt)


def _inline(text: str, name: str, alt: str) -> Markup:
    root = ET.fromstring(text)
    used = {found for node in root.iter() for value in node.attrib.values() if (found := _target(value))}
    for parent in list(root.iter()):
        for child in [c for c in parent if _tag(c) in {"style", "metadata"}]:
            parent.remove(child)
    for node in root.iter():
        _themed(node, name, used)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "role": "img", "aria-label": visible(alt)}
    return Markup(ET.tostring(root, encoding="unicode"))


def _themed(node: ET.Element, name: str, used: set[str]) -> None:
    """Style declarations as attributes, theme colours for the drawn ones, no name that nothing uses."""
    node.tag, node.tail = _tag(node), None
    declared = [part.split(":", 1) for part in node.attrib.pop("style", "").split(";") if ":" in part]
    found = {key.strip(): value.strip() for key, value in declared if "font-family" not in key}
    attributes = {key.rpartition("}")[2]: value for key, value in node.attrib.items()} | found
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    if node.tag == "text":
        attributes.setdefault("fill", "currentColor")
    else:
        node.text = None
    node.attrib.clear()
    for key, value in attributes.items():
        node.attrib[key] = _renamed(key, value, name)


def _renamed(key: str, value: str, name: str) -> str:
    """Names get the chart's own prefix: two charts of a page never share one."""
    if key == "id":
        return f"{name}-{value}"
    if key in {"href", "clip-path"} and (target := _target(value)):
        return value.replace(f"#{target}", f"#{name}-{target}")
    return " ".join(value.split()) if key == "d" else THEME.get(value, value)


def _target(value: str) -> str | None:
    match = REFERENCE.match(value)
    return match and (match.group(1) or match.group(2))


def _tag(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]
