"""A comparison of objectives: every arm reads the same rows for as long, and what is said of it can be trusted."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_lab import pairgen, run, tree, write

from pairgen.errors import UsageError
from pairgen.loop.config import parse_experiment
from pairgen.loop.steps import program
from pairgen.loop.study import over_seeds
from pairgen.store import read_manifest

JUDGE = {"use": "judge", "engine": "policy", "prompt": "world/judge.md", "n": 4,
         "sampling": {"temperature": 1.0, "max_tokens": 24}}
EXPORT = {"use": "export-dpo", "prompt": "world/judge.md"}


def study_tree() -> dict[str, Any]:
    """The little experiment of the other tests with a comparison in place of its loop."""
    config = tree()
    evals = config.pop("loop")["evals"]
    config["name"] = "small-study"
    config["stages"] += [
        {"id": "judged", "source": "training-pairs", **JUDGE}, {"id": "kept", "use": "filter"},
        {"id": "judgments", **EXPORT},
        {"id": "judged-heldout", "source": "heldout-pairs", **JUDGE}, {"id": "kept-heldout", "use": "filter"},
        {"id": "probe", **EXPORT},
    ]
    config["compare"] = {
        "seeds": [0, 1], "train_on": ["judgments"], "probe": "probe",
        "train": {"batch_size": 4, "max_steps": 3, "heldout_every": 1},
        "arms": {"sft": {"objective": "sft", "learning_rate": 1e-3},
                 "rpo": {"objective": "rpo", "learning_rate": 3e-4}},
        "evals": evals,
    }
    return config


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: its pipeline beside its folder `run`."""
    root = tmp_path_factory.mktemp("study")
    run(write(root, study_tree()), root / "run")
    return root


@pytest.mark.engine
def test_every_arm_trains_with_every_seed_on_the_same_rows(ran: Path) -> None:
    manifests = [m for p in (ran / "run").glob("*-train@*") if (m := read_manifest(p))]
    assert sorted(m.name for m in manifests) == ["rpo-0-train", "rpo-1-train", "sft-0-train", "sft-1-train"]
    assert len({json.dumps(m.inputs) for m in manifests}) == 1
    assert {m.metrics["steps"] for m in manifests} == {3}
    assert len({m.metrics["weights"] for m in manifests}) == 4


@pytest.mark.engine
def test_a_finished_study_is_not_run_again_and_another_arm_costs_only_itself(ran: Path) -> None:
    again = run(ran / "small.yaml", ran / "run")
    assert again.states == {"reused"}
    more = run(ran / "small.yaml", ran / "run", "compare.arms.dpo={objective: dpo, learning_rate: 1.0e-4}")
    assert {name for name, e in more.events.items() if e.state != "reused"} == {
        f"dpo-{seed}-{what}" for seed in (0, 1) for what in ("train", "heldout")
    }


@pytest.mark.engine
def test_the_table_the_json_and_the_page_tell_the_same(ran: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The mean of an arm is that of its evaluations' own numbers; log-probs start at 0 for every arm."""
    said = pairgen(capfd, "run", ran / "small.yaml", "--run-dir", ran / "run", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert sorted(arms) == ["rpo", "sft", "untrained"]
    for name in ("sft", "rpo"):
        own = [
            read_manifest(next((ran / "run").glob(f"{name}-{seed}-heldout@*"))).metrics["accuracy"]["mean"]
            for seed in (0, 1)
        ]
        cell = arms[name]["metrics"]["heldout:accuracy"]
        assert cell["seeds"] == pytest.approx(own)
        assert cell["mean"] == pytest.approx(sum(own) / 2)
        assert cell["low"] <= cell["mean"] <= cell["high"]
        assert arms[name]["good"]["steps"] == [0, 1, 2, 3]
        assert arms[name]["good"]["middle"][0] == arms[name]["bad"]["middle"][0] == 0
    page = (ran / "run" / "report.html").read_text()
    assert "Good and bad judgments" in page
    assert f"{arms['rpo']['metrics']['heldout:consistent_accuracy']['mean']:.3f} [" in page
    text = pairgen(capfd, "run", ran / "small.yaml", "--run-dir", ran / "run", "--quiet")
    assert "untrained" in text.out
    assert "log-probs of held-out judgments, rpo (dpo beta 0.1 + nll)" in text.out


@pytest.mark.parametrize(("change", "said"), [
    ({"arms": {}}, "compare.arms: which objectives?"),
    ({"arms": {"untrained": {"objective": "sft", "learning_rate": 1e-3}}}, "name the arm otherwise"),
    ({"arms": {"dpo": {"objective": "dpp", "learning_rate": 1e-3}}}, "compare.arms.dpo.objective: no objective 'dpp'"),
    ({"arms": {"sft": {"objective": "sft"}}}, "compare.arms.sft.learning_rate: field required"),
    ({"train_on": ["judgements"]}, "no step 'judgements': did you mean 'judgments'"),
    ({"train_on": ["kept"]}, "writes Judged rows"),
    ({"probe": "kept"}, "a probe holds Preference rows"),
    ({"probe": "nowhere"}, "compare.probe: no step 'nowhere'"),
    ({"seeds": [1, 1]}, "a seed is named twice"),
    ({"policy": "polic"}, "compare.policy: no engine 'polic'"),
    ({"train": {"seed": 3}}, "the seeds of the trainings are compare.seeds"),
    ({"arm": {}}, "compare.arm: unknown key"),
])
def test_what_cannot_work_is_refused_in_one_line(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = copy.deepcopy(study_tree())
    config["compare"] |= change
    write(tmp_path, config)
    with pytest.raises(UsageError) as error:
        program(parse_experiment(config))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_loop_and_a_comparison_exclude_each_other(tmp_path: Path) -> None:
    config = {**study_tree(), "loop": tree()["loop"]}
    write(tmp_path, config)
    with pytest.raises(UsageError, match="a loop or a comparison, not both"):
        parse_experiment(config)


def test_the_interval_resamples_seeds_and_items() -> None:
    """Against plain resampling written out, and in two cases that are known: one kind of variation alone."""
    rng = np.random.default_rng(1)
    values = rng.random((3, 40)) + np.array([[0.0], [0.2], [0.4]])
    values[1, 5] = np.nan
    plain = []
    for _ in range(4000):
        drawn = values[rng.integers(3, size=3)][:, rng.integers(40, size=40)]
        plain.append(np.nanmean(drawn))
    cell = over_seeds(values)
    assert cell.mean == pytest.approx(np.nanmean(values))
    assert (cell.low, cell.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.02)
    assert cell.seeds == pytest.approx(tuple(np.nanmean(values, axis=1)))
    same = over_seeds(np.tile(np.array([[0.0], [1.0]]), (1, 30)))
    assert (same.low, same.high) == (0.0, 1.0)
    one = over_seeds(np.repeat([[0.0, 1.0]], 200, axis=1).reshape(1, -1))
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)
