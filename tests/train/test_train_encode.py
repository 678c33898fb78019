"""Which tokens are learnt, and which rows are not: by decoding back."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import TEMPLATE, build_tokenizer, demonstrations, preferences, turns

from pairgen.errors import UsageError
from pairgen.records import Demonstration, Labelled, Message, Messages, Preference
from pairgen.train import objectives
from pairgen.train.config import TrainConfig
from pairgen.train.encode import GOLD, STRANGER, Branch, Encoded, Example, TrainRow, encode
from pairgen.train.render import _from, _reaching

SFT = TrainConfig(learning_rate=1e-3)
DPO = TrainConfig(objective="dpo", learning_rate=1e-3)
TOKENIZER = build_tokenizer()


def answer(text: str) -> Messages:
    return (Message("assistant", text),)


def pair(name: str, prompt: str, good: str, bad: str) -> Preference:
    return Preference(name, turns(prompt), answer(good), answer(bad), "k", "wrong")


def said(branch: Branch | None) -> str | None:
    return None if branch is None else TOKENIZER.decode(branch.ids)


def one(row: TrainRow, config: TrainConfig = SFT) -> Example:
    (example,) = encode([row], TOKENIZER, config, 256).examples
    return example


def reason(row: TrainRow, config: TrainConfig = SFT, positions: int = 256) -> str:
    """Why a row is dropped, seen beside a row that is not."""
    good = demonstrations(1)[0] if isinstance(row, Demonstration) else preferences(1)[0]
    encoded = encode([row, good], TOKENIZER, config, positions)
    assert len(encoded.examples) == 1
    (drop,) = encoded.drops
    assert (drop.row_id, drop.stage) == (row.id, "train")
    return drop.reason


def test_every_assistant_turn_is_learnt_with_its_end_of_turn_token_and_nothing_else() -> None:
    example = one(Demonstration("d", turns("hi", "é one", "more", "two"), "judgment"))
    assert TOKENIZER.decode(example.prompt) == "<bos><user>hi<assistant>"
    assert example.chosen is not None
    assert TOKENIZER.decode(example.chosen.ids) == "é one<eos>\n<user>more<assistant>two<eos>"
    assert TOKENIZER.decode(example.chosen.ids[example.chosen.targets]) == "é one<eos>two<eos>"


def test_the_sides_of_a_preference_share_one_prompt() -> None:
    row = Preference("p", turns("q"), (Message("assistant", "good"),), (Message("assistant", "bad"),), "k", "wrong")
    example = one(row, DPO)
    assert TOKENIZER.decode(example.prompt) == "<bos><user>q<assistant>"
    assert (said(example.chosen), said(example.rejected)) == ("good<eos>", "bad<eos>")


def test_the_rejected_side_is_not_encoded_when_no_term_reads_it() -> None:
    assert one(preferences(1)[0], SFT).rejected is None


@pytest.mark.parametrize(("texts", "why"), [
    (("only a question",), "no-target"),
    (("q", "  "), "no-target"),
    (("tell me <eos> now", "x"), "special-token"),
    (("q", "x" * 400), "too-long"),
    (("half \ud800 pair", "x"), "not-unicode"),
])
def test_rows_that_cannot_be_learnt_are_dropped_with_a_reason(texts: tuple[str, ...], why: str) -> None:
    assert reason(Demonstration("bad", turns(*texts), "judgment"), positions=300) == why


def test_limits_of_prompt_and_completion_drop_rows() -> None:
    row = Demonstration("bad", turns("q" * 40, "a" * 30), "judgment")
    assert reason(row, SFT.model_copy(update={"max_prompt_tokens": 40})) == "prompt-too-long"
    assert reason(row, SFT.model_copy(update={"max_completion_tokens": 30})) == "completion-too-long"
    assert one(row, SFT.model_copy(update={"max_prompt_tokens": 43, "max_completion_tokens": 31})).id == "bad"


def test_a_pair_too_long_on_either_side_is_dropped_whole() -> None:
    row = preferences(1)[0]
    long = replace(row, id="bad", rejected=(Message("assistant", "z" * 300),))
    assert reason(long, DPO) == "too-long"


def test_a_template_that_doubles_the_bos_is_an_error() -> None:
    tokenizer = build_tokenizer("{{ bos_token }}" + TEMPLATE)
    with pytest.raises(UsageError, match="2 BOS tokens"):
        encode(demonstrations(1), tokenizer, SFT, 256)


def test_nothing_to_train_on_is_an_error_that_says_why() -> None:
    with pytest.raises(UsageError, match="nothing to train on: 0 of 0 rows"):
        encode([], TOKENIZER, SFT, 256)
    rows = [Demonstration("d", turns("q"), "judgment"), Demonstration("e", turns("q", "x" * 300), "judgment")]
    with pytest.raises(UsageError, match=r"0 of 1 rows can be used \(no-target\); first: row d: no assistant turn"):
        encode(rows[:1], TOKENIZER, SFT, 256)
    with pytest.raises(UsageError, match=r"\(no-target, too-long\); first: row e: 305 tokens, the model takes 256"):
        encode(rows[::-1], TOKENIZER, SFT, 256)


@pytest.mark.parametrize("loss", ["kto", "bco"])
def test_an_objective_that_weighs_completions_needs_both_kinds(loss: str) -> None:
    """Pairs are both; held-out rows are only looked at, and a loss that takes each row alone takes any."""
    config = TrainConfig(objective=loss, learning_rate=1e-3)
    good, bad = ([Labelled(f"{q}{d}", turns(q), answer("x"), d, "k") for q in "pq"] for d in (True, False))
    for rows, lacking in ((good, "undesirable"), (bad, "desirable"), (demonstrations(2), "undesirable")):
        with pytest.raises(UsageError, match=f"^{loss} compares desirable with undesirable .* no row is {lacking}:"):
            encode(rows, TOKENIZER, config, 256)
        assert len(encode(rows, TOKENIZER, config, 256, heldout=True).examples) == 2
    assert len(encode([*good, *bad], TOKENIZER, config, 256).examples) == 4
    assert len(encode(preferences(2), TOKENIZER, config, 256).examples) == 2
    alone = TrainConfig(objective="apo-zero-unpaired", learning_rate=1e-3)
    assert len(encode(good, TOKENIZER, alone, 256).examples) == 2


def test_demonstrations_that_no_term_reads_are_an_error() -> None:
    with pytest.raises(UsageError, match="3 demonstrations"):
        encode([*preferences(2), *demonstrations(3)], TOKENIZER, DPO, 256)


def test_a_weight_for_a_kind_no_row_has_is_an_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'judgment'"):
        encode(demonstrations(1), TOKENIZER, SFT.model_copy(update={"kind_weights": {"judgement": 2.0}}), 256)


def test_the_digest_changes_with_every_token_and_weight() -> None:
    rows = demonstrations(3)
    digests = {
        encode(rows, TOKENIZER, SFT, 256).digest,
        encode(rows[:2], TOKENIZER, SFT, 256).digest,
        encode(rows[::-1], TOKENIZER, SFT, 256).digest,
        encode(rows, TOKENIZER, SFT.model_copy(update={"kind_weights": {"judgment": 2.0}}), 256).digest,
    }
    assert len(digests) == 4


# --- sides --------------------------------------------------------------------------------------------


def with_loss(monkeypatch: pytest.MonkeyPatch, on: str, needs: set[str]) -> TrainConfig:
    """A config whose one loss reads what it is told to read."""
    loss = replace(objectives.OBJECTIVES["dpo"], on=on, needs=frozenset(needs))
    monkeypatch.setitem(objectives.OBJECTIVES, "dpo", loss)
    return TrainConfig(objective="dpo", learning_rate=1e-3)


def labelled(name: str, prompt: str, text: str, good: bool) -> Labelled:
    return Labelled(name, turns(prompt), answer(text), good, "k")


def test_a_desirable_completion_is_a_chosen_side_and_an_undesirable_one_a_rejected_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = with_loss(monkeypatch, "unpaired", set())
    rows = [labelled("a", "q", "yes", True), labelled("b", "q", "no", False)]
    good, bad = encode(rows, TOKENIZER, config, 99).examples
    assert [said(side) for side in good.sides] == ["yes<eos>", None, None, None]
    assert [said(side) for side in bad.sides] == [None, "no<eos>", None, None]


def test_supervised_training_leaves_undesirable_completions_out_with_a_reason() -> None:
    encoded = encode([labelled("a", "q", "yes", True), labelled("b", "q", "no", False)], TOKENIZER, SFT, 99)
    assert [e.id for e in encoded.examples] == ["a"]
    assert [(d.row_id, d.reason, d.failed) for d in encoded.drops] == [("b", "undesirable", False)]


def test_the_gold_answer_is_a_side_only_where_a_term_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(pair("p", "q", "good", "bad"), gold=answer("best"))
    assert one(row, DPO).sides[GOLD] is None
    config = with_loss(monkeypatch, "golds", set())
    assert said(one(row, config).sides[GOLD]) == "best<eos>"
    with pytest.raises(UsageError, match="no row has one"):
        encode([pair("p", "q", "good", "bad")], TOKENIZER, config, 99)


def test_a_stranger_is_the_next_rows_completion_under_another_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: rows 0, 1 and 4 ask the same; even rows lend their chosen side, odd rows their rejected."""
    rows = [pair(f"p{i}", prompt, f"good {i}", f"bad {i}") for i, prompt in enumerate("aabca")]
    examples = encode(rows, TOKENIZER, with_loss(monkeypatch, "unpaired", {"strangers"}), 99).examples
    expected = ["good 2<eos>", "good 2<eos>", "bad 3<eos>", "good 4<eos>", "good 2<eos>"]
    assert [said(e.sides[STRANGER]) for e in examples] == expected


