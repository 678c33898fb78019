"""What the page of an audit says, what is left out, and how large it may grow."""

import base64
import re
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from audit_sample import AUDIT, visible_words, with_text
from report_payloads import PAYLOADS
from test_report_hostile import Structure, structure

from pairgen.audit.stats import histogram
from pairgen.audit.summary import Audit, Example, Histogram, Scatter
from pairgen.report.audit import audit_report
from pairgen.report.audit_charts import common, overlaid
from pairgen.report.browse import BUDGET, browser
from pairgen.report.text import INVISIBLE

RIVER, STONES = AUDIT.datasets
HTML = audit_report(AUDIT)
SMALL = replace(AUDIT, datasets=tuple(
    replace(d, histograms=d.histograms[:1], scatter=Scatter("x", "y", (0.1, 0.9), (5.0, 50.0)))
    for d in AUDIT.datasets
))
HARMLESS = audit_report(with_text(" harmless", SMALL))
BARE = replace(
    RIVER, bad={}, bad_rows=(), contrast=(), groups=(), biases=(), predictability=None, scores=(), hygiene=(),
    languages={}, histograms=(), scatter=None, examples=(), findings=(), notes=(),
)


def sections(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def without_charts(html: str) -> str:
    """A chart with longer labels has room for fewer ticks, so its elements differ in number."""
    return re.sub(r"(<svg [^>]*>).*?(</svg>)", r"\1\2", html, flags=re.DOTALL)


def example(index: int, text: str = "word") -> Example:
    return Example("most contrastive", index, "", f"prompt {index}", text, f"{text} more", 0.5, 5, 1.0)


def test_every_section_is_there_and_the_verdict_is_first() -> None:
    assert sections(HTML) == [
        "Verdict", "Contrast", "For scale", "Distributions", "Jaccard against Levenshtein", "Length", "Style",
        "Hygiene", "Scores and model", "Groups", "Languages", "Pairs to look at", "Rows that are no pairs",
        "How this was measured",
    ]
    words = visible_words(HTML)
    assert "right on 71.2 % [69.5, 72.8] of the pairs: models trained on this learn to be long" in words
    assert words.index("learn to be long") < words.index("river 3,000 pairs stones")


def test_an_audit_of_nothing_still_has_a_page() -> None:
    assert sections(audit_report(Audit((BARE,), "c", "0", 0.1))) == ["Verdict", "How this was measured"]
    assert sections(audit_report(Audit((), "c", "0", 0.1))) == ["How this was measured"]


def test_measures_are_rows_and_datasets_columns() -> None:
    words = visible_words(HTML)
    river, stones = (d.contrast[0] for d in AUDIT.datasets)
    for stat in (river, stones):
        said = f"{100 * stat.mean:.1f} [{100 * stat.low:.1f}, {100 * stat.high:.1f}] "
        assert said + f"{100 * stat.median:.1f} · {100 * stat.p10:.1f} to {100 * stat.p90:.1f}" in words
    assert "river 3,000 pairs stones 1,200 pairs Jaccard of tokens ×100" in words


def test_the_papers_table_stands_beside_with_its_caveat() -> None:
    words = visible_words(HTML)
    assert "paper: CLAIR 43.11 1,108 – paper: on-policy judge 39.06 1,258" in words
    assert "paper: stronger preferred 24.35 1,607 – paper: off-policy judge 18.05 1,203" in words
    assert "tokenizer was never published" in words


def test_no_number_of_a_machine_is_shown() -> None:
    words = visible_words(HTML)
    assert not re.findall(r"\d[eE][-+]\d|\d\.\d{4,}|\bnan\b|\binf\b|-0\.?0*\b(?![.\d])", words)


def test_every_chart_says_its_n_and_its_axes() -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", HTML)
    assert len(captions) == 13
    assert all("n = " in caption for caption in captions)
    for chart in re.findall(r"<svg.*?</svg>", HTML, re.DOTALL):
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart)
        assert any(re.search("[a-z]{3}", text) for text in texts), texts
        assert 'aria-label="' in chart


def test_what_lies_beyond_an_axis_is_said() -> None:
    values = np.concatenate([np.arange(996.0), np.full(4, 1e6)])
    one = replace(RIVER, histograms=(histogram("len_diff", "Length", values),))
    words = visible_words(audit_report(Audit((one,), "c", "0", 1)))
    assert "Length (n = 1,000). Beyond the axis: river 0.4 %." in words


def test_histograms_of_two_datasets_get_the_same_bins_and_lose_nothing_within() -> None:
    rng = np.random.default_rng(5)
    narrow, wide = rng.integers(0, 300, 900), rng.integers(0, 5000, 700)
    drawn = [histogram("levenshtein", "L", narrow.astype(float)), histogram("levenshtein", "L", wide.astype(float))]
    first, second = common(drawn)
    assert first.edges == second.edges
    for found, values in ((first, narrow), (second, wide)):
        assert found.counts == tuple(np.histogram(values, found.edges)[0].tolist())


