"""Transformers in this process: the portable fallback, for machines without vLLM.

A batch is decoded from its first token to its last, with a growing KV cache. Batches are cut from what
arrived together, in order, so the same requests sent in the same order give the same bytes. A sample
draws one number a token from a generator of its own and inverts the cumulative distribution with it.

Shapes: J jobs, R samples (rows), T tokens so far, N tokens a sample may have, V vocabulary.
"""

import importlib.util
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pairgen.engine import Completion, Engine
from pairgen.engines._choose import choose, likeliest
from pairgen.engines._local import Chat, LocalConfig, LocalEngine, quiet, use_threads
from pairgen.engines._reply import cut
from pairgen.engines._worker import Job, pack_job
from pairgen.errors import UsageError
from pairgen.fingerprint import Runtime


class TransformersConfig(LocalConfig):
    """`batch_size` counts samples decoded together; `device` is the GPU where there is one."""

    use: Literal["transformers"] = "transformers"
    batch_size: Runtime[int] = Field(default=64, ge=1)
    device: Runtime[str | None] = None

    def check(self) -> None:
        """Torch must be installed, and a model given as a path be there."""
        if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
            raise UsageError("engine transformers: torch is not installed (pip install 'pairgen[train]')")
        super().check()

    def open(self) -> Engine:
        """Load the model. Raises UsageError when torch is not installed or the model cannot be read."""
        self.check()
        return LocalEngine(self, lambda folder: TransformersBackend(self, folder))


class TransformersBackend:
    """A model, the batches that wait and the one being decoded."""

    def __init__(self, config: TransformersConfig, folder: str) -> None:
        import torch

        use_threads(config.threads, folder)
        self.config = config
        self.device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = Chat(Path(folder)).tokenizer
        self.model: Any = self.read_model(folder)
        longest = self.model.config.get_text_config().max_position_embeddings
        self.context = min(config.max_model_len or longest, longest)
        ends = self.model.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends = frozenset(ends if isinstance(ends, list) else [ends])
        self.waiting: deque[list[Job]] = deque()
        self.batch: Batch | None = None

    def read_model(self, folder: str) -> Any:
        """The model of a folder, on its device."""
        import torch
        from transformers import AutoModelForCausalLM

        dtype = self.config.dtype
        if dtype == "auto" and self.device == "cpu":
            dtype = "float32"
        try:
            with quiet():
                model = AutoModelForCausalLM.from_pretrained(
                    folder, dtype="auto" if dtype == "auto" else getattr(torch, dtype)
                )
        except (OSError, ValueError) as error:
            detail = (str(error).splitlines() or ["no reason given"])[0]
            raise UsageError(f"engine transformers: {detail}") from error
        return model.to(self.device).eval()

    @property
    def busy(self) -> bool:
        """Whether a step would get anything done."""
        return self.batch is not None or bool(self.waiting)

    def admit(self, jobs: Sequence[Job]) -> None:
        """Cut a burst into batches: prompts of like length together, so that little is padding."""
        batch: list[Job] = []
        for job in sorted(jobs, key=lambda job: len(job.ids)):
            if batch and sum(map(rows, batch)) + rows(job) > self.config.batch_size:
                self.waiting.append(batch)
                batch = []
            batch.append(job)
        self.waiting.append(batch)

    def step(self) -> list[Job]:
        """One token for every sample of the batch; returns the jobs of a batch that is complete."""
        import torch

        with torch.inference_mode():
            if self.batch is None:
                self.batch = Batch(self, self.waiting.popleft())
            self.batch.advance()
        if self.batch.live:
            return []
        done, self.batch = self.batch.replies(), None
        return done

    def forget(self, job: Job) -> None:
        """Take a job nobody waits for out of the queue, or out of the running batch."""
        self.waiting = deque(kept for kept in ([j for j in b if j is not job] for b in self.waiting) if kept)
        if self.batch is not None:
            self.batch.forget(job)

    def load(self, folder: str) -> None:
        """Read other weights."""
        self.model = None
        self.model = self.read_model(folder)

    def sleep(self) -> None:
        """Move the model to CPU memory."""
        self.model.to("cpu")

    def wake(self) -> None:
        """Bring it back."""
        self.model.to(self.device)

    def close(self) -> None:
        """Free the model."""
        self.model = self.batch = None


