"""What the verdict says and does not say: levels by interval, worst first, filters where they help."""

from dataclasses import replace
from statistics import NormalDist

import pytest
from audit_sample import AUDIT

from pairgen.audit.filter import parse
from pairgen.audit.limits import CLOSE, DEFECTS, FAR, LIMITS
from pairgen.audit.run import Options
from pairgen.audit.stats import rate
from pairgen.audit.summary import Bias, DatasetAudit, Finding, Group, Histogram, Stat
from pairgen.audit.verdict import JUDGED_AS, ORDER, findings, together
from pairgen.audit.write import filter_names

RIVER = AUDIT.datasets[0]
BARE = replace(
    RIVER, rows=5000, pairs=5000, bad={}, bad_rows=(), contrast=(), groups=(), biases=(), predictability=None,
    scores=(), hygiene=(), languages={}, histograms=(), scatter=None, examples=(), findings=(),
)


def jaccard(mean: float, half: float = 0.01, n: int = 5000) -> Stat:
    return Stat("jaccard", "Jaccard", mean, mean - half, mean + half, mean, mean / 2, min(1, 2 * mean), n)


def length(chosen: int, rejected: int, equal: int = 0, name: str = "chars") -> Bias:
    return Bias(name, "Characters", chosen, rejected, equal, 0.5, 0.4, 0.6)


def only(**changed: object) -> Finding:
    """The one finding about a dataset in which nothing else can be found."""
    found = findings(replace(BARE, **changed))
    assert len(found) == 1, found
    return found[0]


def test_nothing_measured_nothing_said() -> None:
    assert findings(BARE) == ()


def test_worst_comes_first() -> None:
    levels = [ORDER.index(f.level) for f in RIVER.findings]
    assert levels == sorted(levels)
    assert {f.level for f in RIVER.findings} >= {"warn", "note"}


def test_length_is_said_as_the_issue_says_it() -> None:
    """Auto-J's non-tie pairs, judge spec 3.4: the longer answer is the better one in 71.6 %."""
    found = only(biases=(length(7160, 2840),), histograms=RIVER.histograms)
    assert found.level == "warn"
    assert found.text.startswith(
        "A judge that only looks at length and takes the longer answer is right on 71.6 % [70.7, 72.5] of the pairs: "
        "models trained on this learn to be long. The filter keeps about "
    )
    assert found.filter == "len_ratio>0.7 and len_ratio<1.4"


def test_no_filter_is_advised_that_leaves_next_to_nothing() -> None:
    """A twentieth of these pairs are of like length: keeping them alone is no mending."""
    ratios = Histogram("len_ratio", "Length", (0.0, 0.7, 1.4, 9.0), (15, 1, 4))
    found = only(biases=(length(3900, 1100),), histograms=(ratios,))
    assert found.filter is None
    assert found.text.endswith("No filter mends that: len_ratio>0.7 and len_ratio<1.4 is true of 5 %.")


def test_no_filter_is_advised_that_leaves_everything() -> None:
    """Shorter wins by a letter or two: all pairs are of like length already."""
    ratios = Histogram("len_ratio", "Length", (1.0, 1.1, 1.2), (2500, 2500))
    assert only(biases=(length(0, 5000),), histograms=(ratios,)).filter is None


@pytest.mark.parametrize(
    ("agrees", "disagrees", "n", "level", "title"),
    [
        (300, 60, 400, "good", "The judge agrees"), (60, 300, 400, "bad", "The judge disagrees"),
        (150, 140, 400, "note", "The judge cannot tell"), (0, 0, 0, "warn", "The judge said nothing"),
    ],
)
def test_a_judge_is_taken_at_its_word_in_both_orders(
    agrees: int, disagrees: int, n: int, level: str, title: str
) -> None:
    """By the rates that asking a judge leaves; what it names in one order alone counts for neither side."""
    rates = (rate(JUDGED_AS[0], "prefers chosen", agrees, n), rate(JUDGED_AS[1], "prefers rejected", disagrees, n))
    found = only(model_rates=rates)
    assert (found.level, found.title) == (level, title)