def test_a_stranger_too_long_beside_its_prompt_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_loss(monkeypatch, "unpaired", {"strangers"})
    rows = [labelled("a", "q" * 50, "x", True), labelled("b", "q", "y" * 50, True)]
    stranger = encode(rows, TOKENIZER, config, 60).examples[0].sides[STRANGER]
    assert said(stranger) == "y" * 7


def test_strangers_need_another_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_loss(monkeypatch, "unpaired", {"strangers"})
    with pytest.raises(UsageError, match=r"dpo compares .* but all rows have one prompt"):
        encode([pair("a", "q", "x", "y"), pair("b", "q", "z", "y")], TOKENIZER, config, 99)


def test_a_score_that_a_term_reads_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(pair("p7", "q", "x", "y"), chosen_score=2.0)
    config = with_loss(monkeypatch, "pairs", {"scores"})
    with pytest.raises(UsageError, match="row p7 has no rejected_score, which dpo reads"):
        encode([row], TOKENIZER, config, 99)
    assert one(replace(row, rejected_score=-1.0), config).scores == (2.0, -1.0, None)
    config = with_loss(monkeypatch, "pairs", {"policy_score"})
    with pytest.raises(UsageError, match="row p7 has no policy_score"):
        encode([row], TOKENIZER, config, 99)


