"""What form says about the label: textbook statistics, scikit-learn, and length baselines of published sets."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from audit_tables import lengths, measured
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pairgen.audit import signal
from pairgen.audit.hygiene import MEASURES as HYGIENE
from pairgen.audit.signal import COUNTED, bias, biases, fit, pick_more, predictability
from pairgen.audit.style import MEASURES

Texts = Iterator[tuple[str, str]]
SIDES = st.lists(st.tuples(*[st.one_of(st.integers(0, 6), st.floats(-3, 3), st.just(float("nan")))] * 2), max_size=20)


def _llmbar(folder: Path, name: str) -> Texts:
    for row in json.loads((folder / "llmbar" / f"{name}.json").read_text()):
        sides = row["output_1"], row["output_2"]
        yield sides if row["label"] == 1 else sides[::-1]


def _evalbias(folder: Path) -> Texts:
    for rows in json.loads((folder / "evalbiasbench" / "biasbench.json").read_text()).values():
        for row in rows:
            sides = row["response1"], row["response2"]
            yield sides if row["label"] == 1 else sides[::-1]


def _pandalm(folder: Path) -> Texts:
    """Where most of three annotators took a side. Six answers are booleans in the file: read as True and False."""
    for row in json.loads((folder / "pandalm" / "testset-v1.json").read_text()):
        vote, count = Counter(int(row[f"annotator{k}"]) for k in (1, 2, 3)).most_common(1)[0]
        if vote and count > 1:
            sides = str(row["response1"]), str(row["response2"])
            yield sides if vote == 1 else sides[::-1]


def _lines(path: Path) -> Texts:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            row = json.loads(line)
            yield row["chosen"], row["rejected"]


def _alpaca(folder: Path, better: str, worse: str) -> Texts:
    files = (folder / "alpaca_eval" / "outputs" / f"{name}.json" for name in (better, worse))
    one, two = ({row["instruction"]: row["output"] for row in json.loads(file.read_text())} for file in files)
    for instruction in one.keys() & two.keys():
        yield one[instruction], two[instruction]


def longer(pairs: Texts) -> float:
    """In percent, how often the longer text is the chosen one."""
    sizes = np.array([(len(chosen), len(rejected)) for chosen, rejected in pairs], float)
    return 100 * pick_more(bias("chars", "characters", sizes[:, 0], sizes[:, 1]))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("natural", 56.5), ("neighbor", 11.9), ("gptinst", 13.0), ("gptout", 44.7), ("manual", 18.5),
        ("case_constraint", 32.6), ("case_negation", 30.5), ("llmeval2", 61.3), ("mtbench_human200", 69.2),
    ],
)
def test_picking_the_longer_on_llmbar(real_data: Path, name: str, published: float) -> None:
    """The judge specification's baselines, exactly: characters as code points, ties half."""
    assert longer(_llmbar(real_data, name)) == pytest.approx(published, abs=0.05 + 1e-9)


def test_picking_the_longer_elsewhere(real_data: Path) -> None:
    """The same for the other sets of its table. HH's lengths are those of whole transcripts."""
    found = {
        "evalbias": (longer(_evalbias(real_data)), 26.2),
        "hhh": (longer(_lines(real_data / "prometheus_eval" / "hhh_pairs.jsonl")), 63.3),
        "hh": (longer(_lines(real_data / "hh_rlhf" / "harmless_base_test.jsonl.gz")), 44.6),
        "pandalm": (longer(_pandalm(real_data)), 67.4),
        "gpt-4": (longer(_alpaca(real_data, "gpt4_1106_preview", "alpaca-7b")), 97.6),
        "llama": (longer(_alpaca(real_data, "Meta-Llama-3-70B-Instruct", "Meta-Llama-3-8B-Instruct")), 48.4),
    }
    for name, (value, published) in found.items():
        assert value == pytest.approx(published, abs=0.05 + 1e-9), name


