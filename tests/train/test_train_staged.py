"""sDPO: every chunk starts from, and is compared with, the model of the chunk before."""

import json
from pathlib import Path

import pytest
from tiny_model import preferences

from pairgen.errors import UsageError
from pairgen.fingerprint import file_digest
from pairgen.train.config import TrainConfig
from pairgen.train.loop import train
from pairgen.train.staged import train_staged

CONFIG = TrainConfig.model_validate({"objective": "dpo", "learning_rate": 2e-3, "batch_size": 4, "epochs": 2})


def test_stages_are_trainings_one_after_the_other(init: Path, tmp_path: Path) -> None:
    rows = preferences(24)
    results = train_staged(CONFIG, rows, init, tmp_path / "staged", 3)
    assert len(results) == 3
    before = init
    for stage in range(3):
        train(CONFIG, rows[8 * stage : 8 * stage + 8], before, tmp_path / str(stage))
        before = tmp_path / str(stage)
        folder = tmp_path / "staged" if stage == 2 else tmp_path / "staged" / f"stage-{stage + 1}"
        assert file_digest(before / "model.safetensors") == file_digest(folder / "model.safetensors")
        first = json.loads((before / "log.jsonl").read_text().splitlines()[0])
        assert abs(first["margin"]) < 1e-3, "the reference is the model the stage began with"


def test_a_stage_that_is_done_is_not_trained_again(init: Path, tmp_path: Path) -> None:
    def stop(log: object) -> None:
        if (tmp_path / "s" / "stage-1" / "STAGE").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_staged(CONFIG, preferences(16), init, tmp_path / "s", 2, on_step=stop)
    first = file_digest(tmp_path / "s" / "stage-1" / "model.safetensors")
    assert len(train_staged(CONFIG, preferences(16), init, tmp_path / "s", 2)) == 1
    assert file_digest(tmp_path / "s" / "stage-1" / "model.safetensors") == first


def test_more_chunks_than_rows_is_an_error(init: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="9 chunks of 4 rows"):
        train_staged(CONFIG, preferences(4), init, tmp_path, 9)
