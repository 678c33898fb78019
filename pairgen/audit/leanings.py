"""What the verdict says of length and style: how far the label can be told without reading."""

from collections.abc import Iterator

from pairgen.audit.findings import Weighed, count, filtered, level_of, pairs_of, percent, spread
from pairgen.audit.limits import LENGTH_BAND, LIMITS
from pairgen.audit.stats import Interval, wilson
from pairgen.audit.summary import Bias, DatasetAudit, Finding, Level

LENGTHS = ("chars", "length", "words")
"""What the bias of length may be called, the preferred name first."""

NAMED = 4
"""Features that a finding names."""


def length(audit: DatasetAudit) -> Iterator[Weighed]:
    """How often a judge is right that looks at length alone; ties count half, as a coin decides them."""
    bias = next((b for name in LENGTHS for b in audit.biases if b.name == name), None)
    if bias is None or not (n := pairs_of(bias)):
        return
    longer = (bias.chosen_more + bias.equal / 2) / n
    share = max(longer, 1 - longer)
    habit, taste = ("long", "longer") if longer >= 0.5 else ("brief", "shorter")
    limit, interval = LIMITS["length"], wilson(share * n, n)
    said = f"is right on {percent(share)} {spread(interval)} of the pairs"
    if interval.low > limit.warn:
        text = (
            f"A judge that only looks at length and takes the {taste} answer {said}: models trained on this learn "
            f"to be {habit}."
        )
        level, title = level_of(interval.low, limit), f"Length gives the label away: {taste} wins"
        yield Weighed(2 * share - 1, filtered(audit, level, title, text, "len_ratio", *LENGTH_BAND))
    elif interval.low > limit.note:
        text = f"A judge that always takes the {taste} answer {said}; people take the longer one in 64 % (AlpacaEval)."
        yield Weighed(2 * share - 1, Finding("note", f"Length leans to the {taste} side", text))
    elif interval.high < 0.55:
        text = f"A judge that always takes the {taste} answer {said}, hardly better than a coin."
        yield Weighed(1 - share, Finding("good", "Length says little", text))


def styles(audit: DatasetAudit) -> Iterator[Weighed]:
    """The features of style that tell the sides apart, strongest first, in one finding a level."""
    by_level: dict[Level, list[tuple[float, str]]] = {}
    for bias in audit.biases:
        if bias.name in LENGTHS or not pairs_of(bias):
            continue
        apart = max(bias.low - 0.5, 0.5 - bias.high)
        if 0.5 + apart > LIMITS["auc"].note:
            by_level.setdefault(level_of(0.5 + apart, LIMITS["auc"]), []).append((apart, _leaning(bias)))
    for level, found in by_level.items():
        found.sort(reverse=True)
        rest = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        said = "; ".join(said for _, said in found[:NAMED])
        text = said[:1].upper() + said[1:] + rest + ". A model learns these before it learns content."
        yield Weighed(2 * found[0][0], Finding(level, "Style tells the sides apart", text))


def _leaning(bias: Bias) -> str:
    n, side = pairs_of(bias), "Chosen" if bias.auc > 0.5 else "Rejected"
    more, less = (bias.chosen_more, bias.rejected_more) if bias.auc > 0.5 else (bias.rejected_more, bias.chosen_more)
    return (
        f"{bias.label}: {side.lower()} has more in {percent(more / n)} of the pairs, less in {percent(less / n)} "
        f"(AUC {bias.auc:.2f} [{bias.low:.2f}, {bias.high:.2f}])"
    )


def predictable(audit: DatasetAudit) -> Iterator[Weighed]:
    """How many labels a classifier of style guesses on pairs it has not seen."""
    style = audit.predictability
    if style is None or not style.n:
        return
    limit, interval = LIMITS["style"], Interval(style.low, style.high)
    said = f"{percent(style.accuracy)} {spread(interval)} of the labels can be guessed from style alone"
    held = f"(held out, {count(style.n)} pairs)"
    if interval.low > limit.note:
        called = {bias.name: bias.label for bias in audit.biases}
        by = "; ".join(called.get(name, name.replace("_", " ")) for name, _ in style.weights[:3])
        text = f"{said} {held}, without reading a word of content" + (f"; mostly by {by}." if by else ".")
        yield Weighed(2 * style.accuracy - 1, Finding(level_of(interval.low, limit), "Style predicts the label", text))
    elif interval.high < limit.warn:
        text = f"{said} {held}; a coin gets 50 %."
        yield Weighed(1 - style.accuracy, Finding("good", "Style alone hardly predicts the label", text))
