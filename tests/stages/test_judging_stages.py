"""judge, filter and the exports: from pairs to training rows."""

import hashlib
import itertools
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_rows import candidates, judged, judgment, pair, reply

from pairgen.prompts import load_prompt
from pairgen.records import ORDERS, Candidates, Demonstration, Drop, Judged, Message, Preference, Rollout
from pairgen.stages.export_dpo import ExportDpo
from pairgen.stages.export_grpo import ExportGrpo
from pairgen.stages.export_sft import ExportSft
from pairgen.stages.filter import Filter
from pairgen.stages.judge import Judge, judge_messages
from pairgen.stages.replay import Replay


def stage(cls: Any, use: str, **options: Any) -> Any:
    return cls.model_validate({"id": "s", "use": use, **options})


def keep(rows: list[Judged], **options: Any) -> list[Judged]:
    return [r for r in stage(Filter, "filter", **options).run(iter(rows)) if isinstance(r, Judged)]


def drops(rows: list[Judged], **options: Any) -> dict[str, str]:
    return {
        r.row_id: r.reason for r in stage(Filter, "filter", **options).run(iter(rows)) if isinstance(r, Drop)
    }


def labels(rows: list[Judged]) -> Counter[str | None]:
    return Counter(j.verdict for r in rows for j in r.judgments if j.kept)


# judge ---------------------------------------------------------------------------------------------------


def test_judge_asks_both_orders_with_n_each() -> None:
    """Two requests of n samples: the answers change slots, and gold flips with the order."""
    judge = stage(Judge, "judge", engine="policy", n=3)
    row = pair(chosen="GOOD", rejected="POOR")
    first, second = judge.ask(row)
    assert (first.n, second.n) == (3, 3)
    assert first.seed != second.seed
    assert first.messages[-1].content.index("GOOD") < first.messages[-1].content.index("POOR")
    assert second.messages[-1].content.index("GOOD") > second.messages[-1].content.index("POOR")
    (out,) = judge.read(row, [[reply("[[A]]")] * 3, [reply("[[B]]"), reply("[[A]]"), reply("cut", "length")]])
    assert [(j.order, j.sample, j.gold, j.agrees, j.status) for j in out.judgments] == [
        *[("chosen_first", i, "A", True, "ok") for i in range(3)],
        ("rejected_first", 0, "B", True, "ok"),
        ("rejected_first", 1, "B", False, "ok"),
        ("rejected_first", 2, "B", False, "truncated"),
    ]
    assert judge.requests_per_row() == 2


def test_judge_in_one_random_order() -> None:
    """`orders: random` asks one order per pair, drawn by content, about half of each."""
    judge = stage(Judge, "judge", engine="policy", orders="random", n=1)
    orders = Counter()
    for i in range(100):
        (out,) = judge.read(pair(f"q {i}"), [[reply("[[A]]")]])
        assert len(judge.ask(pair(f"q {i}"))) == 1
        orders[out.judgments[0].order] += 1
    assert set(orders) == set(ORDERS)
    assert min(orders.values()) > 30


def test_judge_needs_a_verdict_prompt() -> None:
    """A prompt whose reply is no verdict is refused: judgments are read by the one strict parser."""
    with pytest.raises(ValueError, match=r"needs .'verdict'"):
        stage(Judge, "judge", engine="policy", prompt="world/answer.md")


# filter --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "options", "reason"),
    [
        ("AA", "BB", {}, None),
        ("AB", "--", {"balance": False}, None),
        ("--", "--", {}, "unparsed"),
        ("BB", "AA", {}, "none_agree"),
        ("B-", "AA", {}, "none_agree"),
        ("AB", "AA", {"min_agreement": 0.25}, None),
        ("AB", "AA", {"min_agreement": 0.3}, "agreement"),
        ("AA", "BB", {"max_agreement": 0.9}, "agreement"),
        ("AA", "AA", {"both_orders": True}, "one_order"),
        ("AB", "AB", {"both_orders": True}, None),
        ("AA", "BB", {"quotes_answer": True}, "no_pick"),
    ],
)
def test_filter_reasons(first: str, second: str, options: dict[str, Any], reason: str | None) -> None:
    """Each rule keeps the pair or drops it with its reason; only an unreadable pair counts as failed."""
    (out,) = (
        stage(Filter, "filter", balance=False).model_copy(update=options).run(iter([judged(first, second)]))
    )
    assert (out.reason if isinstance(out, Drop) else None) == reason
    if isinstance(out, Drop):
        assert out.failed == (reason == "unparsed")


