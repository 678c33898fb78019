"""The verdict in plain words: what is good, what will bite, what to filter. Worst first.

Nothing is claimed that the interval does not carry: a limit counts as passed when the whole interval is past
it. The limits, with their reasons, are in `limits`.
"""

import math
from collections.abc import Iterable, Iterator

from pairgen.audit import limits
from pairgen.audit.findings import Weighed, count, filtered, hundred, level_of, named, of, percent, spread
from pairgen.audit.leanings import length, predictable, styles
from pairgen.audit.limits import DEFECTS, LIMITS, Defect
from pairgen.audit.stats import Interval
from pairgen.audit.summary import NO_PREFERENCE, TABLE_1, DatasetAudit, Finding, Level, Rate, Stat

ORDER: tuple[Level, ...] = ("bad", "warn", "note", "good")

JUDGED_AS = ("judge_agrees", "judge_disagrees")
"""The rates of a judge that names one side in both orders."""


def findings(audit: DatasetAudit) -> tuple[Finding, ...]:
    """Every finding about a dataset, by level, then by weight. `audit.findings` is not read."""
    if not audit.pairs:
        text = f"None of the {count(audit.rows)} rows could be read as a pair."
        return (Finding("bad", "No pairs", text),)
    found: list[Weighed] = []
    of_rows = (_size, _unreadable, _scores, _hygiene, _model)
    of_means = (_contrast, length, styles, predictable, _groups, _languages)
    for part in of_rows if audit.pairs < limits.JUDGED else of_rows + of_means:
        found += part(audit)
    found.sort(key=lambda one: (ORDER.index(one.finding.level), -one.weight))
    return tuple(one.finding for one in found)


def together(found: Iterable[Finding]) -> str | None:
    """One expression for `--filter` that does what all of these advise; None where none does."""
    parts = list(dict.fromkeys(f.filter for f in found if f.filter))
    return " and ".join(parts) or None


def _size(audit: DatasetAudit) -> Iterator[Weighed]:
    n = audit.pairs
    if n >= limits.SOME:
        return
    few, margin = n < limits.FEW, 98 / math.sqrt(n)
    text = f"Shares of {count(n)} pair{'s' if n > 1 else ''} are known to ± {margin:.0f} points at best"
    end = ": too few to say more than the obvious." if few else ": mind the intervals."
    if n < limits.JUDGED:
        end = f". Below {limits.JUDGED} pairs nothing is said of contrast, length and style."
    yield Weighed(1.0, Finding("warn" if few else "note", "Few pairs", text + end))


def _unreadable(audit: DatasetAudit) -> Iterator[Weighed]:
    undecided = {reason: n for reason, n in audit.bad.items() if reason in NO_PREFERENCE}
    if undecided:
        text = (
            f"{of(sum(undecided.values()), audit.rows, 'rows')} prefer neither answer: "
            f"{', '.join(f'{reason} {count(n)}' for reason, n in undecided.items())}. They make no pair here."
        )
        yield Weighed(0.0, Finding("note", "Rows without a preference", text))
    damaged = {reason: n for reason, n in audit.bad.items() if reason not in NO_PREFERENCE}
    unread = sum(damaged.values())
    if not unread:
        return
    worst = max(damaged, key=lambda reason: damaged[reason])
    text = (
        f"{of(unread, audit.rows, 'rows')} cannot be read as a pair, most often for: {worst} "
        f"({count(damaged[worst])}). They are left out of every number here."
    )
    share = unread / audit.rows
    yield Weighed(share, Finding(level_of(share, LIMITS["unreadable"]), "Unreadable rows", text))


def _contrast(audit: DatasetAudit) -> Iterator[Weighed]:
    jaccard = named(audit.contrast, "jaccard")
    if jaccard is not None and not audit.tokenizer.startswith(limits.LETTERS) and not _without_contrast(audit):
        yield _overlap(audit, jaccard)
    edits = named(audit.contrast, "lev_norm")
    if edits is not None and 0 < edits.median < limits.EDITS:
        yield Weighed(0.5, Finding(
            "note", "Pairs are a few edits apart",
            f"Half of the pairs differ in {percent(edits.median)} of their characters or less: what is learnt sits "
            "in a few tokens, and whatever the two sides share cancels in losses on differences.",
        ))


