"""The terminal tables: right numbers, and nothing in model text that a terminal or rich would obey."""

import io

import pytest
from report_payloads import PAYLOADS
from report_sample import SAMPLE, with_text
from rich.console import Console, RenderableType

from pairgen.report.terminal import (
    diff_table,
    flow_table,
    headline_text,
    iteration_table,
    plain,
    word_diff_text,
)
from pairgen.report.text import INVISIBLE


def shown(what: RenderableType, width: int = 400) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=width, legacy_windows=False
    )
    console.print(what, soft_wrap=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_a_run_ends_with() -> None:
    lines = shown(iteration_table(SAMPLE)).splitlines()
    assert len(lines) == 7
    assert lines[1].split() == [
        "0",
        "0.607±0.022",
        "0.999±0.001",
        "0.756±0.027",
        "1.000±0.000",
        "–",
        "–",
    ]
    assert lines[6].split()[-3:] == ["95.0", "%", "6,700"]


def test_rows_and_reasons() -> None:
    lines = shown(flow_table(SAMPLE.flows)).splitlines()
    assert lines[2].split(maxsplit=4) == ["pair", "7,984", "3,440", "–", "duplicate 2,434, same_answer 2,110"]


def test_the_headline_is_marked_by_direction() -> None:
    assert [line[0] for line in shown(headline_text(SAMPLE)).splitlines()] == ["+", "-", "-", "~", "!"]


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_model_text_is_shown_and_never_obeyed(payload: str) -> None:
    """Without colours rich writes no escape of its own, so none may be left."""
    run = with_text(payload)
    parts: list[RenderableType] = [
        plain(payload),
        headline_text(run),
        iteration_table(run),
        flow_table(run.flows),
        diff_table(payload, f"other {payload}", payload, payload),
    ]
    for part in parts:
        assert not INVISIBLE.search(shown(part).replace("\r", ""))


@pytest.mark.parametrize("markup", ["[red]x[/red]", "[/]", "[link=http://e.com]x[/link]", ":smile:"])
def test_rich_markup_is_text(markup: str) -> None:
    assert markup in shown(plain(markup))
    assert markup in shown(diff_table(markup, "y"))
    assert markup in shown(flow_table(with_text(markup).flows))


def test_the_diff_is_coloured_where_the_texts_differ() -> None:
    left, right = word_diff_text("the second largest", "the second smallest")
    assert left.plain == "the second largest"
    assert [(left.plain[span.start : span.end], span.style) for span in left.spans] == [("largest", "green")]
    assert [(right.plain[s.start : s.end], s.style) for s in right.spans] == [("smallest", "red strike")]