def test_sides_that_are_the_same_tokens_are_no_pair() -> None:
    assert reason(pair("bad", "q", "same", "same"), DPO) == "identical"
    assert one(pair("p", "q", "same", "same"), SFT).rejected is None


def test_the_digest_covers_sides_and_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    row = pair("p", "q", "x", "y")
    digests = {
        encode([row], TOKENIZER, SFT, 99).digest,
        encode([row], TOKENIZER, DPO, 99).digest,
        encode([replace(row, chosen_score=1.0)], TOKENIZER, DPO, 99).digest,
        encode([replace(row, rejected=answer("z"))], TOKENIZER, DPO, 99).digest,
    }
    unpaired = with_loss(monkeypatch, "unpaired", set())
    digests |= {encode([labelled("p", "q", "x", good)], TOKENIZER, unpaired, 99).digest for good in (True, False)}
    assert len(digests) == 5  # a desirable completion is the chosen side of SFT, token for token


# --- truncation and templates -------------------------------------------------------------------------


def papers(prompt: int, completion: int, config: TrainConfig = DPO) -> TrainConfig:
    limits = {"max_prompt_tokens": prompt, "max_completion_tokens": completion}
    return config.model_copy(update={"truncation": "paper", **limits})


def cut(rows: list[Preference], prompt: int, completion: int) -> Encoded:
    return encode(rows, TOKENIZER, papers(prompt, completion), 256)


