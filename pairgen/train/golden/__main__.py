"""`python -m pairgen.train.golden FILE`: exit 0 when all agree, 1 beyond tolerance, 2 when there is no such file."""

import json
import sys
from pathlib import Path

from pairgen.train.golden import Entry, check

USAGE = "usage: python -m pairgen.train.golden FILE, a file of the format of tests/train/golden_losses.json"


def main(arguments: list[str]) -> int:
    """Print the table; return the exit code."""
    if len(arguments) != 1:
        return _refuse(USAGE)
    path = Path(arguments[0])
    try:
        found = check(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        return _refuse(f"{path}: {error.strerror}")
    except ValueError as error:
        return _refuse(f"{path}: not a file of golden losses: {error}")
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        return _refuse(f"{path}: not of the format of golden losses: {type(error).__name__} {error}")
    _print_table(found)
    return 0 if all(entry.ok for entry in found) else 1


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def _print_table(found: list[Entry]) -> None:
    width = max((len(entry.name) for entry in found), default=0)
    print(f"{'entry':{width}}  values  worst relative deviation, allowed, and where")
    for entry in found:
        print(f"{entry.name:{width}}  {_line(entry)}")
    for entry in found:
        for number in entry.overflows:
            print(f"not reproduced: {entry.name}: {number.where} is {number.golden!r} there, {number.ours:.6g} here")
    failed = [entry.name for entry in found if not entry.ok]
    count = sum(len(entry.numbers) for entry in found)
    print(f"{count} values of {len(found)} entries compared, {len(failed)} entries fail")
    for name in failed:
        print(f"fails: {name}")


def _line(entry: Entry) -> str:
    count, allowed = f"{len(entry.numbers):6}", entry.allowed
    if entry.unknown:
        return f"{count}  UNKNOWN {entry.unknown}"
    if entry.worst is None:
        return f"{count}  nothing to reproduce"
    verdict = "" if entry.ok else f"  FAILS: {entry.worst.golden!r} there, {entry.worst.ours!r} here"
    return f"{count}  {entry.worst.deviation(allowed):7.1e}  {allowed.rel:.0e}  {entry.worst.where}{verdict}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
