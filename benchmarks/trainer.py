"""The trainer beside TRL 1.16's DPOTrainer: same model, pairs, order, optimizer and loss, one after the other.

Two shapes of data: pairs with prompts of their own (prompt 200, completions 100 to 500 tokens), and
judgments, 4 chosen x 4 rejected of 120 tokens on one prompt of 900. A pair's useful tokens are
2 P + C + R, as a trainer that knows no shared prompts computes them. Runs alternate between the two
trainers, each in a process of its own; the first step of each is left out. DPO, bf16 autocast, fp32
weights, AdamW, reference log-probs precomputed by both before the clock starts.

    python benchmarks/trainer.py [--quick] [--repeats 2] [--trl-python PATH | --no-trl] [--threads 2]

Without --trl-python a venv is made in benchmarks/.venv from benchmarks/requirements.txt.
Writes benchmarks/trainer.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VOCABULARY, HIDDEN, LAYERS, INTERMEDIATE, HEADS, KV_HEADS = 13_120, 512, 8, 1024, 8, 4


@dataclass(frozen=True)
class Shape:
    """Data of one kind: `steps` optimizer steps of `batch` pairs; TRL computes `micro` pairs at once."""

    name: str
    batch: int
    micro: int
    steps: int
    precision: str = "bf16"
    rate: float = 1e-5


SHAPES = [Shape("pairs", 4, 4, 7), Shape("judge", 16, 4, 3)]
AGREEMENT = Shape("agreement", 4, 4, 5, "fp32", 1e-3)
"""Short pairs in fp32 at a rate that moves the loss: nothing is timed, the losses of both are compared."""


def rows_of(shape: Shape) -> list[dict[str, str]]:
    """Pairs of random words, one token each; a completion's last token is the EOS that both trainers add."""
    import random

    rng = random.Random(shape.name)

    def words(n: int) -> str:
        return " ".join(f"w{rng.randrange(VOCABULARY - 4)}" for _ in range(n))

    if shape.name != "judge":
        prompt, least, most = (200, 99, 499) if shape.name == "pairs" else (40, 9, 59)
        return [
            {"prompt": words(prompt), "chosen": " " + words(rng.randint(least, most)),
             "rejected": " " + words(rng.randint(least, most))}
            for _ in range(shape.batch * shape.steps)
        ]
    rows = []
    for _ in range(shape.steps):
        prompt, chosen, rejected = words(900), *([" " + words(119) for _ in range(4)] for _ in range(2))
        rows += [{"prompt": prompt, "chosen": c, "rejected": r} for c in chosen for r in rejected]
    return rows


def useful_tokens(row: dict[str, str]) -> int:
    """2 P + C + R."""
    sizes = {side: len(text.split()) for side, text in row.items()}
    return 2 * sizes["prompt"] + sizes["chosen"] + 1 + sizes["rejected"] + 1


def make_model(folder: Path) -> int:
    """A Llama of 25.6M random parameters and a tokenizer of whole words. Returns the number of parameters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
        intermediate_size=INTERMEDIATE, vocab_size=VOCABULARY, tie_word_embeddings=True,
        max_position_embeddings=4096, eos_token_id=1, pad_token_id=0, bos_token_id=None,
    ))
    model.save_pretrained(folder)
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2, "<bos>": 3}
    vocabulary |= {f"w{i}": i + 4 for i in range(VOCABULARY - 4)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
                            model_max_length=4096).save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


# --- the pairgen side, in its own process ---------------------------------------------------------------


def run_pairgen(path: str) -> None:
    """Train as the task says, and write what was measured to the task's `result`."""
    task = json.loads(Path(path).read_text())
    import torch

    from pairgen.records import Message, Preference
    from pairgen.train.config import TrainConfig
    from pairgen.train.loop import train

    torch.set_num_threads(task["threads"])
    libraries = rss_mib()
    given = [json.loads(line) for line in Path(task["rows"]).read_text().splitlines()]
    rows = [
        Preference(f"r{i}", (Message("user", r["prompt"]),), (Message("assistant", r["chosen"]),),
                   (Message("assistant", r["rejected"]),), "pair", "")
        for i, r in enumerate(given)
    ]
    config = TrainConfig.model_validate({
        "objective": [{"use": "dpo", "beta": 0.1}], "learning_rate": task["learning_rate"], "schedule": "constant",
        "batch_size": task["batch_size"], "shuffle": "none", "precision": task["precision"], "chat_template": "plain",
        "clip": 1.0, "checkpoint_every": 0, "micro_tokens": task["micro_tokens"],
    })
    marks, losses, tokens = [], [], []
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) if task["profile"] else None

    def on_step(log: Any) -> None:
        marks.append((time.perf_counter(), time.process_time()))
        losses.append(log.loss)
        tokens.append(log.tokens)
        if profiler and len(marks) == log.steps - 1:
            profiler.start()
        if profiler and len(marks) == log.steps:
            profiler.stop()

    began = time.perf_counter()
    train(config, rows, Path(task["model"]), Path(task["scratch"]), on_step=on_step)
    Path(task["result"]).write_text(json.dumps({
        "setup_seconds": marks[0][0] - began, "marks": marks, "losses": losses, "tokens": tokens,
        "libraries_mib": libraries, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "breakdown": breakdown(profiler) if profiler else None,
        "peak_gflops": matmul_peak() if task["profile"] else None,
    }))