def test_filter_marks_one_agreeing_judgment_per_order() -> None:
    """At most one judgment per order is kept, always one that agrees, and nothing else changes."""
    row = judged("ABA", "BAB")
    (out,) = keep([row])
    kept = [j for j in out.judgments if j.kept]
    assert [j.order for j in kept] == list(ORDERS)
    assert all(j.agrees for j in kept)
    assert [replace(j, kept=False) for j in out.judgments] == list(row.judgments)


def test_filter_picks_evenly_over_samples() -> None:
    """The random pick has no favourite sample; the shortest pick is the one with fewest tokens."""
    rows = [judged("AAAA", "BBBB", f"q {i}") for i in range(200)]
    picked = Counter(j.sample for r in keep(rows) for j in r.judgments if j.kept)
    assert set(picked) == {0, 1, 2, 3}
    assert min(picked.values()) > 60
    assert {j.sample for r in keep(rows, pick="shortest") for j in r.judgments if j.kept} == {0}


def test_filter_by_quoted_answer() -> None:
    """`quotes_answer` keeps a judgment only when it quotes the answer its verdict names."""
    row = judged("AA", "BB")
    texts = ["it says 2, 3, 5. [[A]]", "it says 4, 6, 8. [[A]]", "4, 6, 8 [[B]]", "2, 3, 5 [[B]]"]
    row = replace(row, judgments=tuple(replace(j, text=t) for j, t in zip(row.judgments, texts, strict=True)))
    (out,) = keep([row], quotes_answer=True)
    assert [(j.order, j.sample) for j in out.judgments if j.kept] == [
        ("chosen_first", 0),
        ("rejected_first", 1),
    ]


def flipped(row: Judged) -> Judged:
    """The same judgments under the opposite construction label."""
    return replace(
        row, judgments=tuple(replace(j, gold="B" if j.gold == "A" else "A") for j in row.judgments)
    )


LETTERS = st.text(st.sampled_from("AB-"), min_size=1, max_size=3)


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=8), st.booleans())
def test_the_random_control_never_looks_at_the_construction(
    pairs: list[tuple[str, str]], quotes: bool
) -> None:
    """`keep: random` decides the same when every construction label is flipped."""
    rows = [judged(a, b, f"q {i}") for i, (a, b) in enumerate(pairs)]
    options = {"keep": "random", "quotes_answer": quotes, "min_agreement": 0.4}
    turned = [flipped(r) for r in rows]
    assert [flipped(r) for r in keep(rows, **options)] == keep(turned, **options)
    assert drops(rows, **options) == drops(turned, **options)


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=8))
def test_balance_of_agreeing_judgments_is_exact(pairs: list[tuple[str, str]]) -> None:
    """A and B are told equally often, no pair loses one of its orders, and no more pairs go than must."""
    rows = [judged(a, b, f"q {i}") for i, (a, b) in enumerate(pairs)]
    unbalanced = {r.id: r for r in keep(rows, balance=False)}
    balanced = keep(rows)
    assert labels(balanced)["A"] == labels(balanced)["B"]
    assert all(unbalanced[r.id] == r for r in balanced)
    count = labels(list(unbalanced.values()))
    assert len(unbalanced) - len(balanced) == abs(count["A"] - count["B"])


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=7))
def test_balance_is_as_even_as_leaving_out_pairs_of_the_larger_side_can_make_it(
    pairs: list[tuple[str, str]],
) -> None:
    """In the control a pair may hold two equal labels; the imbalance is still the least there is."""
    rows = [judged(a, b, f"q {i}") for i, (a, b) in enumerate(pairs)]
    unbalanced, balanced = keep(rows, keep="random", balance=False), keep(rows, keep="random")
    lean = [sum(1 if j.verdict == "A" else -1 for j in r.judgments if j.kept) for r in unbalanced]
    sign = 1 if sum(lean) > 0 else -1
    larger = [x for x in lean if x * sign > 0]
    least = min(
        (
            abs(sum(lean) - sum(out))
            for k in range(len(larger) + 1)
            for out in itertools.combinations(larger, k)
        ),
        default=0,
    )
    count = labels(balanced)
    assert abs(count["A"] - count["B"]) == least


def test_filter_decides_by_content() -> None:
    """Permuting the pairs changes no decision, with every rule on; another seed picks otherwise."""
    choice = random.Random(1)
    rows = [
        judged("".join(choice.choices("AB-", k=4)), "".join(choice.choices("AB-", k=4)), f"q {i}")
        for i in range(60)
    ]
    options = {"min_agreement": 0.2, "balance": True}
    shuffled = choice.sample(rows, len(rows))
    assert set(keep(rows, **options)) == set(keep(shuffled, **options))
    assert drops(rows, **options) == drops(shuffled, **options)
    assert set(keep(rows, seed=1)) != set(keep(rows))


