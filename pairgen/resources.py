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
        base = ROOT / kind
        known = [str(p.relative_to(base)) for p in base.rglob("*") if p.is_file()]
        raise UsageError(f"no {name!r} in {kind}/: {nearest(name, known)}")
    return path


def resolve(path: str) -> Path:
    """A user's path, or `builtin:world/seed-a` for something under the shipped data/."""
    if path.startswith(BUILTIN):
        return resource("data", path.removeprefix(BUILTIN))
    return Path(path).expanduser()