def rss_mib() -> float:
    """Memory held now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention kernel": ("aten::_scaled_dot_product_flash",),
    "optimizer and clipping": ("aten::_fused_adamw_", "aten::_foreach"),
    "casts and copies": ("aten::copy_", "aten::fill_", "aten::cat", "aten::zero_"),
}


def breakdown(profiler: Any) -> dict[str, float]:
    """Shares of a step's time by kind of operation."""
    seconds: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        kind = next((k for k, names in KINDS.items() if event.key.startswith(names)), None)
        kind = kind or ("elementwise and reductions" if event.key.startswith("aten::") else "everything else")
        seconds[kind] += event.self_cpu_time_total
    whole = sum(seconds.values())
    return {kind: round(part / whole, 4) for kind, part in sorted(seconds.items(), key=lambda x: -x[1])}


def matmul_peak() -> float:
    """bf16 matrix products of this process, GFLOP/s: the best of a few of 2048 x 2048 x 2048."""
    import torch

    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e9


# --- the comparison -------------------------------------------------------------------------------------


def task_of(shape: Shape, folder: Path, micro_tokens: int) -> dict[str, Any]:
    """What both sides are told, the rows written down."""
    file = folder / f"{shape.name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(shape)))
    return {
        "model": str(folder / "model"), "rows": str(file), "batch_size": shape.batch, "micro_batch": shape.micro,
        "learning_rate": shape.rate, "precision": shape.precision, "micro_tokens": micro_tokens, "profile": False,
    }