class Batch:
    """Samples decoded together. A row that has ended leaves the tensors when enough others have too."""

    def __init__(self, backend: TransformersBackend, jobs: list[Job]) -> None:
        import torch

        self.torch, self.backend, self.jobs = torch, backend, jobs
        owners = [job for job in jobs for _ in range(rows(job))]
        self.rows = [
            Row(job, min(job.request.sampling.max_tokens, backend.context - len(job.ids))) for job in owners
        ]
        self.live = list(range(len(self.rows)))
        index_R = torch.tensor([place for place, job in enumerate(jobs) for _ in range(rows(job))])
        self.prefill(index_R.to(backend.device))
        sampling = [job.request.sampling for job in owners]
        self.temperature_R = self.tensor([s.temperature for s in sampling])
        self.top_p_R = self.tensor([s.top_p for s in sampling])
        self.draws_RN = self.tensor(self.draws())
        self.count = 0

    def tensor(self, values: Any) -> Any:
        """Float64, on the model's device."""
        return self.torch.as_tensor(values, dtype=self.torch.float64, device=self.backend.device)

    def draws(self) -> Any:
        """One uniform number a token for each row, from the generator of its seed."""
        torch = self.torch
        draws_RN = torch.zeros(len(self.rows), max(row.limit for row in self.rows), dtype=torch.float64)
        place = 0
        for job in self.jobs:
            for i in range(rows(job)):
                seed = torch.Generator().manual_seed(job.request.seed + job.request.first + i)
                limit = self.rows[place].limit
                draws_RN[place, :limit] = torch.rand(limit, generator=seed, dtype=torch.float64)
                place += 1
        return draws_RN

    def prefill(self, index_R: Any) -> None:
        """Compute each prompt once, left-padded, then give every sample a copy of its cache."""
        torch, device = self.torch, self.backend.device
        longest = max(len(job.ids) for job in self.jobs)
        ids_JT = torch.tensor([[0] * (longest - len(job.ids)) + job.ids for job in self.jobs], device=device)
        lengths_J = torch.tensor([len(job.ids) for job in self.jobs], device=device)
        mask_JT = torch.arange(longest, device=device) >= longest - lengths_J[:, None]
        out = self.backend.model(
            input_ids=ids_JT, attention_mask=mask_JT.long(), use_cache=True, logits_to_keep=1,
            position_ids=(mask_JT.long().cumsum(1) - 1).clamp(min=0),
        )
        self.cache = out.past_key_values
        self.cache.batch_select_indices(index_R)
        self.logits_RV = out.logits[:, -1][index_R]
        self.note_first()
        self.mask_RT = mask_JT.long()[index_R]
        self.position_R = lengths_J[index_R]

    def note_first(self) -> None:
        """Keep the likeliest first tokens of the rows that were asked for them."""
        wanted = [place for place, row in enumerate(self.rows) if row.job.request.logprobs]
        if not wanted:
            return
        logps_RV = self.logits_RV[wanted].double().log_softmax(-1)
        for place, logps_V in zip(wanted, logps_RV, strict=True):
            row = self.rows[place]
            row.first = likeliest(logps_V, row.job.request.logprobs, self.backend.tokenizer)

    def advance(self) -> None:
        """Choose the next token of every row, and compute what follows while any row goes on."""
        picked_R = choose(
            self.logits_RV.double(), self.temperature_R, self.top_p_R, self.draws_RN[:, self.count]
        )
        self.count += 1
        for row, token in zip(self.live, picked_R.tolist(), strict=True):
            self.rows[row].take(token, self.backend)
        keep = [place for place, row in enumerate(self.live) if self.rows[row].finish is None]
        if not keep:
            self.live = []
            return
        if len(keep) <= 0.75 * len(self.live):
            picked_R = picked_R[self.select(keep)]
        out = self.backend.model(
            input_ids=picked_R[:, None], attention_mask=self.grown_mask(), use_cache=True,
            position_ids=self.position_R[:, None], past_key_values=self.cache,
        )
        self.position_R = self.position_R + 1
        self.logits_RV = out.logits[:, -1]

    def grown_mask(self) -> Any:
        """The mask with a column for the new token."""
        ones_R1 = self.mask_RT.new_ones(len(self.mask_RT), 1)
        self.mask_RT = self.torch.cat([self.mask_RT, ones_R1], 1)
        return self.mask_RT

    def select(self, keep: list[int]) -> Any:
        """Shrink every tensor to these rows; returns their index."""
        index = self.torch.tensor(keep, device=self.backend.device)
        self.live = [self.live[place] for place in keep]
        self.cache.batch_select_indices(index)
        for name in ("mask_RT", "position_R", "temperature_R", "top_p_R", "draws_RN"):
            setattr(self, name, getattr(self, name)[index])
        return index

    def forget(self, job: Job) -> None:
        """End the rows of a job nobody waits for."""
        for row in self.rows:
            if row.job is job and row.finish is None:
                row.finish = "stop"

    def replies(self) -> list[Job]:
        """The jobs, each with its reply."""
        for job in self.jobs:
            job.reply = pack_job(job, [row.completion(self.backend) for row in self.rows if row.job is job])
        return self.jobs


class Row:
    """One sample: its tokens so far and how it ended."""

    def __init__(self, job: Job, limit: int) -> None:
        self.job, self.limit = job, limit
        self.tokens: list[int] = []
        self.first: tuple[tuple[str, float], ...] | None = None
        self.finish: str | None = None
        self.stop = job.request.sampling.stop
        # a character is at most four byte-level tokens: a stop string ends within so many of them
        self.tail = 4 * max(map(len, self.stop), default=0) + 4

    def take(self, token: int, backend: TransformersBackend) -> None:
        """Add a token, and see whether the sample ends with it."""
        if self.finish is not None:
            return
        self.tokens.append(token)
        if token in backend.ends or self.stops(backend):
            self.finish = "stop"
        elif len(self.tokens) >= self.limit:
            self.finish = "length"

    def stops(self, backend: TransformersBackend) -> bool:
        """Whether a stop string has appeared."""
        return bool(self.stop) and cut(self.text(backend, self.tokens[-self.tail :]), self.stop)[1]

    def text(self, backend: TransformersBackend, tokens: list[int]) -> str:
        """Tokens as text, special ones left out."""
        return str(backend.tokenizer.decode(tokens, skip_special_tokens=True))

    def completion(self, backend: TransformersBackend) -> Completion:
        """The sample as it ended."""
        text, _ = cut(self.text(backend, self.tokens), self.stop)
        return Completion(text, self.finish or "length", 0, len(self.tokens), self.first)


def rows(job: Job) -> int:
    """How many samples a job has to draw: greedy ones are all the same."""
    return 1 if job.request.sampling.temperature == 0 else job.request.n


ENGINE = TransformersConfig
