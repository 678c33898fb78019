"""Each alarm goes off just past its limit, stays silent at it, and names the numbers."""

import pytest

from pairgen.evals.drift import DriftLimits, Vitals, drift_alarms

CALM = Vitals(1, consistency=0.8, parse_rate=0.95, kept_share=0.6, tokens=100)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Vitals(2, consistency=0.74), "consistency over both orders fell from 0.800 (iteration 1) to 0.740"),
        (Vitals(2, parse_rate=0.89), "can be read fell from 0.950 (iteration 1) to 0.890"),
        (
            Vitals(2, kept_share=0.24),
            "only 24.0% of the pairs kept a judgment for training; the limit is 25%",
        ),
        (Vitals(2, tokens=151), "grew from 100.0 tokens (iteration 1) to 151.0; the limit is 1.5 times"),
    ],
)
def test_past_the_limit(after: Vitals, said: str) -> None:
    (sentence,) = drift_alarms(CALM, after, DriftLimits())
    assert sentence.startswith("Iteration 2: ")
    assert said in sentence


def test_the_suite_that_fell_is_named() -> None:
    (sentence,) = drift_alarms(CALM, Vitals(2, consistency=0.7), DriftLimits(), "heldout")
    assert sentence.startswith("Iteration 2: consistency over both orders in heldout fell from 0.800")


def test_within_the_limits_and_without_measurements_nothing_is_said() -> None:
    assert drift_alarms(CALM, Vitals(2, 0.76, 0.91, 0.25, 150), DriftLimits()) == []
    assert drift_alarms(CALM, Vitals(2), DriftLimits()) == []
    assert drift_alarms(Vitals(0), CALM, DriftLimits()) == []


@pytest.mark.parametrize(
    "limit",
    [
        {"consistency_fall": 0.2},
        {"parse_rate_fall": 0.2},
        {"kept_share_floor": 0.1},
        {"length_growth": 3},
    ],
)
def test_every_limit_is_read(limit: dict[str, float]) -> None:
    bad = Vitals(2, consistency=0.7, parse_rate=0.8, kept_share=0.2, tokens=200)
    assert len(drift_alarms(CALM, bad, DriftLimits())) == 4
    assert len(drift_alarms(CALM, bad, DriftLimits(**limit))) == 3
