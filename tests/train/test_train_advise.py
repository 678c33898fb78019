"""Advice on data whose answer is known: what the model itself writes, better, worse, or of another kind."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import demonstrations, preferences, turns
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairgen.engine import Sampling
from pairgen.errors import UsageError
from pairgen.records import Demonstration, Message, Messages, Preference, messages_id
from pairgen.train.advise import Advice, advise, recommend, with_scores
from pairgen.train.config import TrainConfig
from pairgen.train.likelihood import likelihoods
from pairgen.train.loop import train
from pairgen.train.measures import Duplicates, Estimate, Numbers, duplicates, reservoir
from pairgen.train.samples import Source, draw, read


def config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"objective": "dpo", "learning_rate": 5e-3, "batch_size": 8,
                                       "max_completion_tokens": 24, **fields})


def words(rng: random.Random) -> str:
    return "=" + "".join(rng.choices("abcd", k=6))


def asked(n: int) -> list[Messages]:
    return [turns(f"{i}: say") for i in range(n)]


@pytest.fixture(scope="module")
def policy(init: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers `=` and six letters of abcd, any of them: it has many answers to a prompt."""
    out, rng = tmp_path_factory.mktemp("policy"), random.Random(0)
    rows = [Demonstration(f"d{i}", turns(f"{i % 60}: say", words(rng)), "judgment") for i in range(480)]
    train(config(objective="sft", epochs=3), rows, init, out)
    return out