def test_only_ratios_are_drawn_as_factors() -> None:
    """Lengths that all lie above nought are characters, not 2× and 4×."""
    lengths = histogram("chosen_chars", "Chosen", np.arange(100.0, 900.0))
    assert lengths.edges[0] > 0
    assert "×" not in str(overlaid("x", {"a": lengths}, "Chosen, characters"))
    assert "2×" in str(overlaid("x", {"a": histogram("len_ratio", "Ratio", np.array([0.5, 1, 2]))}, "Ratio"))


def test_a_chart_says_its_distribution_in_words() -> None:
    drawn = Histogram("jaccard", "Jaccard", (0.0, 0.25, 0.5, 0.75, 1.0), (1, 1, 0, 2))
    said = str(overlaid("x", {"a": drawn}, "Jaccard ×100"))
    assert "a: 0 to 25 25 %, 25 to 50 25 %, 50 to 75 0 %, 75 to 100 50 %" in said


def test_the_page_of_a_million_pairs_is_small() -> None:
    """As many points, groups, rows and long examples as an audit could hand over stay under 5 MB."""
    rng = np.random.default_rng(0)
    prose = " ".join(rng.choice(["stone", "river", "<b>", "&", "light"], 20_000))
    big = replace(
        RIVER, pairs=1_000_000, rows=1_000_000,
        scatter=Scatter("Jaccard", "Levenshtein", tuple(rng.random(20_000)), tuple(5000 * rng.random(20_000))),
        examples=tuple(example(at, " ".join(rng.permutation(prose.split())[:3000])) for at in range(60)),
        groups=RIVER.groups * 500, bad_rows=RIVER.bad_rows * 500,
    )
    html = audit_report(Audit((big, big, big), "c", "0", 1))
    assert len(html.encode()) < 5_000_000
    assert re.search(r"[\d,]+ more are left out to keep the page small", html)


def test_examples_of_every_dataset_are_shown_before_any_is_left_out() -> None:
    text = "long " * 1400
    sets = [replace(BARE, name=name, examples=tuple(example(i, text) for i in range(300))) for name in "abc"]
    body = browser(sets).body
    assert len(body) < 1.1 * BUDGET
    shown = [len(re.findall(rf"<span class=\"facts\">{name} ·", body)) for name in "abc"]
    assert max(shown) - min(shown) <= 1
    assert min(shown) > 20


def test_filters_are_numbers_in_classes_and_rules() -> None:
    found = browser(AUDIT.datasets)
    assert re.fullmatch(
        r"(\.browse:has\(#f\d-\d+:checked\) \.pair:not\(\.f\d-\d+\) \{ display: none; \}\n?)+", found.style
    )
    names = set(re.findall(r'id="(f\d-\d+)"', found.body))
    assert names == set(re.findall(r"#(f\d-\d+):", found.style))
    assert set(re.findall(r"f\d-\d+", " ".join(re.findall(r'class="pair ([^"]*)"', found.body)))) <= names


def test_a_filter_with_one_value_is_no_filter() -> None:
    alone = replace(BARE, examples=(example(1), example(2)))
    assert "<input" not in browser([alone]).body
    assert browser([BARE]).body == ""


def test_two_datasets_of_one_name_stay_apart() -> None:
    html = audit_report(Audit((SMALL.datasets[0], replace(SMALL.datasets[1], name="river")), "c", "0", 1))
    assert "river (2) 1,200 pairs" in visible_words(html)
    assert "(river n = 3,000, river (2) n = 1,200)" in html


@pytest.mark.parametrize("payload", ["\n".join(PAYLOADS), *PAYLOADS[::8]], ids=range(len(PAYLOADS[::8]) + 1))
def test_a_payload_in_every_field_of_an_audit_is_only_text(payload: str) -> None:
    html = audit_report(with_text(payload, SMALL))
    assert structure(without_charts(html)) == structure(without_charts(HARMLESS))
    assert set(structure(html)) <= set(structure(HARMLESS))
    assert not INVISIBLE.search(html)


def test_text_is_shown_as_written() -> None:
    parser = Structure()
    parser.feed(audit_report(with_text("<b>&amp;{{ 7 * 7 }}</b>", SMALL)))
    assert parser.text.count("<b>&amp;{{ 7 * 7 }}</b>") > 100


def test_the_policy_allows_the_pages_own_rules_and_nothing_else() -> None:
    style = re.search(r"<style>(.*?)</style>", HTML, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', HTML)
    assert style is not None
    assert policy is not None
    digest = base64.b64encode(sha256(style.group(1).encode()).digest()).decode()
    expected = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy.group(1).replace("&#39;", "'") == expected
    assert not {tag for tag, _ in structure(HTML)} & {"script", "img", "link", "iframe", "object", "form"}
    assert not re.search(r"\s(on\w+|style|src)=", re.sub(r">[^<]*<", "><", HTML.split("</style>")[1]))


def test_names_are_unique_and_links_lead_somewhere() -> None:
    names = re.findall(r'\sid="([^"]+)"', HTML)
    assert len(names) == len(set(names))
    targets = re.findall(r'href="#([^"]+)"', HTML) + re.findall(r"url\(#([^)]+)\)", HTML)
    assert set(targets) <= set(names)


def test_the_same_audit_gives_the_same_bytes() -> None:
    assert audit_report(SMALL) == audit_report(with_text("", SMALL))