def everything() -> str:
    """A digest of what the drawing stages decide on 60 pairs."""
    choice = random.Random(1)
    rows = [
        judged("".join(choice.choices("AB-", k=4)), "".join(choice.choices("AB-", k=4)), f"q {i}")
        for i in range(60)
    ]
    kept = keep(rows, min_agreement=0.2)
    out = [
        *kept,
        *stage(ExportSft, "export-sft", verdict_only=0.3).run(iter(kept)),
        *stage(ExportDpo, "export-dpo", per_prompt=2, verdict_only=0.3).run(iter(kept)),
        *stage(Replay, "replay", n=5).run(iter([candidates(f"q {i}") for i in range(20)])),
    ]
    return hashlib.sha256(repr(out).encode()).hexdigest()


def test_draws_are_the_same_under_any_hash_seed() -> None:
    """Filter, exports and replay make byte-identical rows in processes with other PYTHONHASHSEEDs."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_judging_stages as t; print(t.everything())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "4711")
    }
    assert seen == {everything()}


@pytest.mark.parametrize("options", [{"min_agreement": 0.6, "max_agreement": 0.5}, {"keep": "all"}])
def test_filter_config_errors(options: dict[str, Any]) -> None:
    """A filter that could keep nothing is a config error."""
    with pytest.raises(ValueError, match=r"nothing could be kept|'agreeing' or 'random'"):
        stage(Filter, "filter", **options)


# exports -------------------------------------------------------------------------------------------------


def sft(rows: list[Judged], **options: Any) -> list[Any]:
    return list(stage(ExportSft, "export-sft", **options).run(iter(rows)))


def dpo(rows: list[Judged], **options: Any) -> list[Any]:
    return list(stage(ExportDpo, "export-dpo", **options).run(iter(rows)))


def test_sft_one_demonstration_per_kept_judgment() -> None:
    """The judge prompt and the kept judgment as messages; the prompt may differ from the sampling prompt."""
    (row,) = keep([judged("AB", "AB")])
    out = sft([row])
    kept = [j for j in row.judgments if j.kept]
    assert [d.messages[-1] for d in out] == [Message("assistant", j.text) for j in kept]
    assert [d.messages[:-1] for d in out] == [
        judge_messages(load_prompt("judge.md"), row.pair, j.order) for j in kept
    ]
    assert {(d.kind, d.pair_id) for d in out} == {("judgment", row.pair.id)}
    assert sft([row], prompt="world/judge.md")[0].messages[0].content.startswith("judge\n")


def test_sft_drops_a_row_with_nothing_kept() -> None:
    """A row the filter never marked leaves with its reason."""
    (out,) = sft([judged("A", "B")])
    assert isinstance(out, Drop)
    assert (out.reason, out.failed) == ("nothing_kept", False)


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_verdict_only_twins(share: float) -> None:
    """About a share of the pairs gets twins with the bare verdict, in both orders or in neither."""
    rows = keep([judged("A", "B", f"q {i}") for i in range(1500)])
    twins = [d for d in sft(rows, verdict_only=share) if d.kind == "verdict-only"]
    assert len(sft(rows, verdict_only=share)) == 3000 + len(twins)
    assert abs(len(twins) / 3000 - share) < 0.04
    assert Counter(d.messages[-1].content for d in twins)["[[A]]"] * 2 == len(twins)
    assert all(
        d.messages[0] == Message("system", load_prompt("judge_verdict_only.md").system or "") for d in twins
    )


def test_dpo_is_right_against_wrong_in_one_prompt() -> None:
    """A preference sets the kept judgment against one that is wrong, and says why it is wrong."""
    row = judged("AB", "BB")
    tie = judgment("rejected_first", 2, None, status="tie", text="[[C]]")
    (kept,) = keep([replace(row, judgments=(*row.judgments, tie))])
    out = dpo([kept])
    assert [(p.order, p.reason) for p in out] == [("chosen_first", "wrong"), ("rejected_first", "tie")]
    for p in out:
        marked = next(j for j in kept.judgments if j.kept and j.order == p.order)
        assert p.chosen == (Message("assistant", marked.text),)
        assert p.prompt == judge_messages(load_prompt("judge.md"), kept.pair, p.order)
    assert out[1].rejected == (Message("assistant", "[[C]]"),)


def test_dpo_draws_from_the_product() -> None:
    """`per_prompt` takes that many of right x wrong, each once, the kept judgment's first."""
    (row,) = keep([judged("AAAB-", "B")])
    assert [len(dpo([row], per_prompt=k)) for k in (1, 2, 3, 4, 6, 9)] == [1, 2, 3, 4, 6, 6]
    out = dpo([row], per_prompt=9)
    assert len({p.id for p in out}) == len({(p.chosen, p.rejected) for p in out}) == 6
    marked = next(j for j in row.judgments if j.kept)
    assert [p.chosen[0].content == marked.text for p in out] == [True, True, False, False, False, False]
    assert dpo([row], per_prompt=2) == out[:2]


