"""Pairs to look at: both answers with what differs, and what the judge said of them."""

from markupsafe import Markup

from pairgen.report.html import EMPTY, folded, paragraphs, verbatim, word_diff
from pairgen.report.summary import RunSummary, SampleJudgment, SamplePair
from pairgen.report.text import one_line


def sample_blocks(run: RunSummary) -> Markup:
    """Every sample of the run, folded."""
    return EMPTY.join(folded(one_line(pair.instruction), sample_block(pair)) for pair in run.samples)


def sample_block(pair: SamplePair) -> Markup:
    """A pair with its word diff and its judgments, right ones first."""
    about = [f"Pair {pair.id}, built by {pair.construction}."]
    if pair.modified is not None:
        about.append(f"The rejected answer really answers: {pair.modified}")
    ordered = sorted(pair.judgments, key=lambda judgment: judgment.verdict != judgment.gold)
    return EMPTY.join([
        verbatim(pair.instruction), paragraphs(about), word_diff(pair.chosen, pair.rejected),
        *(_judgment_block(judgment) for judgment in ordered),
    ])


def _judgment_block(judgment: SampleJudgment) -> Markup:
    right = judgment.verdict == judgment.gold
    said = f"says {judgment.verdict}" if judgment.verdict else f"no verdict ({judgment.status})"
    order = judgment.order.replace("_", " ")
    title = f"{'Right' if right else 'Wrong'} judgment, {order}: {said}; gold {judgment.gold}"
    return Markup("<h4>{}</h4>{}").format(one_line(title), verbatim(judgment.text))
