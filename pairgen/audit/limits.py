"""From where on the verdict speaks up: every threshold, with its reason and where that comes from."""

from dataclasses import dataclass

from pairgen.audit.summary import TABLE_1


@dataclass(frozen=True, slots=True)
class Limit:
    """A value is worth a note from `note` on, a warning from `warn`, and is bad from `bad`."""

    note: float
    warn: float
    bad: float
    why: str


LIMITS = {
    "length": Limit(
        0.50, 0.64, 0.75,
        "AlpacaEval's human annotators prefer the longer answer in 64 % of the pairs whose lengths differ; three "
        "in four is beyond every human-labelled set (44.6 % HHH harmless to 71.6 % Auto-J)",
    ),
    "style": Limit(
        0.55, 0.65, 0.72,
        "picking the longer answer, the simplest style judge, is right on 44.6 to 71.6 % of human-labelled sets",
    ),
    "auc": Limit(
        0.556, 0.638, 0.714,
        "Cohen's small, medium and large effects (d = 0.2, 0.5, 0.8) as the chance Φ(d/√2)",
    ),
    "unreadable": Limit(0.0, 0.01, 0.10, "one row in a hundred is no accident, one in ten is a wrong column"),
    "language": Limit(0.05, 0.5, 1.0, "from one row in twenty on, another language moves means of word measures"),
}

FEW, SOME = 100, 1000
"""Pairs below which a share is known to ± 10 points or worse (95 %), and to ± 3."""

JUDGED = 30
"""Pairs below which only defects of rows are judged: two pairs that agree have the interval [1, 1] by bootstrap."""

SLACK = 35.98 / 28.20
"""Mean set Jaccard of the 20 pairs that CLAIR's authors published, by tokenizer: 28.2 split at white space, 36.0
as words and punctuation. A tokenizer alone moves the measure by this factor."""

CLOSE = TABLE_1[0].jaccard / SLACK
"""From here on Jaccard is in the range of CLAIR's, the most contrastive set of Table 1."""

FAR = min(p.jaccard for p in TABLE_1) / SLACK
"""Below this it is under the least contrastive set of Table 1 with any tokenizer."""

SHORT = min(p.levenshtein for p in TABLE_1) / 4
"""Mean Levenshtein below which answers are far shorter than those of Table 1: short texts share fewer words."""

LETTERS = ("characters/", "bytes/")
"""Tokenizers whose Jaccard is of alphabets, which any two answers share: nothing that Table 1 could be beside."""

EDITS = 0.05
"""Normalised Levenshtein below which a pair is a few edits of one text (HumanEvalPack's bugs leave 97 % of it)."""

LENGTH_BAND = (0.7, 1.4)
"""Length ratios (rejected by chosen) that a length filter keeps: half an octave to each side."""

KEPT = 0.10
"""The share of the pairs that a filter must leave to be advised: one that leaves less makes another dataset."""

GROUP_ROWS = 30
"""Rows that a group must have before it is compared."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A hygiene flag in words: `{n}` is the number of pairs. Shares above `warn` and `bad` raise the level.

    `column` is what `--filter` calls it where that differs; `drop` says whether filtering it out is advised.
    """

    title: str
    text: str
    warn: float = 0.0
    bad: float = 1.0
    drop: bool = True


NEVER, ALWAYS = 2.0, -1.0
DEFECTS = {
    "same": Defect("Chosen is rejected", "In {n} both sides are the same text: nothing can be learnt there.", 0, 0.01),
    "near_same": Defect(
        "Chosen is nearly rejected", "In {n} the sides differ in case, spaces or end punctuation alone: the label "
        "teaches those.", 0.005, 0.05,
    ),
    "contradiction": Defect(
        "Contradictions", "In {n} another row ranks the same answers the other way: the two cancel at best.", 0, 0.01
    ),
    "contaminated": Defect(
        "Contamination", "In {n} a run of 13 words is in the set they were checked against: scores on it prove little.",
        0, 0,
    ),
    "empty_prompt": Defect("Empty prompts", "In {n} there is no prompt.", 0, 0.01),
    "empty_chosen": Defect(
        "Empty chosen answers", "In {n} silence is preferred: models learn to stop at once.", 0, 0.005
    ),
    "empty_rejected": Defect("Empty rejected answers", "In {n} any text wins, for the other one is empty.", 0, 0.01),
    "truncated_chosen": Defect(
        "Cut-off chosen answers", "In {n} the chosen answer seems cut off: models learn to stop in mid-sentence.",
        0.01, 0.10,
    ),
    "truncated_rejected": Defect(
        "Cut-off rejected answers", "In {n} the rejected answer seems cut off: completeness can be what is learnt.",
        0.02, 0.25, drop=False,
    ),
    "leaked_marker": Defect(
        "Leaked markers", "In {n} there are marks of how the data was made (of a reviser or a judge).", 0, 0.01
    ),
    "template_token": Defect(
        "Template tokens", "In {n} tokens or speakers of a chat template stand as text: a trainer's template adds "
        "its own.", 0, 0.01,
    ),
    "refusal_chosen": Defect(
        "Refusals preferred", "In {n} a refusal is preferred. Right for harmful prompts; look whether these are.",
        0.05, NEVER, drop=False,
    ),
    "pii": Defect("Personal data", "In {n} there is what looks like addresses, phone or card numbers.", 0, NEVER),
    "secret": Defect("Secrets", "In {n} there is what looks like keys or passwords: models repeat them.", ALWAYS, 0),
    "duplicate_prompt": Defect(
        "Prompts that come again", "In {n} the prompt has come before: split by prompt, or held-out parts leak.",
        0.5, NEVER, drop=False,
    ),
    "duplicate_pair": Defect("Pairs that come again", "In {n} an earlier pair is back and counts twice.", 0.01, 0.2),
    "near_duplicate_prompt": Defect(
        "Prompts nearly alike", "In {n} the prompt is much like an earlier one.", 0.5, NEVER, drop=False
    ),
    "near_duplicate_pair": Defect("Pairs nearly alike", "In {n} the pair is much like an earlier one.", 0.05, 0.5),
}
"""What each hygiene flag means for who trains on the data, and from which share of the pairs on it matters. The
shares are judgement: one in a hundred is above the label noise that losses for noisy labels assume least (0.1 is
the usual guess of cDPO and robust DPO, so a tenth of that), and what teaches a habit matters sooner."""
