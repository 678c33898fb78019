"""TRL's DPOTrainer on the task of `trainer.py`, with its best settings on a CPU. Runs in TRL's own venv.

    python benchmarks/trainer_trl.py TASK.json
"""

import json
import resource
import sys
import time
from pathlib import Path


def main(path: str) -> None:
    """Train as the task says, and write what was measured to the task's `result`."""
    task = json.loads(Path(path).read_text())
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(task["threads"])
    libraries = rss_mib()
    rows = [json.loads(line) for line in Path(task["rows"]).read_text().splitlines()]
    marks: list[tuple[float, float]] = []
    losses: list[float] = []

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            marks.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, *_: object, **__: object) -> None:
            marks.append((time.perf_counter(), time.process_time()))

        def on_log(self, args: object, state: object, control: object, logs: dict[str, float], **_: object) -> None:
            if "loss" in logs:
                losses.append(float(logs["loss"]))

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *_: object, **__: object) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    began = time.perf_counter()
    trainer = InOrder(
        model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
        train_dataset=Dataset.from_list(rows),
        callbacks=[Watch()],
        args=DPOConfig(
            output_dir=task["scratch"], use_cpu=True, bf16=task["precision"] == "bf16", gradient_checkpointing=False,
            precompute_ref_log_probs=True, precompute_ref_batch_size=task["micro_batch"],
            per_device_train_batch_size=task["micro_batch"],
            gradient_accumulation_steps=task["batch_size"] // task["micro_batch"],
            num_train_epochs=1, learning_rate=task["learning_rate"], lr_scheduler_type="constant",
            optim="adamw_torch_fused", weight_decay=0.0, max_grad_norm=1.0, beta=0.1, max_length=None,
            logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, seed=0,
        ),
    )
    trainer.train()
    Path(task["result"]).write_text(json.dumps({
        "setup_seconds": marks[0][0] - began, "marks": marks, "losses": losses, "libraries_mib": libraries,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


def rss_mib() -> float:
    """Memory held now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(sys.argv[1])
