"""Official parsers: each with the faults that its script has, beside what the strict parser says of the same text."""

import pytest

from pairgen.evals.compat import PARSERS, parser
from pairgen.parsers.verdicts import FORMATS

BOTH = "At first [[B]] looks good, but finally [[A]]"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rewardbench", "[[B]] beats it. [[A]]", "A"),  # A is looked for first
        ("rewardbench", "[[B]]", "B"),
        ("rewardbench", "[[ A ]]", None),  # no blanks
        ("rewardbench", "[[a]]", None),  # no small letters
        ("rewardbench2", "[[D]] or [[C]]", "C"),
        ("rewardbench2", "none", None),
        ("self-taught", BOTH, None),
        ("self-taught", "[[C]]", "tie"),
        ("self-taught", "[[B]] [[C]]", "B"),
        ("prometheus", "Feedback: fine. [RESULT] B", "B"),
        ("prometheus", "Feedback: fine. [RESULT] B ", None),  # a blank behind it
        ("prometheus", "Feedback: fine. [RESULT] B.", None),
        ("prometheus", "I say B", None),
        ("prometheus", "[RESULT] is not said but this ends in A", "A"),
        ("offsetbias", "Output (b) is worse than Output (a)", "A"),
        ("atla", "**Result:** A", "A"),
        ("atla", "**Result:** Response A", None),
        ("llmbar", "Output (a)", "A"),
        ("llmbar", "I like Output (a) less. Output (b) is better.", "B"),
        ("llmbar", "I like Output (a)", None),  # not at the start of a line
        ("sfr", "**Reasoning:** x\n\n**Result:** B", "B"),
        ("sfr", "**Result:** B is better", None),  # nothing may follow
        ("sfr", "so A", "A"),
        ("sfr", "It is a TIE", "tie"),
        ("judgebench", "My final verdict is: [[A>>B]]", "A"),
        ("judgebench", "[[A=B]]", "tie"),
        ("judgebench", "[[A>B]] ... [[A>>B]]", None),  # two strengths of one verdict differ
        ("autoj", "So, the final decision is Response 2. ", "B"),
        ("autoj", "the final decision is response 1? no, the final decision is tie", "tie"),
        ("autoj", "Response 1", None),
        ("pandalm", "1\n\n### Reason: short", "A"),
        ("pandalm", "garbage", "tie"),  # what it cannot read is a tie
        ("rewardbench-rating", "I give 8/10", "10"),
        ("rewardbench-rating", "Rating: 9.", None),
        ("rewardbench-rating", "9 ", "9"),
        ("prometheus-rating", "Score of 2 ... [RESULT] 4", "2"),  # the first that fits
        ("prometheus-rating", "Good. [RESULT] (5)", "5"),
    ],
)
def test_faults_of_official_parsers(name: str, text: str, expected: str | None) -> None:
    assert parser(name)(text) == expected


def test_the_strict_parser_reads_none_of_the_ambiguous() -> None:
    """Both marks on one last line are no verdict; RewardBench's script says A and its successor nothing."""
    assert FORMATS["verdict"].read(BOTH).winner is None
    assert (PARSERS["rewardbench"](BOTH), PARSERS["self-taught"](BOTH)) == ("A", None)


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize("text", ["", " ", "\n", "[RESULT]", "**Result:**", "[[", "final decision is "])
def test_no_text_breaks_a_parser(name: str, text: str) -> None:
    """The scripts index the last character of an empty reply and stop; here it is a reply that cannot be read."""
    assert parser(name)(text) in (None, "tie")
