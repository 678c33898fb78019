"""docs/training.md says what the code says: its tables are made from it, its commands run as they stand."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pairgen.train.config import Lora, MovingReference, Term, TrainConfig
from pairgen.train.golden.names import CPO_TRAINER, DPO_TRAINER, KTO_TRAINER
from pairgen.train.objectives import OBJECTIVES
from pairgen.train.presets import TRAIN_PRESETS

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "training.md").read_text()
AGAIN = "run python scripts/training_page.py"
DATA = re.search(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
START = re.search(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
assert DATA is not None
assert START is not None
COMMANDS = re.findall(r"^\$ (pairgen .*)$", START[1].replace("\\\n", " "), re.MULTILINE)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """scripts/training_page.py."""
    spec = importlib.util.spec_from_file_location("training_page", ROOT / "scripts" / "training_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def has_line(name: str) -> bool:
    """Whether a table has a line that begins with a name."""
    return re.search(rf"^\| `{re.escape(name)}`( †)? \|", PAGE, re.MULTILINE) is not None


def test_the_tables_are_those_of_the_code(maker: ModuleType) -> None:
    assert maker.with_tables(PAGE) == PAGE, AGAIN


@pytest.mark.parametrize("name", [
    *TrainConfig.model_fields, *(f"lora.{name}" for name in Lora.model_fields),
    *(f"moving_reference.{name}" for name in MovingReference.model_fields),
    *(f"objective.LOSS.{name}" for name in Term.model_fields if name != "params"),
])
def test_every_option_has_a_line(name: str) -> None:
    assert has_line(name), f"give {name} a meaning in scripts/training_page.py, then {AGAIN}"


@pytest.mark.parametrize("name", TRAIN_PRESETS)
def test_every_preset_has_a_line(name: str) -> None:
    assert has_line(name), AGAIN


def test_every_format_has_an_example(maker: ModuleType) -> None:
    names = {shape.name for shape in maker.SHAPES}
    shown = {line.split(" | ")[-2] for line in maker.example_table().splitlines()[2:]}
    assert shown == names


def test_every_reason_to_leave_a_row_out_is_explained() -> None:
    """As the code spells them where it makes a drop."""
    code = "".join((ROOT / "pairgen" / "train" / f"{name}.py").read_text()
                   for name in ("encode", "render", "turns", "formats", "likelihood"))
    reasons = set(re.findall(r'(?:Unfit|NoRow)\("([\w-]+)"|Drop\([\w.]+, "train", "([\w-]+)"', code))
    assert len(reasons) > 10
    assert not {name for pair in reasons for name in pair if name and not has_line(name)}


def test_every_loss_of_trl_has_a_name_here() -> None:
    assert {ours.use for names in (DPO_TRAINER, CPO_TRAINER, KTO_TRAINER) for ours in names.values()} <= {*OBJECTIVES}


def test_the_first_commands_run_as_they_stand(tmp_path: Path) -> None:
    """In a folder with the page's data; each leaves what the page says."""
    assert DATA is not None
    (tmp_path / "prefs.jsonl").write_text(DATA[1])
    assert all(json.loads(line)["prompt"] for line in DATA[1].splitlines())
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        done = subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=tmp_path, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", "log.jsonl", "train.yaml", "drops.jsonl", "output.log", "reference"):
        assert (tmp_path / "runs" / "apo" / name).exists()
    for name in ("adapter", "best", "checkpoint-2", "heldout.jsonl"):
        assert (tmp_path / "runs" / "lora" / name).exists()
    assert not list(tmp_path.glob("runs/*/resume-*"))
