"""What models make of a sample of pairs: log-probs as the model itself gives them, a judge in both orders."""

import json
from pathlib import Path

import numpy as np
import pytest

from pairgen.audit.model import LABELS, Models, under_models
from pairgen.audit.planted import ALWAYS_FIRST, KNOWS, MUTE, scripted
from pairgen.audit.read import open_source
from pairgen.audit.run import audit
from pairgen.engine import EngineConfig
from pairgen.engines.scripted import ScriptedConfig
from pairgen.models import model_folder

N = 40


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pairs of the embedded world's form, and one with an empty side."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"prompt": f"{1234 + i}: largest", "chosen": f"=right{i}", "rejected": f"=wrong{i}"} for i in range(N)]
    rows.append({"prompt": "1: largest", "chosen": "", "rejected": "=1"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def seed_model() -> Path:
    return model_folder(EngineConfig(use="transformers", model="builtin:world/seed-a"))


@pytest.mark.engine
def test_log_probs_are_the_models_own(pairs: Path, tmp_path: Path) -> None:
    """Sums and means against transformers' own loss on prompt and answer; the margin is 0 against itself."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = open_source(str(pairs))
    audited = audit(source)
    folder = seed_model()
    found = under_models(audited.summary, source, audited.table, Models(policy=folder, reference=folder, sample=12))
    column = audited.table.column("chosen_logp")
    places = np.flatnonzero(np.isfinite(column))
    assert len(places) == found.model[0].n
    assert 11 <= len(places) <= 12
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    place = int(places[3])
    asked = {"role": "user", "content": f"{1234 + place}: largest"}
    said = {"role": "assistant", "content": f"=right{place}"}
    before = tokenizer.apply_chat_template([asked], add_generation_prompt=True, return_dict=False)
    after = tokenizer.apply_chat_template([asked, said], return_dict=False)
    with torch.no_grad():
        logps = model(torch.tensor([after])).logits.log_softmax(-1)[0, :-1]
    own = logps.gather(1, torch.tensor(after[1:])[:, None])[len(before) - 1 :, 0]
    assert column[place] == pytest.approx(own.sum().item(), abs=1e-3)
    assert audited.table.column("chosen_logp_token")[place] == pytest.approx(own.mean().item(), abs=1e-4)
    assert np.nanmax(np.abs(audited.table.column("implicit_margin"))) == 0
    assert {s.name for s in found.model} == LABELS.keys() - {"judge_prefers_chosen"}
    likelier = next(r for r in found.model_rates if r.name == "likelier")
    gap = column - audited.table.column("rejected_logp")
    assert (likelier.count, likelier.n) == (int((gap[places] > 0).sum()), len(places))
    assert found.notes[: len(audited.summary.notes)] == audited.summary.notes
    assert "pairs drawn at random" in found.notes[-1]


@pytest.mark.parametrize(("rules", "share", "agrees", "disagrees"), [
    (KNOWS, 1.0, N, 0), (ALWAYS_FIRST, 0.5, 0, 0), (MUTE, 0.5, 0, 0),
])
def test_a_judge_is_asked_in_both_orders_and_never_twice(
    pairs: Path, tmp_path: Path, rules: list[dict[str, object]], share: float, agrees: int, disagrees: int
) -> None:
    """Judges whose agreement is known; the second audit is served from what is kept."""
    judge = ScriptedConfig.model_validate(scripted(rules))
    for _ in range(2):
        source = open_source(str(pairs))
        audited = audit(source)
        found = under_models(audited.summary, source, audited.table, Models(judge=judge, folder=tmp_path))
        prefers = audited.table.column("judge_prefers_chosen")
        assert np.nanmean(prefers) == share
        assert np.isnan(prefers[-1])
        rates = {r.name: (r.count, r.n) for r in found.model_rates}
        assert rates["judge_agrees"] == (agrees, N)
        assert rates["judge_disagrees"] == (disagrees, N)
    answers = list(tmp_path.glob("*-judged/journal.db"))
    assert len(answers) == 1
