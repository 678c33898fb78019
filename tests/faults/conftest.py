"""Options of the fault tests. Every failure can be replayed with the seed it prints."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakellm import FakeLLM
from lab import Lab


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-kills", type=int, default=6, help="random kills per run (nightly: 300)")
    parser.addoption("--fault-seed", type=int, default=0, help="which kills, which failpoints")
    parser.addoption("--fault-sweep", type=int, default=10, help="failpoints struck per sweep; 0 is all")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def option(request: pytest.FixtureRequest) -> Callable[[str, int], int]:
    """An option's value, or its default where this folder's options were not loaded in time."""
    return lambda name, default: int(request.config.getoption(f"--fault-{name}", default))


@pytest.fixture
def rng(option: Callable[[str, int], int]) -> Random:
    """The test's randomness."""
    seed = option("seed", 0)
    print(f"--fault-seed {seed}")
    return Random(seed)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    """Makes labs, each with a server of its own."""
    servers: list[FakeLLM] = []

    def make(name: str, *faults: str, latency: tuple[float, float] = (0.005, 0.03), **fields: Any) -> Lab:
        servers.append(FakeLLM(tmp_path / f"{name}-ledger.jsonl", *faults, latency=latency))
        return Lab(tmp_path / name, servers[-1], **fields)

    yield make
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A run that nothing disturbed, to compare with."""
    root = tmp_path_factory.mktemp("calm")
    server = FakeLLM(root / "ledger.jsonl")
    lab = Lab(root / "lab", server)
    lab.finish()
    yield lab
    server.close()
