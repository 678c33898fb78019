"""Build the wheel and try it where the source tree is not: everything it needs must be inside it.

The wheel goes into an environment of its own that sees this one's dependencies but not this checkout.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECK = """
import pairgen, pathlib, sys
where = pathlib.Path(pairgen.__file__).resolve()
assert "site-packages" in str(where), where
from pairgen.loop.config import load_experiment
from pairgen.prompts import load_prompt
from pairgen.resources import ROOT
assert (ROOT / "data" / "world" / "instructions.jsonl").exists()
for path in sorted((ROOT / "prompts").rglob("*.md")):
    load_prompt(str(path.relative_to(ROOT / "prompts")))
load_experiment("self-taught")
assert not [p for p in where.parent.parent.glob("*.pth") if "pairgen" in p.name]
print("wheel ok:", where.parent)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(ROOT)])
        wheel = next((folder / "dist").glob("*.whl"))
        python = _environment(folder / "env")
        run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", str(wheel)])
        run([python, "-c", CHECK], cwd=folder)
        command = str(Path(python).parent / "pairgen")
        for arguments in (["--help"], ["--version"], ["plan", "self-taught"], ["doctor"]):
            run([command, *arguments], cwd=folder)
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        run([python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *QUICK], cwd=folder)


QUICK = ["tests/test_prompts.py", "tests/test_parsers.py", "tests/pipeline", "tests/stages"]
"""The tests that touch what a wheel can lack: shipped prompts, pipelines and data."""


def _environment(folder: Path) -> str:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    theirs = subprocess.run([sys.executable, "-c", "import site; print(site.getsitepackages()[0])"],
                            capture_output=True, text=True, check=True).stdout.strip()
    ours = next((folder / "lib").glob("python*/site-packages"))
    # the other environment's packages, read after our own; its editable pairgen is hidden by the wheel
    (ours / "dependencies.pth").write_text(theirs + "\n")
    return str(python)


def run(command: list[str], cwd: Path = ROOT) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"failed ({done.returncode}): {' '.join(command)}")


if __name__ == "__main__":
    main()