@pytest.mark.parametrize(
    ("chosen", "rejected", "level", "word"),
    [
        (976, 24, "bad", "longer"),  # GPT-4-Turbo against Alpaca-7B: 97.6
        (119, 881, "bad", "shorter"),  # LLMBar neighbor: 11.9
        (692, 308, "warn", "longer"),
        (600, 400, "note", "longer"),
        (500, 500, "good", "longer"),
    ],
)
def test_length_is_weighed_on_both_sides(chosen: int, rejected: int, level: str, word: str) -> None:
    found = only(biases=(length(chosen, rejected),))
    assert found.level == level
    assert word in found.title + found.text


def test_ties_of_length_are_decided_by_a_coin() -> None:
    assert "60.0 %" in only(biases=(length(400, 200, 400),)).text


def test_few_pairs_carry_no_claim() -> None:
    """Seven of ten longer is no evidence: the interval reaches from 40 to 89 %."""
    found = findings(replace(BARE, pairs=10, rows=10, biases=(length(7, 3),)))
    assert [(f.level, f.title) for f in found] == [("warn", "Few pairs")]
    assert "± 31 points" in found[0].text


def test_two_pairs_that_agree_carry_no_claim() -> None:
    """Their bootstrap interval is [1, 1]; a defect of a row is one in two rows as well."""
    same = Bias("bold", "Bold", 2, 0, 0, 1.0, 1.0, 1.0)
    flags = (rate("secret", "secrets", 0, 2), rate("same", "chosen = rejected", 1, 2, (2,)))
    two = replace(BARE, pairs=2, rows=2, biases=(same, length(2, 0)), contrast=(jaccard(1.0, 0.0, 2),), hygiene=flags)
    assert [f.title for f in findings(two)] == ["Chosen is rejected", "Few pairs"]
    assert [f.title for f in findings(replace(two, hygiene=flags[:1]))] == ["Few pairs"]


@pytest.mark.parametrize("tokenizer", ["characters/1 (Unicode code points)", "bytes/1 (UTF-8)"])
def test_shared_letters_are_no_contrast(tokenizer: str) -> None:
    """Any two English texts share most of an alphabet: nothing to hold against Table 1."""
    assert findings(replace(BARE, tokenizer=tokenizer, contrast=(jaccard(0.6),))) == ()


def test_pairs_of_one_text_are_no_focused_contrast() -> None:
    """Chosen = rejected has a Jaccard of 100 and no edits, and both would be praised."""
    edits = Stat("lev_norm", "Levenshtein", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5000)
    found = only(contrast=(jaccard(1.0, 0.0), edits), hygiene=(rate("same", "chosen = rejected", 5000, 5000),))
    assert (found.level, found.title) == ("bad", "Chosen is rejected")


@pytest.mark.parametrize(
    ("mean", "level"), [(0.60, "good"), (0.43, "good"), (0.30, "note"), (0.19, "note"), (0.10, "warn")]
)
def test_contrast_is_held_against_table_1(mean: float, level: str) -> None:
    found = only(contrast=(jaccard(mean),))
    assert found.level == level
    assert "43.1" in found.text or "18.1" in found.text


def test_a_mean_beyond_a_limit_with_an_interval_across_it_is_ordinary() -> None:
    assert only(contrast=(jaccard(CLOSE + 0.01, half=0.05),)).level == "note"
    assert only(contrast=(jaccard(FAR - 0.01, half=0.05),)).level == "note"


def test_short_answers_are_no_reason_to_warn() -> None:
    """HH's answers have some 200 characters: two such texts share few words whatever they say."""
    short = replace(jaccard(0.1), name="levenshtein", mean=210.0)
    found = only(contrast=(jaccard(0.1), short))
    assert found.level == "note"
    assert "far shorter than the paper's" in found.text


def test_limits_of_auc_are_cohens() -> None:
    limit, normal = LIMITS["auc"], NormalDist()
    for value, d in ((limit.note, 0.2), (limit.warn, 0.5), (limit.bad, 0.8)):
        assert value == pytest.approx(normal.cdf(d / 2**0.5), abs=0.001)


