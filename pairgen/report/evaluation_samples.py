"""Judgments to look at, by what is wrong with them: texts of a model, so all of it is escaped."""

from collections.abc import Sequence

from markupsafe import Markup

from pairgen.report.evaluation_summary import Said, Sample
from pairgen.report.html import EMPTY, folded, paragraphs, verbatim, word_diff
from pairgen.report.numbers import number
from pairgen.report.text import one_line

KINDS = {
    "refused": "Could not be scored", "unreadable": "No verdict to be read", "inconsistent": "Right in one order only",
    "wrong": "Wrong",
}


def sample_blocks(samples: Sequence[Sample]) -> Markup:
    """The samples of each kind under a heading, each folded."""
    blocks = []
    for kind, title in KINDS.items():
        some = [sample for sample in samples if sample.kind == kind]
        if some:
            blocks.append(Markup("<h3>{}</h3>").format(title))
            blocks += [folded(f"{sample.group}: {one_line(sample.question, 120)}", _block(sample)) for sample in some]
    return EMPTY.join(blocks)


def _block(sample: Sample) -> Markup:
    parts = [paragraphs([f"Item {sample.id}."]), verbatim(sample.question)]
    if sample.error is not None:
        parts.append(paragraphs([f"Not scored: {sample.error}"]))
    if len(sample.answers) == 2:
        parts.append(word_diff(*sample.answers, left_title="the better answer", right_title="the other"))
    else:
        parts += [_titled(f"Answer {at}", answer) for at, answer in enumerate(sample.answers, 1)]
    if sample.scores:
        given = ", ".join(number(score, 4) for score in sample.scores)
        parts.append(paragraphs([f"Scores, in the order of the answers: {given}."]))
    return EMPTY.join([*parts, *(_reply(reply) for reply in sample.replies)])


def _titled(title: str, text: str) -> Markup:
    return Markup("<h4>{}</h4>{}").format(one_line(title), verbatim(text))


def _reply(reply: Said) -> Markup:
    said = f"says {reply.answer}" if reply.answer is not None else f"says nothing that can be read ({reply.status})"
    shown = f"Shown {reply.order.replace('_', ' ')}: " if reply.order else ""
    gold = f"; right is {reply.gold}" if reply.gold else ""
    return _titled(f"{shown}{said}{gold}", reply.text) if reply.text else paragraphs([f"{shown}{said}{gold}."])