@pytest.fixture(scope="module")
def own(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Eight answers of its own to each prompt, not those that the advice will draw."""
    source = Source(policy, "transformers", Sampling(temperature=1.0, max_tokens=24), seed=77)
    file = tmp_path_factory.mktemp("own") / "own.jsonl"
    draw(asked(40), source, 8, file)
    return {sampled.id: sampled.whole for sampled in read(file, source)}


def pair(prompt: Messages, chosen: str, rejected: str, **scores: float) -> Preference:
    ident = f"{prompt[0].content}|{chosen}|{rejected}"
    return Preference(ident, prompt, (Message("assistant", chosen),), (Message("assistant", rejected),), "pair",
                      "given", **scores)


def advice(rows: list[Preference], policy: Path, out: Path) -> Advice:
    return advise(rows, policy, out, config=config(), engine="transformers")


def quality(text: str) -> float:
    """What these tests call good: many a's."""
    return text.count("a") / 6


def on_policy(own: dict[str, tuple[str, ...]], scored: bool) -> list[Preference]:
    """The model's own better answer beside its own worse one."""
    rows = []
    for prompt in asked(40):
        texts = sorted(own[messages_id(prompt)], key=quality)
        scores = {"chosen_score": quality(texts[-1]), "rejected_score": quality(texts[0]),
                  "policy_score": sum(map(quality, texts)) / len(texts)} if scored else {}
        if texts[0] != texts[-1]:
            rows.append(pair(prompt, texts[-1], texts[0], **scores))
    return rows


@pytest.mark.parametrize("scored", [True, False])
def test_own_better_answers_ask_for_apo_zero(
    policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path, scored: bool
) -> None:
    found = advice(on_policy(own, scored), policy, tmp_path)
    assert found.recommendation == "apo-zero"
    assert found.basis == ("scores" if scored else "likelihood")
    assert abs(found.numbers.chosen_off) < 0.6
    assert abs(found.numbers.rejected_off) < 0.6
    if scored:
        assert found.numbers.winner_better.mean > 0.9


def test_revisions_of_own_answers_ask_for_apo_zero(
    policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    """As CLAIR makes them: a word of the model's own answer is replaced by one it would not write."""
    rows = []
    for prompt in asked(40):
        text = own[messages_id(prompt)][0]
        rows.append(pair(prompt, f"{text} Z", text))
    found = advice(rows, policy, tmp_path)
    assert found.recommendation == "apo-zero"
    assert found.numbers.chosen_off > 1
    assert found.numbers.jaccard.mean > 0.6
    assert "revisions" in found.reason


@pytest.mark.parametrize("scored", [True, False])
def test_worse_winners_of_others_ask_for_apo_down(policy: Path, tmp_path: Path, scored: bool) -> None:
    """Two weak models' answers, neither of which this model would write."""
    rng = random.Random(1)
    scores = {"chosen_score": 0.1, "rejected_score": 0.0, "policy_score": 0.25} if scored else {}
    rows = [pair(prompt, "".join(rng.choices("XYZ", k=6)), "".join(rng.choices("QRS", k=6)), **scores)
            for prompt in asked(30)]
    found = advice(rows, policy, tmp_path)
    assert found.recommendation == "apo-down"
    assert found.numbers.winner_better.mean == 0
    assert found.numbers.rejected_off > 2


@pytest.mark.parametrize("scored", [True, False])
def test_a_stronger_models_answers_beside_own_ones_ask_for_sft(
    policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path, scored: bool
) -> None:
    scores = {"chosen_score": 1.0, "rejected_score": 0.2, "policy_score": 0.25} if scored else {}
    rows = [pair(prompt, "In PLAIN words: OK!", own[messages_id(prompt)][0], **scores) for prompt in asked(30)]
    found = advice(rows, policy, tmp_path)
    assert found.recommendation == "sft"
    assert found.numbers.chosen_off > 2
    assert abs(found.numbers.rejected_off) < 0.6
    assert found.numbers.jaccard.mean == 0


def test_winners_better_and_worse_ask_for_apo_auto_with_the_shares(
    policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    rows = [replace(row, policy_score=float(i % 2), chosen_score=0.5) for i, row in enumerate(on_policy(own, True))]
    found = advice(rows, policy, tmp_path)
    assert found.recommendation == "apo-auto"
    assert "50% of winners" in found.reason or "51% of winners" in found.reason


def test_the_numbers_are_those_of_plain_forward_passes(
    policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    rows = on_policy(own, False)[:6]
    found = advice(rows, policy, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(policy)

    def plainly(prompt: Messages, text: str) -> tuple[float, int]:
        head = tokenizer.encode(f"<bos><user>{prompt[0].content}<assistant>", add_special_tokens=False)
        ids = tokenizer.encode(f"{text}<eos>", add_special_tokens=False)
        with torch.no_grad():
            logps = model(torch.tensor([head + ids])).logits[0].log_softmax(-1)
        return sum(logps[len(head) - 1 + i, t].item() for i, t in enumerate(ids)), len(ids)

    def mean(pairs: list[tuple[float, int]]) -> float:
        return sum(total / count for total, count in pairs) / len(pairs)

    chosen = [plainly(row.prompt, row.chosen[0].content) for row in rows]
    rejected = [plainly(row.prompt, row.rejected[0].content) for row in rows]
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert all(len(line["answers"]) == 4 for line in lines)
    mine = [mean([plainly(turns(line["prompt"][0]["content"]), a["text"]) for a in line["answers"]
                  if a["finish"] == "stop" and a["text"].strip()]) for line in lines]
    x = found.numbers
    assert x.logp_chosen.mean == pytest.approx(mean(chosen), abs=1e-4)
    assert x.logp_rejected.mean == pytest.approx(mean(rejected), abs=1e-4)
    assert x.logp_own.mean == pytest.approx(sum(mine) / len(mine), abs=1e-4)
    spread = sum((v - sum(mine) / 6) ** 2 for v in mine) / 5
    assert x.logp_own.se == pytest.approx(math.sqrt(spread / 6), abs=1e-4)
    assert x.accuracy.mean == sum(c[0] > r[0] for c, r in zip(chosen, rejected, strict=True)) / 6
    assert x.length_ratio == pytest.approx(sum(c[1] for c in chosen) / sum(r[1] for r in rejected))
    assert json.loads(json.dumps(found.to_json()))["rows"] == 6


def test_asking_again_draws_nothing(policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    rows = on_policy(own, False)[:5]
    first = advice(rows, policy, tmp_path)
    before = (tmp_path / "samples.jsonl").read_bytes()
    assert advice(rows, policy, tmp_path) == first
    assert (tmp_path / "samples.jsonl").read_bytes() == before
    assert len(list((tmp_path / "reference").iterdir())) == 1


def test_duplicates_are_counted_by_hand() -> None:
    a, b = turns("a"), turns("b")
    rows = [pair(a, "x", "y"), pair(a, "X.", "y"), pair(a, "y", "x"), pair(b, "x", "y"), pair(b, "z", "Z!")]
    assert duplicates(rows) == Duplicates(repeated=1, same=1, reversed=3)


def test_the_rows_measured_are_drawn_evenly() -> None:
    """Of 5,000 rows 512, about as many of each tenth; the same ones each time, and in order."""
    rows = [replace(row, id=str(i)) for i, row in enumerate(preferences(5000))]
    picked, of = reservoir([*rows, *demonstrations(3)])
    places = [int(row.id) for row in picked]
    assert of == 5000
    assert len(places) == 512
    assert places == sorted(places)
    assert all(30 < sum(t * 500 <= p < (t + 1) * 500 for p in places) < 75 for t in range(10))
    assert [row.id for row in reservoir(rows)[0]] == [row.id for row in picked]


def numbers(**fields: float) -> Numbers:
    shares = ("winner_better", "logp_chosen", "logp_rejected", "logp_own", "jaccard", "accuracy", "accuracy_per_token")
    plain = ("spread", "chosen_off", "rejected_off", "length_ratio", "tokens_chosen", "tokens_rejected", "tokens_own",
             "jaccard_own", "jaccard_chosen", "jaccard_rejected")
    fields = {"tied": 0.0, **fields}
    return Numbers(tied=fields["tied"], **{name: Estimate(fields.get(name, 0.5), 0.1) for name in shares},
                   **{name: fields.get(name, 1.0) for name in plain})


TABLE_1 = {  # of 2408.06266: words shared by the sides, beside those that two own answers share
    "clair": {"jaccard": 0.4311, "jaccard_own": 0.3906, "jaccard_chosen": 0.36, "jaccard_rejected": 0.39},
    "judge": {"jaccard": 0.3906, "jaccard_own": 0.3906, "jaccard_chosen": 0.39, "jaccard_rejected": 0.39},
    "off-policy": {"jaccard": 0.1805, "jaccard_own": 0.3906, "jaccard_chosen": 0.22, "jaccard_rejected": 0.18},
    "stronger": {"jaccard": 0.2435, "jaccard_own": 0.3906, "jaccard_chosen": 0.24, "jaccard_rejected": 0.39},
}
UNLIKELY = {"chosen_off": 3.0}
ALL_UNLIKELY = {"chosen_off": 3.0, "rejected_off": 3.0}
RULE = {
    "better": ("scores", {"winner_better": 0.8}, "apo-zero"),
    "the model's own, no better": ("scores", {"winner_better": 0.5, "tied": 0.9}, "apo-zero"),
    "others', no better": ("scores", {"winner_better": 0.5, "tied": 0.9, **ALL_UNLIKELY}, "apo-auto"),
    "worse": ("scores", {"winner_better": 0.2}, "apo-down"),
    "mixed": ("scores", {"winner_better": 0.5}, "apo-auto"),
    "stronger": ("scores", {"winner_better": 0.9, **TABLE_1["stronger"]}, "sft"),
    "stronger, unlikely": ("scores", {"winner_better": 0.9, **UNLIKELY, **TABLE_1["stronger"]}, "sft"),
    "another, but worse": ("scores", {"winner_better": 0.1, **TABLE_1["stronger"]}, "apo-down"),
    "clair": ("scores", {"winner_better": 0.9, **UNLIKELY, **TABLE_1["clair"]}, "apo-zero"),
    "off-policy": ("scores", {"winner_better": 0.2, **TABLE_1["off-policy"]}, "apo-down"),
    "off-policy, better": ("scores", {"winner_better": 0.9, **TABLE_1["off-policy"]}, "apo-zero"),
    "clair, unscored": ("likelihood", {"winner_better": 0.1, **UNLIKELY, **TABLE_1["clair"]}, "apo-zero"),
    "judge, unscored": ("likelihood", {"winner_better": 0.5, **TABLE_1["judge"]}, "apo-zero"),
    "off-policy, unscored": ("likelihood", {"winner_better": 0.1, **UNLIKELY, **TABLE_1["off-policy"]}, "apo-down"),
    "between, unscored": ("likelihood", {"winner_better": 0.5, **UNLIKELY, **TABLE_1["off-policy"]}, "apo-auto"),
    "stronger, unscored": ("likelihood", {"winner_better": 0.1, **UNLIKELY, **TABLE_1["stronger"]}, "sft"),
}


@pytest.mark.parametrize("case", RULE)
def test_the_rule(case: str) -> None:
    basis, fields, choice = RULE[case]
    assert recommend(numbers(**fields), basis)[0] == choice


FOUR = {"clair": "revisions", "judge": "the winners are the model's own", "stronger": "imitate",
        "off-policy": "likelier"}
"""Why what the paper found best for its constructions is best: APO-zero, APO-zero, SFT, and for off-policy
pairs what likelihood says. Their winners are as good as the policy's answers in this world, so it may say
anything but SFT."""


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("construction", FOUR)
def test_the_papers_four_constructions_without_scores(tmp_path: Path, construction: Any, seed: int) -> None:
    from dynamics_lab import pairs, pretrained

    found = advice(pairs(pretrained(seed), construction, 64, seed), pretrained(seed), tmp_path)
    assert found.basis == "likelihood"
    assert FOUR[construction] in found.reason or (construction == "clair" and FOUR["judge"] in found.reason)
    expected = {"clair": "apo-zero", "judge": "apo-zero", "stronger": "sft"}
    assert found.recommendation == expected.get(construction, found.recommendation)


TRUTH = {"clair": "apo-zero", "stronger": "sft", "worse": "apo-down"}


@pytest.mark.parametrize("construction", TRUTH)
def test_the_same_with_the_truth_for_scores(tmp_path: Path, construction: Any) -> None:
    """Scores are less slips; `worse` is CLAIR's pairs turned round, so that winners are what the policy slips on."""
    from dynamics_lab import pairs, pretrained, slips

    rows = []
    for row in pairs(pretrained(0), "clair" if construction == "worse" else construction, 64, 0):
        digits = "".join(c for c in row.prompt[0].content if c.isdigit())
        sides = [-float(slips(digits, side[0].content)) for side in (row.chosen, row.rejected)]
        rows.append(replace(row, chosen_score=sides[0], rejected_score=sides[1], policy_score=-1.25))
    if construction == "worse":
        rows = [replace(row, chosen=row.rejected, rejected=row.chosen, chosen_score=row.rejected_score,
                        rejected_score=row.chosen_score) for row in rows]
    assert advice(rows, pretrained(0), tmp_path).recommendation == TRUTH[construction]


# --- scores for apo-auto ------------------------------------------------------------------------------


def test_apo_auto_by_likelihood_trains_the_likelier_winners_with_apo_zero(
    policy: Path, own: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    """Half the winners are the model's likeliest kind, half foreign: the share in the log is theirs."""
    auto = config(objective="apo-auto", learning_rate=1e-4, batch_size=20, max_steps=1)
    rows = []
    for i, prompt in enumerate(asked(20)):
        texts = own[messages_id(prompt)]
        rows.append(pair(prompt, "Foreign" if i % 2 else texts[0], texts[1] + "?"))
    filled = with_scores(auto, [*rows], policy, tmp_path, engine="transformers")
    found = likelihoods(auto, rows, policy, tmp_path, engine="transformers").rows
    zero = 0
    for row, f in zip(filled.rows, found, strict=True):
        assert isinstance(row, Preference)
        assert row.chosen_score == f.chosen.mean
        assert row.rejected_score == f.rejected.mean
        assert row.policy_score == f.own_mean
        zero += row.chosen_score > row.policy_score
    assert not any(row.chosen_score > row.policy_score for row in filled.rows[1::2])
    assert 2 <= zero <= 10
    assert "by likelihood for 20 of 20 rows" in filled.said
    assert "4 own answers a prompt (80 drawn now" in filled.said
    train(auto, filled.rows, policy, tmp_path / "trained")
    log = json.loads((tmp_path / "trained" / "log.jsonl").read_text())
    assert log["zero_share"] == pytest.approx(zero / 20)


def test_rows_with_scores_stay_as_they_are(tmp_path: Path) -> None:
    """No model is opened: there is none."""
    rows = [pair(turns("a"), "x", "y", chosen_score=1.0, policy_score=0.5), demonstrations(1)[0]]
    found = with_scores(config(objective="apo-auto"), rows, tmp_path / "none", tmp_path)
    assert found.rows[0] == replace(rows[0], rejected_score=1.0)
    assert found.rows[1] == rows[1]
    assert "by the scores of the rows" in found.said


def test_likelihood_does_not_stand_in_for_scores_that_others_read(tmp_path: Path) -> None:
    both = config(objective=[{"use": "apo-auto"}, {"use": "reward-aware-po-bwd"}])
    with pytest.raises(UsageError, match="reward-aware-po-bwd, which reads real scores"):
        with_scores(both, preferences(2), tmp_path / "none", tmp_path)


def test_rows_that_cannot_be_measured_are_drops_with_their_reason(policy: Path, tmp_path: Path) -> None:
    rows = [pair(turns("0: say"), "=abc", "=abd"), pair(turns("1: say"), "x" * 50, "y"),
            pair(turns("z" * 300), "x", "y")]
    found = with_scores(config(objective="apo-auto"), rows, policy, tmp_path, engine="transformers")
    assert [row.id for row in found.rows] == [rows[0].id]
    assert [(drop.row_id, drop.reason) for drop in found.drops] == [
        (rows[1].id, "completion-too-long"), (rows[2].id, "too-long"),
    ]
    with pytest.raises(UsageError, match=r"no pair can be measured: 0 of 1 \(completion-too-long\)"):
        advice(rows[1:2], policy, tmp_path / "other")
    with pytest.raises(UsageError, match="draw at least 2"):
        advise(rows, policy, tmp_path, samples=1)
    with pytest.raises(UsageError, match="no preference pairs"):
        advice(demonstrations(2), policy, tmp_path)
