"""Scoring models against slow direct computations: transformers' own logits, one conversation at a time."""

import math
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

import torch
from tiny_model import build_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from pairgen.evals.items import ChoiceItem, PairItem, RatingItem
from pairgen.evals.rewards import Asked, Implicit, Rewards, Rule, asked_of, score_rows
from pairgen.evals.verdicts import marks
from pairgen.records import Message
from pairgen.train.render import Unfit

ASKED = [
    Asked((Message("user", "12: first"),), ("=1 (A)", "=2, or so")),
    Asked((Message("user", "998: last"), Message("assistant", "=8"), Message("user", "sure?")), ("=8", "no", "=9?")),
    Asked((Message("user", "12: first"),), ("?", "a rather longer answer to the same prompt")),
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model."""
    torch.set_num_threads(1)
    return build_model(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def reference(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    folder = build_model(tmp_path_factory.mktemp("reference"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def direct(folder: Path, one: Asked, answer: str) -> list[float]:
    """The log-prob of each token of the answer and its <eos>, by the model's own forward of that conversation."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    turns = [{"role": turn.role, "content": turn.content} for turn in one.prompt]
    prompt = tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)["input_ids"]
    said = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    ids = torch.tensor([[*prompt, *said]])
    with torch.no_grad():
        logps = model(ids).logits[0].float().log_softmax(-1)
    return [logps[len(prompt) - 1 + i, token].item() for i, token in enumerate(said)]


RULES = {
    "sum": sum,
    "average": lambda logps: sum(logps) / len(logps),
    "norm": lambda logps: -math.sqrt(sum(x * x for x in logps)),
}


@pytest.mark.parametrize("rule", RULES)
def test_without_a_reference_the_policys_own_log_probs_count(policy: Path, rule: Rule) -> None:
    found = Implicit(policy, rule=rule).scores(ASKED)
    for one, scores in zip(ASKED, found, strict=True):
        assert scores == pytest.approx([RULES[rule](direct(policy, one, a)) for a in one.answers], rel=1e-4, abs=1e-4)


def test_with_a_reference_it_is_the_log_ratio(policy: Path, reference: Path) -> None:
    found = Implicit(policy, reference).scores(ASKED)
    for one, scores in zip(ASKED, found, strict=True):
        slow = [sum(direct(policy, one, a)) - sum(direct(reference, one, a)) for a in one.answers]
        assert scores == pytest.approx(slow, rel=1e-3, abs=1e-3)
    same = Implicit(policy, policy).scores(ASKED)
    assert [number for scores in same for number in scores] == pytest.approx([0.0] * 7, abs=1e-5)


def test_a_reward_is_the_classifiers_own_logit(policy: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.save_pretrained(tmp_path)
    model.eval()
    found = Rewards(tmp_path).scores(ASKED)
    for one, scores in zip(ASKED, found, strict=True):
        slow = []
        for answer in one.answers:
            turns = [{"role": turn.role, "content": turn.content} for turn in one.conversation(answer)]
            ids = tokenizer.apply_chat_template(turns, tokenize=True, return_tensors="pt")["input_ids"]
            slow.append(model(ids).logits[0, 0].item())
        assert scores == pytest.approx(slow, rel=1e-4, abs=1e-5)


def test_what_cannot_be_scored_leaves_the_item_unscored(policy: Path) -> None:
    """Too long for the model (256 tokens), empty, or a text that holds a special token: no score, a reason."""
    items = [
        PairItem("fits", "g", "12: first", "=1", "=2"),
        PairItem("long", "g", "12: first", "=1", "x" * 300),
        PairItem("empty", "g", "12: first", "=1", " "),
        PairItem("special", "g", "12: first", "<eos>", "=2"),
    ]
    for scorer in (Implicit(policy), Implicit(policy, policy)):
        fits, long, empty, special = score_rows(items, scorer)
        assert fits.error is None
        assert len(fits.scores) == 2
        assert [row.scores for row in (long, empty, special)] == [(), (), ()]
        assert long.error is not None
        assert long.error.startswith("too-long: ")
        assert "the model takes 256" in long.error
        assert empty.error == "no-target: an assistant turn is empty"
        assert special.error is not None
        assert special.error.startswith("special-token")
        assert marks(long) in ([], [None])


def test_nothing_that_fits_is_no_error(policy: Path) -> None:
    scores = Implicit(policy).scores([Asked((Message("user", "?"),), ("x" * 300,))])
    assert isinstance(scores[0], Unfit)


def test_every_kind_of_item_is_a_conversation_with_answers() -> None:
    user = (Message("user", "q"),)
    longer = (*user, Message("assistant", "a"), Message("user", "b"))
    assert asked_of(PairItem("i", "g", "q", "c", "r")) == Asked(user, ("c", "r"))
    assert asked_of(PairItem("i", "g", "b", "c", "r", messages=longer)) == Asked(longer, ("c", "r"))
    assert asked_of(ChoiceItem("i", "g", "q", ("a", "b", "c"))) == Asked(user, ("a", "b", "c"))
    assert asked_of(RatingItem("i", "g", "q", "a", (3.0,))) == Asked(user, ("a",))


def test_identity_holds_weights_and_rule_and_no_place(policy: Path, reference: Path, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(policy, moved)
    assert Implicit(policy).identity == Implicit(moved).identity
    others = [Implicit(reference), Implicit(policy, reference), Implicit(policy, rule="norm"),
              Implicit(policy, chat_template="plain")]
    assert all(other.identity != Implicit(policy).identity for other in others)
