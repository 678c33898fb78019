"""Where the files that ship with pairgen are: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

from pairgen.errors import UsageError, nearest

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE / "_share" if (PACKAGE / "_share").is_dir() else PACKAGE.parent
BUILTIN = "builtin:"


def resource(kind: str, name: str) -> Path:
    """The path of a shipped file: `resource("prompts", "judge.md")`."""
    path = ROOT / kind / name
    if not path.exists():
        raise UsageError(f"no {name!r} in {kind}/: {nearest(name, _names(ROOT / kind))}")
    return path


def _names(base: Path) -> set[str]:
    """What may be asked for below a folder: its files, and a model by its folder, never by a file of it."""
    files = [path for path in base.rglob("*") if path.is_file()]
    models = {path.parent for path in files if path.name == "config.json"}
    return {str((path.parent if path.parent in models else path).relative_to(base)) for path in files}


def resolve(path: str) -> Path:
    """A user's path, or `builtin:world/seed-a` for something under the shipped data/."""
    if path.startswith(BUILTIN):
        return resource("data", path.removeprefix(BUILTIN))
    return Path(path).expanduser()