def measure(python: Path, script: str, task: dict[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    """Run one side in a process of its own."""
    file = folder / "task.json"
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        file.write_text(json.dumps({**task, "result": str(result), "scratch": scratch, "threads": threads}))
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        side = [] if script.endswith("trl.py") else ["--task"]
        done = subprocess.run([python, HERE / script, *side, file], env=env, capture_output=True, text=True)
    if done.returncode or not result.is_file():
        raise SystemExit(f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def seconds_of(run: dict[str, Any], steps: int) -> dict[str, float]:
    """Means of a step's wall and CPU seconds, the first step left out."""
    marks = run["marks"][-steps:]
    wall = [b[0] - a[0] for a, b in pairwise(marks)]
    cpu = [b[1] - a[1] for a, b in pairwise(marks)]
    return {"wall": statistics.mean(wall), "cpu": statistics.mean(cpu)}


def matmul_flops(rows: list[dict[str, str]], computed: float) -> float:
    """Matrix products of a step in a trainer that computes `computed` tokens: forward once, backward twice."""
    layer = HIDDEN * HIDDEN * 2 + 2 * HIDDEN * HIDDEN * KV_HEADS // HEADS + 3 * HIDDEN * INTERMEDIATE
    sides = {(r["prompt"], r[side]) for r in rows for side in ("chosen", "rejected")}
    targets = sum(len(text.split()) + 1 for _, text in sides)
    scores = sum(len(p.split()) ** 2 / 2 for p in {r["prompt"] for r in rows})
    scores += sum(len(p.split()) * len(c.split()) + len(c.split()) ** 2 / 2 for p, c in sides)
    attention = 2 * 2 * HIDDEN * LAYERS * scores * 3.5  # two products forward, five back
    return 6 * (computed * layer * LAYERS + targets * HIDDEN * VOCABULARY) + attention


def report(shape: Shape, rows: list[dict[str, str]], runs: dict[str, list[dict[str, Any]]],
           seen: dict[str, Any]) -> dict[str, Any]:
    """Medians over repeats, ratios, agreement of losses; `seen` is a run of ours under the profiler."""
    per_step = [rows[i : i + shape.batch] for i in range(0, len(rows), shape.batch)][1:]
    useful = statistics.mean(sum(map(useful_tokens, step)) for step in per_step)
    found: dict[str, Any] = {"pairs_a_step": shape.batch, "useful_tokens_a_step": useful}
    for side, several in runs.items():
        wall = statistics.median(seconds_of(run, shape.steps)["wall"] for run in several)
        found[side] = {
            "step_seconds": wall, "step_cpu_seconds": statistics.median(
                seconds_of(run, shape.steps)["cpu"] for run in several),
            "pairs_per_second": shape.batch / wall, "pair_tokens_per_second": useful / wall,
            "peak_mib": statistics.median(run["peak_mib"] for run in several),
            "above_libraries_mib": statistics.median(run["peak_mib"] - run["libraries_mib"] for run in several),
            "losses": several[0]["losses"][: shape.steps], "step_seconds_of_each_run": [
                seconds_of(run, shape.steps)["wall"] for run in several],
        }
    ours = found["pairgen"]
    last = runs["pairgen"][-1]
    computed = statistics.mean(last["tokens"][1:])
    ours |= {"computed_tokens_per_second": computed / ours["step_seconds"], "breakdown": seen["breakdown"]}
    flops = statistics.mean(matmul_flops(step, n) for step, n in zip(per_step, last["tokens"][1:], strict=True))
    ours |= {"matmul_gflops": flops / ours["step_seconds"] / 1e9, "peak_gflops": seen["peak_gflops"]}
    ours["share_of_peak"] = ours["matmul_gflops"] / ours["peak_gflops"]
    if "trl" in runs:
        theirs = found["trl"]
        found["times_trl"] = theirs["step_seconds"] / ours["step_seconds"]
        found["times_trl_by_cpu"] = theirs["step_cpu_seconds"] / ours["step_cpu_seconds"]
        found["memory_of_trl"] = ours["peak_mib"] / theirs["peak_mib"]
        found["memory_above_libraries_of_trl"] = ours["above_libraries_mib"] / theirs["above_libraries_mib"]
        found["worst_loss_difference"] = max(
            abs(a - b) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
    return found


def trl_python(given: Path | None) -> Path:
    """The interpreter of TRL's venv, made if there is none."""
    if given:
        return given
    python = HERE / ".venv" / "bin" / "python"
    if not python.is_file():
        print("making benchmarks/.venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    return python


def show(name: str, found: dict[str, Any]) -> None:
    for side in ("trl", "pairgen"):
        if side in found:
            x = found[side]
            speed = f"{x['pairs_per_second']:7.2f} pairs/s {x['pair_tokens_per_second']:9.0f} pair-tokens/s"
            print(f"{name:6} {side:8} {speed}  step {x['step_seconds']:6.2f} s (cpu {x['step_cpu_seconds']:6.2f})  peak"
                  f" {x['peak_mib']:6.0f} MiB ({x['above_libraries_mib']:.0f} above libraries)")
    if "trl" in found:
        print(f"{name:6} {found['times_trl']:.2f}x TRL ({found['times_trl_by_cpu']:.2f}x by CPU seconds), memory "
              f"{found['memory_of_trl']:.2f} of TRL's, losses differ by at most {found['worst_loss_difference']:.1e}")
    ours = found["pairgen"]
    print(f"{name:6} matrix products {ours['matmul_gflops']:.0f} GFLOP/s, {ours['share_of_peak']:.0%} of "
          f"{ours['peak_gflops']:.0f}; {ours['computed_tokens_per_second']:.0f} computed tokens/s; time: "
          + ", ".join(f"{kind} {share:.0%}" for kind, share in ours["breakdown"].items()), flush=True)


def main() -> None:
    """Parse, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps, one run each")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--micro-tokens", type=int, default=2048, help="pairgen's tokens at once")
    parser.add_argument("--trl-python", type=Path)
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--shape", choices=[s.name for s in SHAPES], help="this one alone")
    parser.add_argument("--out", type=Path, default=HERE / "trainer.json")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        run_pairgen(options.task)
        return
    python = None if options.no_trl else trl_python(options.trl_python)
    shapes = [s for s in SHAPES if options.shape in (None, s.name)]
    if options.quick:
        shapes = [Shape(s.name, s.batch, s.micro, 3 if s.name == "pairs" else 2) for s in shapes]
    results: dict[str, Any] = {"machine": f"{platform.processor() or platform.machine()}, {options.threads} threads"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results["parameters"] = make_model(folder / "model")
        for shape in shapes:
            rows = rows_of(shape)
            runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
            repeats = 1 if options.quick else options.repeats
            for _ in range(repeats):
                task = task_of(shape, folder, options.micro_tokens)
                if python:
                    runs["trl"].append(measure(python, "trainer_trl.py", task, folder, options.threads))
                runs["pairgen"].append(measure(Path(sys.executable), "trainer.py", task, folder, options.threads))
            seen = measure(Path(sys.executable), "trainer.py", {**task, "profile": True}, folder, options.threads)
            results[shape.name] = report(shape, rows, runs, seen)
            show(shape.name, results[shape.name])
        if python:
            task = task_of(AGREEMENT, folder, options.micro_tokens)
            theirs = measure(python, "trainer_trl.py", task, folder, options.threads)["losses"][: AGREEMENT.steps]
            ours = measure(Path(sys.executable), "trainer.py", task, folder, options.threads)["losses"]
            worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            results["agreement_fp32"] = {"trl": theirs, "pairgen": ours, "worst": worst}
            print(f"fp32   losses of {AGREEMENT.steps} steps, {ours[0]:.4f} to {ours[-1]:.4f}: differ by {worst:.1e}")
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
