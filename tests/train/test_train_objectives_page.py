"""docs/objectives.md says of every loss what the code says: its tables are made from it, its examples are read."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from pairgen.train.config import PRESETS, TrainConfig
from pairgen.train.objectives import OBJECTIVES, Pairs, Side

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "objectives.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """benchmarks/objectives.py."""
    spec = importlib.util.spec_from_file_location("make_objectives", ROOT / "benchmarks" / "objectives.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [*OBJECTIVES, *PRESETS])
def test_every_loss_and_every_named_sum_has_a_line(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE), f"run python benchmarks/objectives.py --draw: no {name}"


def test_the_tables_are_those_of_the_code(maker: ModuleType) -> None:
    assert maker.with_tables(PAGE) == PAGE, "run python benchmarks/objectives.py --draw"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_an_objective(example: str) -> None:
    assert TrainConfig.model_validate({**yaml.safe_load(example), "learning_rate": 1e-6}).objective


@pytest.mark.parametrize("image", re.findall(r"!\[.*?\]\((.*?)\)", PAGE))
def test_every_drawing_is_there_and_small(image: str) -> None:
    assert 1_000 < (ROOT / "docs" / image).stat().st_size < 150_000


@pytest.mark.parametrize(("name", "chosen", "rejected"), [
    ("dpo", 0.05, -0.05), ("robust", 0.0625, -0.0625), ("ipo", 0.25, -0.2), ("hinge", 0.1, -0.1),
    ("exo", 0.173, -0.173), ("apo-zero", 0.025, -0.025), ("apo-down", 0.0, -0.025), ("discopop", -0.039, 0.039),
])
def test_first_pulls_are_those_of_the_specification(
    maker: ModuleType, name: str, chosen: float, rejected: float
) -> None:
    """Autograd through TRL gave them at beta 0.1 (DiscoPOP's, at 0.05, are half), lengths 40 and 50."""
    assert maker.at_the_reference(name) == pytest.approx((chosen, rejected), abs=5e-4)


def test_discopop_has_a_resting_place_below_zero() -> None:
    """What the page says of it: from a margin of 0 the reward margin slides to -0.12, and climbs beyond 0.07 only."""
    zero_B = torch.zeros(401, dtype=torch.float64)
    margin_B = torch.linspace(-1, 1, 401, dtype=torch.float64)
    pairs = Pairs(Side(margin_B / 0.05, zero_B, zero_B + 1), Side(zero_B, zero_B, zero_B + 1))
    rise_B = OBJECTIVES["discopop"].loss(pairs).diff().sign()
    turns = [round(margin_B[i + 1].item(), 2) for i in range(len(rise_B) - 1) if rise_B[i] != rise_B[i + 1]]
    assert turns == pytest.approx([-0.12, 0.07], abs=0.006)


def test_the_kept_curves_show_the_papers_order() -> None:
    """What is drawn is what is claimed: APO-zero over DPO over APO-down, for every seed, side and kind of pairs."""
    curves = json.loads((ROOT / "docs" / "objectives" / "curves.json").read_text())
    for kind in ("clair", "off-policy"):
        for side in ("chosen", "rejected"):
            zero, dpo, down = (curves[kind][name][side] for name in ("apo-zero", "dpo", "apo-down"))
            assert all(z[-1] > m[-1] > d[-1] for z, m, d in zip(zero, dpo, down, strict=True))