def test_truncation_is_decided_for_the_pair_by_its_longer_completion() -> None:
    """The rule of the papers' trainer (TRL 0.9.6), by hand: prompts have 3 tokens of template, answers 1."""
    row = pair("p", "0123456789", "a" * 5, "b" * 9)  # 13 + 10 = 23 tokens
    whole = cut([row], 11, 12)
    assert (len(whole.examples[0].prompt), whole.cut_prompts, whole.cut_completions) == (13, 0, 0)
    short = cut([row], 11, 11)  # one token too many: the end of the prompt stays, answers fit as they are
    assert TOKENIZER.decode(short.examples[0].prompt) == "0123456789<assistant>"
    assert (said(short.examples[0].chosen), short.cut_prompts, short.cut_completions) == ("aaaaa<eos>", 1, 0)


def test_a_short_prompt_is_not_cut_and_completions_lose_their_end() -> None:
    shorter = cut([pair("p", "q", "a" * 5, "b" * 20)], 6, 8)
    (example,) = shorter.examples
    assert TOKENIZER.decode(example.prompt) == "<bos><user>q<assistant>"
    assert (said(example.chosen), said(example.rejected)) == ("aaaaa<eos>", "b" * 8)
    assert example.rejected is not None
    assert len(example.rejected.targets) == 8
    assert (shorter.cut_prompts, shorter.cut_completions) == (0, 1)


def test_sides_that_only_differ_beyond_the_cut_are_no_pair() -> None:
    encoded = cut([pair("bad", "q", "same and more", "same and less"), pair("p", "q", "x", "y")], 4, 4)
    assert [(d.row_id, d.reason, d.detail[-8:]) for d in encoded.drops] == [("bad", "identical", "once cut")]


def test_truncation_needs_limits_that_fit_the_model() -> None:
    with pytest.raises(UsageError, match="set both"):
        encode(preferences(1), TOKENIZER, DPO.model_copy(update={"truncation": "paper"}), 256)
    with pytest.raises(UsageError, match=r"200 \+ max_completion_tokens 100 is more than the 256"):
        encode(preferences(1), TOKENIZER, papers(200, 100), 256)


def test_a_tokenizer_without_a_chat_template_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="has no chat template: set chat_template to 'plain'"):
        encode(demonstrations(1), build_tokenizer(None), SFT, 256)


def test_the_plain_template_writes_prompt_completion_and_eos_with_one_bos() -> None:
    config = SFT.model_copy(update={"chat_template": "plain"})
    (example,) = encode([Demonstration("d", turns("ask:", " so"), "k")], build_tokenizer(None), config, 99).examples
    assert (TOKENIZER.decode(example.prompt), said(example.chosen)) == ("<bos>ask:", " so<eos>")


def test_a_template_may_be_a_jinja_file(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    config = SFT.model_copy(update={"chat_template": str(tmp_path / "chat.jinja")})
    rows = demonstrations(3)
    assert encode(rows, build_tokenizer(None), config, 99).digest == encode(rows, TOKENIZER, SFT, 99).digest
    with pytest.raises(UsageError, match="neither 'plain' nor a readable jinja file"):
        encode(rows, TOKENIZER, SFT.model_copy(update={"chat_template": "plan"}), 99)


def test_turns_that_a_template_refuses_drop_the_row() -> None:
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer = build_tokenizer(refusal + TEMPLATE)
    row = Demonstration("bad", (Message("system", "s"), *turns("q", "a")), "k")
    encoded = encode([row, *demonstrations(1)], tokenizer, SFT, 256)
    assert [(d.row_id, d.reason) for d in encoded.drops] == [("bad", "template")]


def test_borders_of_answers_are_found_as_by_the_offsets_of_all_tokens() -> None:
    """Against a search of every token's offsets, over texts where one letter is several tokens."""
    rng = random.Random(0)
    for _ in range(100):
        text = "".join(rng.choices(["a", "é", "😀", " ", "\n", "<eos>", "12"], k=rng.randint(1, 40)))
        (encoding,) = TOKENIZER([text], add_special_tokens=False).encodings
        starts, ends = np.array(encoding.offsets).reshape(-1, 2).T
        for place in range(len(text) + 1):
            assert _reaching(encoding, place, len(text)) == np.searchsorted(ends, place, "right")
            assert _from(encoding, place, len(text)) == np.searchsorted(starts, place, "left")
