"""Plug-ins are found by file name: `stages/judge.py` is the stage `judge`, and ends in `STAGE = Judge`.

An import error inside a plug-in is raised as it is: a missing dependency must never look like a
misspelt name.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

from pairgen.errors import UsageError, nearest


def names(package: str) -> list[str]:
    """The plug-ins of a package, as users write them (dashes for underscores)."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    return sorted(m.name.replace("_", "-") for m in found if not m.name.startswith("_"))


def find(package: str, name: str) -> ModuleType:
    """The module of one plug-in. Raises UsageError with the nearest valid name."""
    known = names(package)
    if name.replace("_", "-") not in known:
        kind = package.rsplit(".", 1)[-1]
        raise UsageError(f"no {name!r} in {kind}: {nearest(name, known)}")
    return import_module(f"{package}.{name.replace('-', '_')}")
