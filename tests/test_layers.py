"""Imports point one way: from the drivers down to the values, never up."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pairgen"
LAYERS = (
    {"errors", "records", "fingerprint", "registry", "resources", "failpoints", "__init__"},
    {"columns", "schema", "parsers", "checks", "engine", "prompts"},
    {"fs", "locks", "journal", "store", "sources", "stage", "models"},
    {"engines"},
    {"stages"},
    {"pipeline", "export"},
    {"train"},
    {"evals"},
    {"loop"},
    {"audit"},
    {"cli", "__main__"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
REPORT_MAY_READ = {
    "errors",
    "records",
    "fingerprint",
    "registry",
    "resources",
    "schema",
    "parsers",
    "checks",
    "engine",
    "prompts",
    "audit.summary",
    "evals.benchmark",
    "evals.items",
    "evals.estimates",
    "evals.judging",
    "report",
}
WORLD_MAY_READ = LAYERS[0] | LAYERS[1] | {"world"}
MAY_READ_WORLD = ("world", "evals.suites.world_", "cli.world", "stages.world_")
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """`evals/suites/heldout.py` as `evals.suites.heldout`, a package as its own name."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """The modules of pairgen that a file imports anywhere in it, without the leading `pairgen.`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "pairgen"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            if node.module == "pairgen":
                found |= {f"pairgen.{a.name}" for a in node.names}
            elif node.module and node.module.startswith("pairgen."):
                found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return {name.removeprefix("pairgen.") for name in found if is_module(name.removeprefix("pairgen."))}


def is_module(name: str) -> bool:
    """Whether a dotted name is a module of the package and not something in one."""
    path = PACKAGE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def within(name: str, allowed: set[str]) -> bool:
    """Whether a dotted name is one of the allowed modules or below one."""
    return any(name == a or name.startswith(f"{a}.") for a in allowed)


def top(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_down(path: Path) -> None:
    """No module imports one of a layer above its own."""
    here = dotted(path) or "__init__"
    if top(here) in {"report", "world"}:
        return
    ups = {n for n in imported(path) if top(n) in RANK and RANK[top(n)] > RANK[top(here)]}
    assert not ups, f"{here} imports {sorted(ups)} from above"


def test_every_module_has_a_layer() -> None:
    """A new top-level module must be given its place in the layers."""
    names = {top(dotted(path) or "__init__") for path in MODULES}
    assert names <= RANK.keys() | {"report", "world"}


def test_stages_know_no_driver_and_no_clock() -> None:
    """Stages are pure: none of them imports time, network, randomness or a driver; only load reads files."""
    for path in (PACKAGE / "stages").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not names & {"time", "asyncio", "random", "os", "pathlib", "pairgen.fs", "pairgen.journal"}, (
            path
        )
        assert "pairgen.sources" not in names or path.name in {"load.py", "_given.py"}, path


def test_report_reads_values_only() -> None:
    """A report is drawn from values: no module of report/ imports a driver, an engine or the store."""
    for path in (PACKAGE / "report").rglob("*.py"):
        others = {n for n in imported(path) if not within(n, REPORT_MAY_READ)}
        assert not others, f"{dotted(path)} imports {sorted(others)}"


def test_only_the_cli_and_the_session_draw_reports() -> None:
    """Nothing below the session asks for a report."""
    for path in MODULES:
        here = dotted(path)
        if any(top(n) == "report" for n in imported(path)):
            drawn = ("loop.session", "loop.study", "loop.summary", "loop.assessed")
            assert top(here) in {"report", "cli"} or here.startswith(drawn), here


def test_ground_truth_never_reaches_the_loop() -> None:
    """The embedded world knows the right answers; only its own suites, its own stages and `pairgen world`
    may read it, so no other stage, filter, trainer or loop can see a label."""
    for path in MODULES:
        here = dotted(path)
        if any(top(n) == "world" for n in imported(path)):
            assert here == "world" or here.startswith(MAY_READ_WORLD), f"{here} imports the world"


def test_the_world_knows_values_only() -> None:
    """The world imports layers 0 and 1, so that it can be read and tested alone; no trainer, no engine."""
    for path in (PACKAGE / "world").rglob("*.py"):
        others = {n for n in imported(path) if not within(n, WORLD_MAY_READ)}
        assert not others, f"{dotted(path)} imports {sorted(others)}"


def test_the_command_line_imports_nothing_heavy() -> None:
    """`import pairgen.cli` and `pairgen --help` load no torch, no datasets, nothing that takes seconds."""
    heavy = ("torch", "vllm", "transformers", "datasets", "matplotlib", "pyarrow.dataset", "pandas", "openai")
    code = (
        "import sys\nsys.argv = ['pairgen', '--help']\nfrom pairgen.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout, done.stdout[-500:]
