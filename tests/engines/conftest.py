"""A tiny model, a fake OpenAI server, and one engine of each kind over them."""

import asyncio
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pairgen.engine import Engine, Request, Sampling
from pairgen.records import Message

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
KINDS = ("scripted", "transformers", "vllm", "openai")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def ask(text: str, n: int = 1, seed: int = 7, first: int = 0, **sampling: Any) -> Request:
    """A request with one user turn."""
    options = {"temperature": 1.0, "max_tokens": 12} | sampling
    return Request((Message("user", text),), Sampling(**options), seed, n, first)


@pytest.fixture(scope="session", name="ask")
def _ask() -> Callable[..., Request]:
    return ask


def write_model(out: Path, seed: int, tied: bool = True, context: int = 256) -> None:
    """A random Llama with a byte-level tokenizer; template and post-processor both put <bos> first."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>"]
    words = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    raw.add_special_tokens(special)
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", chat_template=TEMPLATE
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=context, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.2,
    ))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


@pytest.fixture(scope="session", name="write_model")
def _write_model() -> Callable[..., None]:
    return write_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models of one architecture, `a` and `b`."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("ab"):
        write_model(folder / name, seed)
    return {name: folder / name for name in "ab"}


class FakeServer:
    """An OpenAI-compatible server: texts are a function of the request and the sample's seed.

    `faults` are answered first, one a call; `calls` counts, `last` and `headers` keep the last call.
    """

    def __init__(self) -> None:
        self.calls, self.last, self.headers = 0, {}, {}
        self.faults: list[tuple[int, dict[str, str], bytes]] = []
        self.body: bytes | None = None
        self.knows_n, self.delay = True, 0.0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def reset(self) -> None:
        self.calls, self.faults, self.body, self.knows_n, self.delay = 0, [], None, True, 0.0

    def _run(self) -> None:
        from aiohttp import web

        async def start() -> None:
            app = web.Application()
            app.router.add_post("/v1/chat/completions", self._answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            self._ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    async def _answer(self, request: Any) -> Any:
        from aiohttp import web

        self.calls += 1
        asked = await request.json()
        self.last, self.headers = asked, dict(request.headers)
        fault = self.faults.pop(0) if self.faults else None
        await asyncio.sleep(self.delay)
        if fault is not None:
            status, headers, body = fault
            return web.Response(status=status, headers=headers, body=body, content_type="application/json")
        body = self.body if self.body is not None else json.dumps(self._completion(asked)).encode()
        return web.Response(body=body, content_type="application/json")

    def _completion(self, asked: dict[str, Any]) -> dict[str, Any]:
        n = asked.get("n", 1) if self.knows_n else 1
        seeds = [0 if asked["temperature"] == 0 else asked["seed"] + i for i in range(n)]
        limit = asked["max_tokens"]
        words = [[f"w{hash_of(asked['messages'], seed, i)}" for i in range(20)] for seed in seeds]
        choices = []
        for index, said in enumerate(words):
            text = " ".join(said[:limit])
            for stop in asked.get("stop", []):
                text = text.split(stop)[0]
            finish = "length" if limit < 20 else "stop"
            choices.append({"index": index, "finish_reason": finish, "message": {"content": text}})
        usage = {"prompt_tokens": 9, "completion_tokens": n * min(limit, 20)}
        return {"choices": choices, "usage": usage}


def hash_of(*parts: Any) -> int:
    import zlib

    return zlib.crc32(json.dumps(parts, sort_keys=True).encode()) % 97


@pytest.fixture(scope="session")
def running_server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def server(running_server: FakeServer) -> FakeServer:
    """The fake server, behaving."""
    running_server.reset()
    return running_server


def need(module: str) -> None:
    """Skip when a module is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


@pytest.fixture(scope="session")
def opened() -> Iterator[dict[str, Engine]]:
    """Engines opened so far, one of each kind; all are closed in the end."""
    engines: dict[str, Engine] = {}
    yield engines
    for engine in engines.values():
        asyncio.run(engine.close())


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, opened: dict[str, Engine]) -> Engine:
    """Each kind of engine in turn."""
    return open_kind(request.param, opened, request)


@pytest.fixture(params=("transformers", "vllm"))
def local(request: pytest.FixtureRequest, opened: dict[str, Engine]) -> Engine:
    """Each engine that holds a model."""
    return open_kind(request.param, opened, request)


def open_kind(kind: str, opened: dict[str, Engine], request: pytest.FixtureRequest) -> Engine:
    """The shared engine of a kind."""
    if kind == "openai":
        request.getfixturevalue("server")
    if kind not in opened:
        opened[kind] = make(kind, request)
    return opened[kind]


def make(kind: str, request: pytest.FixtureRequest) -> Engine:
    """A new engine of a kind."""
    from pairgen.registry import find

    options: dict[str, Any] = {"use": kind, "model": "fake"}
    if kind == "scripted":
        options |= {"default": [f"w{i} and {i * i} more, some x{i} words at the end" for i in range(11)]}
    elif kind == "openai":
        options |= {"base_url": request.getfixturevalue("running_server").url}
    else:
        need("vllm" if kind == "vllm" else "torch")
        options |= {"model": str(request.getfixturevalue("models")["a"])}
        options |= {"kv_cache_gib": 0.1} if kind == "vllm" else {}
    engine: Engine = find("pairgen.engines", kind).ENGINE.model_validate(options).open()
    return engine
