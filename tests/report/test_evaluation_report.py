"""The page of an evaluation: what it says, what it leaves out, and that texts of a model stay text."""

import re
from dataclasses import replace

import pytest
from report_payloads import PAYLOADS
from test_report_hostile import Structure, structure

from pairgen.report.evaluation import evaluation_report
from pairgen.report.evaluation_summary import Bin, EvaluationSummary, Said, Sample, Spent
from pairgen.report.evaluation_text import in_words, short, shown
from pairgen.report.numbers import Estimated


def estimated(mean: float | None, stderr: float | None = 0.01, n: int = 400, unscored: int = 0) -> Estimated:
    return {"mean": mean, "stderr": stderr, "n": n, "unscored": unscored}


METRICS = {
    "toy_overall": estimated(0.811), "toy_a": estimated(0.9), "accuracy": estimated(0.845, 0.016, 419),
    "accuracy_chosen_first": estimated(0.857), "accuracy_rejected_first": estimated(0.833),
    "consistent_accuracy": estimated(0.809), "parse_rate": estimated(0.99), "truncated": estimated(0.0),
    "sampled_accuracy": estimated(0.8), "auroc": estimated(None, None, 0),
}


def sample(text: str = "text") -> EvaluationSummary:
    """An evaluation with something in every field; `text` stands wherever a model or a file could write."""
    reply = Said("chosen_first", "A", "B", "ok", text)
    kinds = ("wrong", "inconsistent", "unreadable", "refused")
    return EvaluationSummary(
        suite="toy", title="Toy", who=text, command=f"pairgen eval {text}", config=f"path: {text}", code_version="0",
        step="toy@1", items=419, metrics=METRICS, official=("toy_overall", "toy_a"), missing=(text, "c"),
        baselines={"longer": {"accuracy": estimated(0.6)}, text + "!": {"accuracy": estimated(0.5)}},
        groups={text: METRICS, "a": METRICS}, longer={"a": estimated(0.565)},
        calibration=(Bin(0.5, 0.6, 0.1, 20), Bin(0.9, 0.8, 0.1, 20)),
        lengths=(Bin(-1, 0.5, 0.1, 9), Bin(1, 0.9, 0.1, 9)),
        samples=tuple(
            Sample(kind, text, text, text, (text, f"other {text}"), (reply,), (0.1, None), text) for kind in kinds
        ),
        skipped={text: 3}, unscored_share=0.01, unread_share=0.2, unread={text: 3, "none": 7}, first_error=text,
        spent=Spent(838, 2, 10_000, 500, 1.25, 0, 61.0),
    )


@pytest.mark.parametrize("payload", ["\n".join(PAYLOADS), *PAYLOADS[:4], "____", "$\\frac{1}{"], ids=range(7))
def test_a_payload_in_every_field_is_only_text(payload: str) -> None:
    html = evaluation_report(sample(payload))
    assert structure(html) == structure(evaluation_report(sample(" harmless")))


def test_there_is_no_script_and_nothing_to_fetch() -> None:
    html = evaluation_report(sample())
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=\"(?!#)", html)
    assert "Content-Security-Policy" in html


def test_it_says_the_number_its_interval_and_what_reading_adds() -> None:
    """0.845 +- 1.96 x 0.016; the best baseline; what the order decides."""
    words = in_words(sample())
    assert "Accuracy (mean of both orders): 0.845 (95 % interval 0.814 to 0.876), 419 items." in words
    assert "Accuracy without reading is 0.600 at best (longer); this is +24.5 points from there." in words
    assert any("in 85.7 %, with it second in 83.3 %: the order decides 2.4 points." in w for w in words)
    assert words[0].startswith("Toy overall: 0.811")


def test_what_is_missing_comes_first() -> None:
    page = Structure()
    page.feed(evaluation_report(sample()))
    text = " ".join(page.text.split())
    assert text.index("Look at this first") < text.index("Accuracy (mean of both orders)")
    for told in ("20.0 % of the replies hold no verdict that can be read: all wrong (none 7, text 3).",
                 "1.0 % of the items could not be scored",
                 "2 of its subsets are not here", "3 rows of the data left out"):
        assert told in text


def test_sections_with_nothing_to_show_are_left_out() -> None:
    bare = replace(sample(), groups={}, samples=(), lengths=(), calibration=(), config="", missing=(), skipped={},
                   unread_share=0.0, unscored_share=0.0, metrics={"accuracy": estimated(0.5)})
    html = evaluation_report(bare)
    gone = ("By subset", "Order, length, sureness", "Judgments to look at", "Configuration", "Look at this first")
    assert not [title for title in gone if title in html]
    assert "Numbers" in html


def test_the_terminal_shows_what_is_quoted_and_leaves_details_to_the_page() -> None:
    """No samples but votes, no details, and no official number of a subset that has its own line."""
    assert list(shown(sample())) == [
        "toy_overall", "accuracy", "accuracy_chosen_first", "accuracy_rejected_first", "consistent_accuracy",
        "parse_rate",
    ]
    assert short(sample("m")).splitlines() == [
        "Toy: m on 419 items; 838 requests, 10,500 tokens, $1.250",
        "not scored: 1.0 % of the items; the first: m", "not the whole suite: without m, c",
        "left out: 3 rows of the data; m",
    ]
