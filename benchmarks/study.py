"""The recorded study of the embedded world: the loop, its random-filter control and the oracle.

Two seed models (independent pretraining lineages) x three loop seeds, each a plain `pairgen run`. The
table goes to docs/study.md, the curves to data/world/study.json, which every report of an embedded
run draws beside its own.

    python benchmarks/study.py [--jobs 2] [--runs runs/study]
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("seed-a", "seed-b")
SEEDS = (0, 1, 2)
PIPELINES = {"self-taught": 5, "self-taught-oracle": 1, "self-taught-control": 3}
"""Iterations of each."""
TITLES = {"self-taught": "the loop", "self-taught-control": "random-filter control", "self-taught-oracle": "oracle"}
SHOWN = (
    ("other", "consistent_accuracy"), ("other", "accuracy"), ("other", "sampled_accuracy"), ("other", "derivation"),
    ("unseen", "consistent_accuracy"), ("demo", "consistent_accuracy"), ("answers", "answer_accuracy"),
)
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}
"""Two-sided 95 % quantile of Student's t by number of runs (n - 1 degrees of freedom)."""


@dataclass(frozen=True)
class Job:
    """One run of the study."""

    pipeline: str
    model: str
    seed: int

    @property
    def iters(self) -> int:
        """How many iterations: the control is followed for several with the first loop seed only."""
        return PIPELINES[self.pipeline] if self.seed == SEEDS[0] or self.pipeline == "self-taught" else 1

    def result(self, runs: Path) -> dict:
        """The run's JSON result; a finished run is read again, not repeated."""
        folder = runs / f"{self.pipeline}-{self.model}-{self.seed}"
        command = [
            sys.executable, "-m", "pairgen", "run", self.pipeline, "--json", "--run-dir", str(folder),
            "--set", f"engines.policy.model=builtin:world/{self.model}", "--set", f"seed={self.seed}",
            "--iters", str(self.iters),
        ]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        print(f"{folder.name}: {time.monotonic() - began:.0f} s", flush=True)
        return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one core each")
    parser.add_argument("--runs", type=Path, default=Path("runs/study"))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    jobs = [Job(p, m, s) for p in PIPELINES for s in SEEDS for m in options.models]
    with ThreadPoolExecutor(options.jobs) as pool:
        results: dict[Job, dict] = {}
        for job, result in zip(jobs, pool.map(lambda job: job.result(options.runs), jobs), strict=True):
            results[job] = result
    write_json(results)
    write_markdown(results)


def curve(results: dict[Job, dict], pipeline: str, metric: tuple[str, str]) -> list[tuple[int, list[float]]]:
    """Per iteration, the metric of every run that got so far."""
    runs = [r["iterations"] for job, r in results.items() if job.pipeline == pipeline]
    suite, name = metric
    longest = max((len(run) for run in runs), default=0)
    return [(i, [run[i]["evals"][suite][name]["mean"] for run in runs if i < len(run)]) for i in range(longest)]


def write_json(results: dict[Job, dict]) -> None:
    """The control's and the oracle's curves, for reports."""
    curves = {(p, *metric): curve(results, p, metric) for p in PIPELINES for metric in SHOWN}
    study = {
        "title": "recorded study, runs over two seed models: " + ", ".join(
            f"{TITLES[p]} {sum(job.pipeline == p for job in results)}" for p in PIPELINES
        ),
        "curves": [
            {"name": TITLES[pipeline], "suite": suite, "metric": metric, "points": [
                {"iteration": i, "mean": fmean(values), "stderr": stderr(values)}
                for i, values in points
            ]}
            for (pipeline, suite, metric), points in curves.items() if pipeline != "self-taught"
        ],
    }
    (ROOT / "data" / "world" / "study.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")


def write_markdown(results: dict[Job, dict]) -> None:
    """The tables: mean over runs, 95 % interval of that mean, lowest and highest run."""
    curves = {(p, *metric): curve(results, p, metric) for p in PIPELINES for metric in SHOWN}
    lines = [
        "# The recorded study", "",
        f"{len(MODELS)} seed models x {len(SEEDS)} loop seeds = {len(MODELS) * len(SEEDS)} runs of each pipeline, "
        "on the embedded world. Each cell: mean over runs [95 % interval of that mean, Student's t], lowest–highest.",
        "Repeat it with `make study`; every run is an ordinary `pairgen run`.", "",
    ]
    for pipeline in PIPELINES:
        lines += [f"## {TITLES[pipeline]} (`{pipeline}`)", ""]
        columns = " | ".join(f"{suite}: {metric.replace('_', ' ')}" for suite, metric in SHOWN)
        lines += [f"| iteration | {columns} |", "|" + "---|" * (len(SHOWN) + 1)]
        for i, _ in curves[pipeline, *SHOWN[0]]:
            cells = [cell(curves[pipeline, *metric][i][1]) for metric in SHOWN]
            lines.append(f"| {i or 'seed'} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += per_run(results)
    (ROOT / "docs" / "study.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def per_run(results: dict[Job, dict]) -> list[str]:
    """Every run's headline metric, so that nothing hides behind a mean."""
    lines = ["## Every run: consistent accuracy on `other`, by iteration", "", "| run | curve |", "|---|---|"]
    for job, result in results.items():
        values = [it["evals"]["other"]["consistent_accuracy"]["mean"] for it in result["iterations"]]
        lines.append(f"| {job.pipeline}, {job.model}, seed {job.seed} | {' '.join(f'{v:.3f}' for v in values)} |")
    return lines


def stderr(values: list[float]) -> float | None:
    """The standard error of a mean over runs; None for one run."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def cell(values: list[float]) -> str:
    """`.950 [.930, .970] .920–.980`, with the number of runs where it is not the usual one."""
    mean, error = fmean(values), stderr(values)
    runs = "" if len(values) == len(MODELS) * len(SEEDS) else f" ({len(values)} runs)"
    if error is None or len(values) < 3:  # two runs give no interval worth printing
        return f"{mean:.3f} {min(values):.3f}–{max(values):.3f}{runs}"
    half = T_95[len(values)] * error
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}] {min(values):.3f}–{max(values):.3f}{runs}"


if __name__ == "__main__":
    main()