def test_picking_the_longer_on_repaired_code(real_data: Path) -> None:
    """HumanEvalPack's bugs, by language: 52.7 to 54.9, as published; Rust, at 56.4, was not counted there."""
    subsets: dict[str, list[tuple[str, str]]] = {}
    for line in (real_data / "rewardbench_partial" / "filtered_llmbar_hep.jsonl").read_text().splitlines():
        row = json.loads(line)
        subsets.setdefault(row["subset"], []).append((row["chosen"], row["rejected"]))
    found = {name: round(longer(iter(pairs)), 1) for name, pairs in subsets.items() if name.startswith("hep-")}
    assert found == {
        "hep-cpp": 52.7, "hep-go": 54.9, "hep-java": 53.0, "hep-js": 53.0, "hep-python": 54.9, "hep-rust": 56.4
    }


@given(SIDES)
def test_auc_is_mann_whitney(pairs: list[tuple[float, float]]) -> None:
    """Every chosen against every rejected text, ties half; rows without a value are left out."""
    sides = np.array(pairs, float).reshape(-1, 2)
    found = bias("x", "x", sides[:, 0], sides[:, 1])
    known = [(c, r) for c, r in sides.tolist() if c == c and r == r]
    assert found.chosen_more == sum(c > r for c, r in known)
    assert found.rejected_more == sum(c < r for c, r in known)
    assert found.equal == sum(c == r for c, r in known)
    if not known:
        assert np.isnan(found.auc)
        return
    wins = [(c > r) + (c == r) / 2 for c, r in product([c for c, _ in known], [r for _, r in known])]
    assert found.auc == pytest.approx(sum(wins) / len(wins))
    mirrored = bias("x", "x", sides[:, 1], sides[:, 0])
    assert mirrored.auc == pytest.approx(1 - found.auc)
    labels = [1] * len(known) + [0] * len(known)
    scores = [c for c, _ in known] + [r for _, r in known]
    assert found.auc == pytest.approx(roc_auc_score(labels, scores))


def test_interval_is_that_of_a_bootstrap_over_pairs() -> None:
    """Resampling whole pairs and counting all comparisons anew gives the same interval to a hundredth."""
    rng = np.random.default_rng(3)
    chosen = rng.poisson(6, 300).astype(float)
    rejected = (chosen * 0.5 + rng.poisson(2.4, 300)).round()
    found = bias("x", "x", chosen, rejected)
    aucs = []
    for _ in range(1000):
        drawn = rng.integers(300, size=300)
        left, right = chosen[drawn][:, None], rejected[drawn]
        aucs.append(((left > right) + 0.5 * (left == right)).mean())
    low, high = np.quantile(aucs, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_one_pair_has_no_interval() -> None:
    """And no crash."""
    found = bias("x", "x", np.array([2.0]), np.array([1.0]))
    assert (found.chosen_more, found.auc) == (1, 1.0)
    assert np.isnan(found.low)


def test_weights_are_those_of_scikit_learn() -> None:
    """On the pairs and their mirror images, where the same penalty is C = 1 / (2 ridge)."""
    rng = np.random.default_rng(0)
    x = rng.normal(loc=(0.5, 0, -0.2, 0, 0.1), size=(400, 5))
    x[:, 3] = x[:, 1]  # a feature twice
    both, labels = np.vstack([x, -x]), np.repeat([1, 0], 400)
    theirs = LogisticRegression(C=1 / (2 * 0.7), fit_intercept=False, tol=1e-10, max_iter=10_000).fit(both, labels)
    assert fit(x, ridge=0.7) == pytest.approx(theirs.coef_[0], abs=1e-5)


def test_separated_pairs_have_finite_weights() -> None:
    """A feature that always tells the side is where the ridge holds; scikit-learn agrees."""
    x = np.linspace(0.5, 2, 60)[:, None]
    theirs = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10).fit(np.vstack([x, -x]), np.repeat([1, 0], 60))
    assert fit(x) == pytest.approx(theirs.coef_[0], rel=1e-4)