def _without_contrast(audit: DatasetAudit) -> bool:
    """Whether so many pairs have one text on both sides that a mean over them praises what is wrong."""
    same = next((rate for rate in audit.hygiene if rate.name == "same" and rate.n), None)
    return same is not None and same.count / same.n > DEFECTS["same"].bad


def _overlap(audit: DatasetAudit, jaccard: Stat) -> Weighed:
    """Where Jaccard stands among the sets of Table 1, as far as a tokenizer leaves that open."""
    said = f"Jaccard is {hundred(jaccard.mean)} [{hundred(jaccard.low)}, {hundred(jaccard.high)}]"
    clair, least = TABLE_1[0], min(TABLE_1, key=lambda p: p.jaccard)
    if jaccard.low >= limits.CLOSE:
        text = (
            f"{said}: the two answers share as many words as those of CLAIR ({hundred(clair.jaccard)}) or more, "
            "and not much differs that the label could be about."
        )
        return Weighed(jaccard.mean, Finding("good", "Contrast is focused", text))
    edits = named(audit.contrast, "levenshtein")
    short = edits is not None and edits.mean < limits.SHORT
    because = " These answers are far shorter than the paper's, which lowers it too." if short else ""
    if jaccard.high < limits.FAR:
        text = (
            f"{said}, below the least contrastive set of the paper ({least.name}, {hundred(least.jaccard)}) with "
            "any tokenizer: two answers that share little differ in everything at once, and the label says too "
            f"little about what made one better.{because}"
        )
        level: Level = "note" if short else "warn"
        return Weighed(1 - jaccard.mean, filtered(audit, level, "Little in common", text, "jaccard", 0.1, None))
    within = least.jaccard <= jaccard.mean <= clair.jaccard
    text = (
        f"{said}, {'among' if within else 'not clearly outside'} the sets of the paper ({hundred(least.jaccard)} "
        f"{least.name} to {hundred(clair.jaccard)} {clair.name}); a tokenizer alone moves it by a factor of "
        f"{limits.SLACK:.1f}.{because}"
    )
    return Weighed(0.1, Finding("note", "Contrast is ordinary", text))


def _scores(audit: DatasetAudit) -> Iterator[Weighed]:
    margin = named(audit.scores, "score_margin")
    if margin is None or margin.n < 2:
        return
    said = f"Chosen scores {margin.mean:+.2f} [{margin.low:+.2f}, {margin.high:+.2f}] above rejected on average"
    if margin.high < 0:
        text = f"{said}: the sides look swapped, or a low score means good here."
        yield Weighed(1.0, Finding("bad", "Scores contradict the labels", text, "score_margin>0"))
    elif margin.p10 < 0:
        text = f"{said}, but in a tenth of the pairs or more the chosen answer has the lower score."
        yield Weighed(0.1, Finding("warn", "Some scores contradict the labels", text, "score_margin>0"))
    elif margin.p10 <= 0:
        text = f"{said}, but in a tenth of the pairs or more the two are scored alike: their labels are chance."
        yield Weighed(0.1, Finding("warn", "Ties by score", text, "score_margin>0"))


def _hygiene(audit: DatasetAudit) -> Iterator[Weighed]:
    found = [rate for rate in audit.hygiene if rate.count and rate.n]
    for rate in found:
        defect = DEFECTS.get(rate.name) or Defect(rate.label, "{n}.", limits.NEVER, limits.NEVER, drop=False)
        yield Weighed(rate.count / rate.n, _defect(rate, defect))
    if all(_share_level(rate, DEFECTS[rate.name]) == "note" for rate in found if rate.name in DEFECTS):
        yield from _clean(audit)


