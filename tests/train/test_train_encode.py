"""Which tokens are learnt, and which rows are not: by decoding back."""

from dataclasses import replace

import pytest
from tiny_model import TEMPLATE, build_tokenizer, demonstrations, preferences, turns

from pairgen.errors import UsageError
from pairgen.records import Demonstration, Message, Preference
from pairgen.train.config import TrainConfig
from pairgen.train.encode import Example, encode

SFT = TrainConfig(learning_rate=1e-3)
DPO = TrainConfig(objective="dpo", learning_rate=1e-3)
TOKENIZER = build_tokenizer()


def one(row: Demonstration | Preference, config: TrainConfig = SFT) -> Example:
    (example,) = encode([row], TOKENIZER, config, 256).examples
    return example


def reason(row: Demonstration | Preference, config: TrainConfig = SFT, positions: int = 256) -> str:
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
    assert TOKENIZER.decode(example.chosen.ids) == "é one<eos>\n<user>more<assistant>two<eos>"
    assert TOKENIZER.decode(example.chosen.ids[example.chosen.targets]) == "é one<eos>two<eos>"


def test_the_sides_of_a_preference_share_one_prompt() -> None:
    row = Preference("p", turns("q"), (Message("assistant", "good"),), (Message("assistant", "bad"),), "k", "wrong")
    example = one(row, DPO)
    assert example.rejected is not None
    assert TOKENIZER.decode(example.prompt) == "<bos><user>q<assistant>"
    assert TOKENIZER.decode(example.chosen.ids) == "good<eos>"
    assert TOKENIZER.decode(example.rejected.ids) == "bad<eos>"


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
    with pytest.raises(UsageError, match=r"0 of 1 rows can be used.*no-target"):
        encode([Demonstration("d", turns("q"), "judgment")], TOKENIZER, SFT, 256)


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