def test_style_is_named_strongest_first_by_side() -> None:
    strong = Bias("bold", "bold passages", 600, 100, 300, 0.75, 0.72, 0.78)
    strongest = Bias("list_items", "list items", 50, 850, 100, 0.1, 0.08, 0.12)
    unsure = Bias("hedges", "hedging words", 500, 400, 100, 0.55, 0.53, 0.57)
    found = only(biases=(strong, strongest, unsure))
    assert found.level == "bad"
    assert found.text.startswith("List items: rejected has more in 85.0 % of the pairs, less in 5.0 % (AUC 0.10")
    assert "bold passages: chosen has more in 60.0 %" in found.text
    assert "hedging" not in found.text


@pytest.mark.parametrize(("flag", "share"), [("same", 0.02), ("secret", 0.0002), ("contaminated", 0.001)])
def test_what_must_not_be_is_bad_and_filtered(flag: str, share: float) -> None:
    found = only(hygiene=(rate(flag, flag, int(10_000 * share), 10_000, (4, 8)),))
    assert (found.level, found.filter) == ("bad", f"{flag}==0")
    assert f"{10_000 * share:.0f} of 10,000 pairs" in found.text
    assert "ows 4, 8" in found.text


def test_a_flag_without_words_of_its_own_is_shown_under_its_label() -> None:
    found = only(hygiene=(rate("odd", "odd pairs", 3, 1000),))
    assert (found.level, found.title, found.text) == ("note", "odd pairs", "3 of 1,000 pairs (0.3 %).")


def test_clean_data_are_told_so_with_what_that_can_mean() -> None:
    """None of 5,000: the score interval reaches to 0.08 %."""
    found = only(hygiene=tuple(rate(flag, flag, 0, 5000) for flag in DEFECTS))
    assert (found.level, found.title) == ("good", "Clean")
    assert "0.1 % of pairs like these at most" in found.text


def test_unreadable_rows_are_counted_with_the_commonest_reason() -> None:
    found = only(rows=5600, bad={"not JSON": 500, "no rejected": 100})
    assert found.level == "bad"
    assert found.text.startswith("600 of 5,600 rows (10.7 %) cannot be read as a pair, most often for: not JSON (500)")
    assert [f.title for f in findings(replace(BARE, pairs=0))] == ["No pairs"]


def test_a_group_apart_is_named() -> None:
    groups = tuple(Group(name, 2500, (jaccard(mean),)) for name, mean in (("code", 0.7), ("chat", 0.3)))
    text = " ".join(f.text for f in findings(replace(BARE, contrast=(jaccard(0.45),), groups=groups)))
    assert "Of 2 groups 2 stand apart" in text
    assert "code with Jaccard 70.0 [69.0, 71.0] against 45.0" in text


def test_scores_that_say_the_opposite() -> None:
    def margin(mean: float, p10: float) -> Stat:
        return Stat("score_margin", "Score margin", mean, mean - 0.1, mean + 0.1, mean, p10, 2.0, 900)

    assert only(scores=(margin(-0.5, -2),)).level == "bad"
    assert only(scores=(margin(0.5, -1),)).filter == "score_margin>0"
    assert "alike" in only(scores=(margin(0.5, 0),)).text
    assert findings(replace(BARE, scores=(margin(0.5, 0.1),))) == ()


def test_filters_are_put_together_once_each() -> None:
    def say(expression: str | None) -> Finding:
        return Finding("warn", "t", "t", expression)

    assert together([say("a>1"), say(None), say("b==0"), say("a>1")]) == "a>1 and b==0"
    assert together([say(None)]) is None


def test_every_filter_that_is_advised_is_one_that_can_be_used() -> None:
    """Names and grammar are those of `--filter`; a flag that only some audits have is known by its own name."""
    advised = {f.filter for dataset in AUDIT.datasets for f in dataset.findings if f.filter}
    advised |= {f"{name}==0" for name, defect in DEFECTS.items() if defect.drop and name != "contaminated"}
    advised.add(only(contrast=(jaccard(0.1),)).filter or "")
    for expression in advised:
        parse(expression).check(filter_names(Options()))


def test_sentences_hold_no_machine_numbers() -> None:
    dataset: DatasetAudit
    for dataset in AUDIT.datasets:
        for found in dataset.findings:
            digits = [word.strip("[](),.;:%+") for word in found.text.split()]
            assert not [d for d in digits if sum(c.isdigit() for c in d) > 7 or "e-" in d], found