def _clean(audit: DatasetAudit) -> Iterator[Weighed]:
    """The checks that found nothing, and how much of what they look for there can still be."""
    clean = [rate for rate in audit.hygiene if not rate.count and rate.n]
    if clean and audit.pairs >= limits.JUDGED:
        most = percent(max(rate.high for rate in clean))
        text = f"{len(clean)} of {len(audit.hygiene)} checks found nothing; what they look for can be in {most} "
        yield Weighed(0.0, Finding("good", "Clean", text + "of pairs like these at most."))


def _defect(rate: Rate, defect: Defect) -> Finding:
    text = defect.text.replace("{n}", of(rate.count, rate.n, "pairs"))
    shown = ", ".join(map(str, rate.rows[:5])) + (", …" if rate.count > len(rate.rows[:5]) else "")
    rows = f" Row{'s' if rate.count > 1 else ''} {shown}" if rate.rows else ""
    rows += "." if rows and not rows.endswith("…") else ""
    return Finding(_share_level(rate, defect), defect.title, text + rows, f"{rate.name}==0" if defect.drop else None)


def _share_level(rate: Rate, defect: Defect) -> Level:
    share = rate.count / rate.n if rate.n else 0.0
    return "bad" if share > defect.bad else "warn" if share > defect.warn else "note"


def _groups(audit: DatasetAudit) -> Iterator[Weighed]:
    """The group whose contrast is farthest from the whole, where their intervals do not meet."""
    whole = named(audit.contrast, "jaccard")
    found = [
        (abs(stat.mean - whole.mean), group.name, stat)
        for group in audit.groups if group.n >= limits.GROUP_ROWS and len(audit.groups) > 1
        if whole and (stat := named(group.stats, "jaccard")) and (stat.low > whole.high or stat.high < whole.low)
    ]
    if not found or whole is None:
        return
    gap, name, stat = max(found, key=lambda one: one[0])
    text = (
        f"Of {len(audit.groups)} groups {len(found)} stand apart from the whole, farthest {name or 'unnamed'} with "
        f"Jaccard {hundred(stat.mean)} [{hundred(stat.low)}, {hundred(stat.high)}] against {hundred(whole.mean)} "
        f"({count(stat.n)} pairs). Means over all of them describe none."
    )
    yield Weighed(gap, Finding("note", "Groups differ", text))


def _languages(audit: DatasetAudit) -> Iterator[Weighed]:
    total = sum(audit.languages.values())
    if not total:
        return
    main = max(audit.languages, key=lambda name: audit.languages[name])
    other = 1 - audit.languages[main] / total
    if other > LIMITS["language"].note:
        named = sorted(audit.languages.items(), key=lambda item: -item[1])[:4]
        text = "Texts are " + ", ".join(f"{name} {percent(n / total)}" for name, n in named) + "."
        yield Weighed(other, Finding("note", "Several languages", text))


def _model(audit: DatasetAudit) -> Iterator[Weighed]:
    for advice in audit.advice:
        yield Weighed(1.0, Finding("note", "Objective", advice))
    agrees, disagrees = (next((r for r in audit.model_rates if r.name == name), None) for name in JUDGED_AS)
    if agrees is None or disagrees is None:
        return
    if not agrees.n:
        text = "Of no pair could its verdicts be read: it may be no judge, or its prompt too long for it."
        yield Weighed(1.0, Finding("warn", "The judge said nothing", text))
        return
    said = (
        f"Asked in both orders the judge prefers the chosen answer in {percent(agrees.count / agrees.n)} "
        f"{spread(Interval(agrees.low, agrees.high))} of {count(agrees.n)} pairs, the rejected one in "
        f"{percent(disagrees.count / agrees.n)} {spread(Interval(disagrees.low, disagrees.high))}"
    )
    if disagrees.low > agrees.high:
        yield Weighed(1.0, Finding("bad", "The judge disagrees", f"{said}: labels swapped, or a judge that is."))
    elif agrees.low > disagrees.high:
        yield Weighed(0.5, Finding("good", "The judge agrees", f"{said}."))
    else:
        yield Weighed(0.5, Finding("note", "The judge cannot tell", f"{said}: no different from a coin."))