def test_dpo_negatives_can_be_chosen() -> None:
    """`negatives` says which failures may be rejected; a pair with none leaves with its reason."""
    (row,) = keep([judged("AB-", "B")])
    assert {p.reason for p in dpo([row], per_prompt=9)} == {"wrong", "none"}
    assert {p.reason for p in dpo([row], per_prompt=9, negatives=["wrong"])} == {"wrong"}
    (drop,) = dpo([row], negatives=["tie"])
    assert (drop.reason, drop.failed) == ("no_contrast", False)


def test_dpo_never_rejects_the_text_it_chooses() -> None:
    """The same text read in two ways (once cut) makes no preference against itself."""
    row = judged("A", "B")
    twin = replace(row.judgments[0], sample=1, verdict=None, status="truncated")
    (kept,) = keep([replace(row, judgments=(*row.judgments, twin))])
    (out,) = dpo([kept])
    assert isinstance(out, Drop)


def test_dpo_twins_are_bare_verdicts_once() -> None:
    """Verdict-only twins exist for wrong verdicts alone, and repeat no row."""
    (row,) = keep([judged("AABB-", "B")])
    twins = [p for p in dpo([row], per_prompt=9, verdict_only=1.0) if p.kind == "verdict-only"]
    assert [(p.chosen[0].content, p.rejected[0].content, p.reason) for p in twins] == [
        ("[[A]]", "[[B]]", "wrong")
    ]


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=5))
def test_the_control_exports_no_label(pairs: list[tuple[str, str]]) -> None:
    """After a random filter, neither export depends on the construction: the control stays a control."""
    rows = keep([judged(a, b, f"q {i}") for i, (a, b) in enumerate(pairs)], keep="random")
    turned = [flipped(r) for r in rows]
    assert sft(rows, verdict_only=0.5) == sft(turned, verdict_only=0.5)
    assert dpo(rows, per_prompt=3, verdict_only=0.5) == dpo(turned, per_prompt=3, verdict_only=0.5)


def test_grpo_rows_stand_in_both_orders() -> None:
    """Two rows per pair, side by side, with the label that earns the reward."""
    out = list(stage(ExportGrpo, "export-grpo").run(iter([judged("A", "B"), judged("A", "B", "another")])))
    assert all(isinstance(r, Rollout) for r in out)
    assert [(r.order, r.answer) for r in out] == [("chosen_first", "A"), ("rejected_first", "B")] * 2
    assert out[0].pair_id == out[1].pair_id != out[2].pair_id


@pytest.mark.parametrize("cls", [ExportSft, ExportDpo, ExportGrpo, Replay])
def test_exports_refuse_prompts_they_cannot_fill(cls: Any) -> None:
    """A prompt with other holes is a config error, not a KeyError after the judging is paid for."""
    with pytest.raises(ValueError, match="has holes"):
        stage(cls, "export", prompt="similar.md")


def test_replay_is_the_models_own_answers() -> None:
    """Answers become demonstrations in the prompt they were sampled with; n draws by content."""
    rows = [candidates(f"q {i}", f"a {i}") for i in range(20)]
    out = list(stage(Replay, "replay", n=5, prompt="world/answer.md").run(iter(rows)))
    shown = [d for d in out if isinstance(d, Demonstration)]
    assert len(shown) == 5
    assert Counter(d.reason for d in out if isinstance(d, Drop)) == {"not_sampled": 15}
    number = shown[0].messages[-1].content.removeprefix("a ")
    assert shown[0].messages == (Message("user", f"q {number}"), Message("assistant", f"a {number}"))
    again = stage(Replay, "replay", n=5, prompt="world/answer.md").run(iter(reversed(rows)))
    assert [d for d in again if isinstance(d, Demonstration)] == shown
    assert isinstance(rows[0], Candidates)


def test_rows_keep_their_prompts_apart() -> None:
    """Every row of an export has its own id and prompt: nothing of the row before is left in it."""
    rows = keep([judged("AB", "BA", f"q {i}") for i in range(30)])
    for out in (sft(rows), dpo(rows)):
        assert len({r.id for r in out}) == len(out)
        for row in out:
            prompt = row.prompt if isinstance(row, Preference) else row.messages
            assert prompt[1].content.count("q ") == 1