def pairs(n: int, polite: float, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Pairs of random words. With chance `polite` the chosen one says thanks and the other does not."""
    words = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
    made = []
    for k in range(n):
        chosen, rejected = (" ".join(rng.choice(words, rng.integers(3, 30))) + "." for _ in range(2))
        made.append((f"prompt {k // 2}", chosen + " Thanks!" * bool(rng.random() < polite), rejected))
    return made


def test_style_that_says_nothing_and_style_that_says_all() -> None:
    """A coin for random texts; a planted habit is found, weighed first, and its accuracy is what it gives away."""
    rng = np.random.default_rng(1)
    nothing = predictability(measured(pairs(800, 0, rng), (*MEASURES, *HYGIENE, lengths)))
    assert nothing is not None
    assert nothing.low < 0.5 < nothing.high
    assert abs(nothing.auc - 0.5) < 0.06
    habit = predictability(measured(pairs(800, 0.8, rng), (*MEASURES, *HYGIENE, lengths)))
    assert habit is not None
    assert habit.low < 0.9 < habit.high  # told in 80 %, guessed in 20 %
    assert {habit.weights[0][0], habit.weights[1][0]} == {"politeness", "exclamations"}
    assert habit.folds == signal.FOLDS
    assert habit.n == 800


def test_held_out_accuracy_is_that_of_scikit_learn_over_the_same_folds() -> None:
    """The same folds, the same standardisation, their solver: the same pairs are told right."""
    table = measured(pairs(400, 0.3, np.random.default_rng(2)), (*MEASURES, *HYGIENE, lengths))
    found = predictability(table)
    rows = np.arange(len(table))
    folds = signal._folds(table.column("prompt_hash").astype(np.uint64), 0)
    x = signal._differences(table, rows)
    scores = np.zeros(len(x))
    for fold in range(signal.FOLDS):
        rest = x[folds != fold]
        scale = np.sqrt((rest**2).mean(axis=0))
        scale[scale == 0] = 1
        both = np.vstack([rest, -rest]) / scale
        model = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=10_000)
        model.fit(both, np.repeat([1, 0], len(rest)))
        scores[folds == fold] = model.decision_function(x[folds == fold] / scale)
    assert found is not None
    assert found.accuracy == pytest.approx((scores > 0).mean(), abs=1 / 400)
    theirs = roc_auc_score(np.repeat([1, 0], 400), np.concatenate([scores, -scores]))
    assert found.auc == pytest.approx(theirs, abs=1e-4)


def test_pairs_of_a_prompt_are_in_one_fold() -> None:
    """Whole prompts are held out, so that no fold has seen the prompt it is tested on."""
    prompts = np.random.default_rng(0).integers(0, 40, 500).astype(np.uint64)
    folds = signal._folds(prompts, 7)
    for prompt in np.unique(prompts):
        assert len(np.unique(folds[prompts == prompt])) == 1
    assert len(np.unique(folds)) == signal.FOLDS


def test_the_sides_swapped_turn_everything_round() -> None:
    """Biases mirror; the classifier is as good, with weights of the other sign."""
    made = pairs(300, 0.5, np.random.default_rng(4))
    table = measured(made, (*MEASURES, *HYGIENE, lengths))
    turned = measured([(p, r, c) for p, c, r in made], (*MEASURES, *HYGIENE, lengths))
    for one, two in zip(biases(table), biases(turned), strict=True):
        assert (one.chosen_more, one.rejected_more) == (two.rejected_more, two.chosen_more)
        assert one.auc == pytest.approx(1 - two.auc)
    one_way, other = predictability(table), predictability(turned)
    assert one_way is not None
    assert other is not None
    assert one_way.accuracy == other.accuracy
    assert [-w for _, w in one_way.weights] == pytest.approx([w for _, w in other.weights])


def test_too_few_pairs_or_a_single_prompt_have_no_classifier() -> None:
    """Nothing can be held out."""
    made = pairs(60, 0, np.random.default_rng(5))
    assert predictability(measured(made[:40], (*MEASURES, *HYGIENE, lengths))) is None
    one = [("the prompt", c, r) for _, c, r in made]
    assert predictability(measured(one, (*MEASURES, *HYGIENE, lengths))) is None


def test_a_large_table_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the classifier says how many pairs it saw; the same seed takes the same ones."""
    monkeypatch.setattr(signal, "SAMPLE", 100)
    table = measured(pairs(300, 0.5, np.random.default_rng(6)), (*MEASURES, *HYGIENE, lengths))
    one, two = predictability(table), predictability(table)
    assert one is not None
    assert one.n == 100
    assert one == two


def test_an_empty_table() -> None:
    """No rows, no numbers, no crash."""
    table = measured([], (*MEASURES, *HYGIENE, lengths))
    assert predictability(table) is None
    assert [b.name for b in biases(table)] == list(COUNTED)

