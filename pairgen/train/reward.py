"""A reward model: a decoder with one linear layer on a conversation's last token, no bias.

The format is Hugging Face's own (`AutoModelForSequenceClassification` with one label), so other tools
load it as it is. A reward is read where those read it: at the last token of the rendered conversation,
whatever its template writes after the end of the turn. They find that token as the last that is no
padding, so the padding token must be one that no conversation ends with.

Names: B blocks, T tokens of a block, K branches, D hidden size.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pairgen.engines._local import quiet
from pairgen.errors import UsageError
from pairgen.train.config import TrainConfig
from pairgen.train.example import Example
from pairgen.train.logps import Whole, states
from pairgen.train.packing import MicroBatch, micro_batches
from pairgen.train.render import Conversation, Renderer

HEAD = "score"
"""What Hugging Face calls the linear layer."""
OFF = 0.05
"""How far trees may be from plain forwards, in standard deviations of a random head's rewards."""


class RewardScorer(Whole):
    """The whole forward pass of a reward model as one module: the reward of every branch."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: MicroBatch) -> Tensor:
        """Rewards, [K] in fp32 whatever the precision of the decoder."""
        hidden_KD = states(self.model.base_model, batch).flatten(0, 1).index_select(0, batch.last_K)
        with torch.autocast(hidden_KD.device.type, enabled=False):
            head = getattr(self.model, HEAD)
            rewards_K: Tensor = head(hidden_KD.to(next(head.parameters()).dtype))[:, 0].float()
        return rewards_K


def is_reward_model(config: Any) -> bool:
    """Whether a model's config is that of a classifier, as reward models are."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def load_reward(folder: Path, config: TrainConfig, attention: str) -> Any:
    """The model of a folder, fp32, with its own reward head or a new one if it is a language model.

    A new head is drawn from a normal with the model's `initializer_range`, as transformers does, by the
    run's seed. Raises UsageError for a classifier of several labels or a model without such a variant.
    """
    if config.truncation != "drop":
        raise UsageError("truncation: a reward is read at the end of an answer, so bt takes `drop` alone")
    shape = reward_config(folder, config.chat_template)
    fresh = not is_reward_model(AutoConfig.from_pretrained(folder))
    try:
        with quiet():  # the loader warns that the head is new
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, config=shape, dtype=torch.float32, attn_implementation=attention)
    except ValueError as error:
        raise UsageError(f"{folder}: {shape.model_type} has no reward model in transformers "
                         f"({str(error).splitlines()[0]})") from error
    head = getattr(model, HEAD, None)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise UsageError(f"{folder}: {type(model).__name__} has no linear head {HEAD!r} without bias: not supported")
    if fresh:
        draw = torch.Generator().manual_seed(config.seed)
        nn.init.normal_(head.weight, std=getattr(shape.get_text_config(), "initializer_range", 0.02), generator=draw)
    return model


def reward_config(folder: Path, chat_template: str | None = None) -> Any:
    """The config of a folder's model as a reward model. Raises UsageError where it has several labels."""
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    if is_reward_model(config) and config.num_labels != 1:
        raise UsageError(f"{folder}: a classifier of {config.num_labels} labels; a reward model has one")
    config.num_labels = 1
    config.problem_type = "regression"  # by which servers know that the number is to be left as it is
    config.get_text_config().pad_token_id = config.pad_token_id = _padding(folder, config, tokenizer, chat_template)
    return config


def _padding(folder: Path, config: Any, tokenizer: Any, chat_template: str | None) -> int:
    """A token no conversation ends with: the tokenizer's own padding if it will do, else one named so."""
    ends = _ends(config, tokenizer, chat_template)
    specials = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = [i for i, token in specials.items() if "pad" in token.lower()]
    wanted = [tokenizer.pad_token_id, *named, tokenizer.unk_token_id, tokenizer.bos_token_id, *specials]
    found = next((i for i in wanted if i is not None and i not in ends), None)
    if found is None:
        raise UsageError(f"{folder}: the tokenizer has no token to pad with but the one that conversations end with: "
                         "add a special token <pad>")
    return int(found)


def _ends(config: Any, tokenizer: Any, chat_template: str | None) -> set[int]:
    """The tokens that a conversation may end with."""
    from pairgen.records import Message

    named = [tokenizer.eos_token_id, config.get_text_config().eos_token_id]
    flat = {i for item in named for i in (item if isinstance(item, list) else [item]) if i is not None}
    renderer = Renderer(tokenizer, chat_template)
    text = renderer.text(Conversation((Message("user", "a"), Message("assistant", "b")), (1,)))
    return flat | {int(tokens.ids[-1]) for tokens in renderer.tokens([text])}


def reward_files(model: Any, init: Path) -> dict[str, bytes]:
    """The files in which a reward model differs from the model in `init`, by name."""
    config = AutoConfig.from_pretrained(init)
    config.num_labels, config.problem_type, config.architectures = 1, "regression", [type(model).__name__]
    pad = model.config.pad_token_id
    config.get_text_config().pad_token_id = config.pad_token_id = pad
    files = {"config.json": config.to_json_string().encode()}
    tokenizer, path = AutoTokenizer.from_pretrained(init), init / "tokenizer_config.json"
    if tokenizer.pad_token_id != pad and path.is_file():
        cells = {**json.loads(path.read_bytes()), "pad_token": tokenizer.convert_ids_to_tokens(pad)}
        files[path.name] = (json.dumps(cells, indent=2, ensure_ascii=False) + "\n").encode()
    return files


@torch.no_grad()
def check_rewards(model: Any, examples: Sequence[Example]) -> None:
    """Compare rewards in trees with the model's own, so that what is trained is what others will read.

    Raises UsageError for a model that looks past our masks or positions, or reads another token.
    """
    model.eval()
    worst = 0.0
    for batch in micro_batches(examples[:2], 1 << 30):
        rewards_K = RewardScorer(model)(batch.to(model.device))
        for row, branch_S in zip(batch.rows_R.tolist(), batch.branch_RS.tolist(), strict=True):
            for side, k in zip(examples[row].sides, branch_S, strict=True):
                if side is not None:
                    ids = [*examples[row].prompt.tolist(), *side.ids.tolist()]
                    worst = max(worst, abs(rewards_K[k].item() - plain_reward(model, ids)))
    scale = deviation(model, examples[0].prompt.tolist())
    model.train()
    if not worst <= OFF * scale:
        name = type(model).__name__
        raise UsageError(f"{name} gives other rewards in prompt trees (off by {worst:.2g}): not supported")


def plain_reward(model: Any, ids: Sequence[int]) -> float:
    """The reward of a conversation by the model's own forward."""
    logits_11: Tensor = model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False).logits
    return logits_11[0, 0].item()


def deviation(model: Any, ids: Sequence[int]) -> float:
    """The standard deviation of rewards over heads of this head's length and any direction."""
    states_1TD = model.base_model(torch.tensor([list(ids)], device=model.device), use_cache=False).last_hidden_state
    weight_1D = next(p for name, p in getattr(model, HEAD).named_parameters() if "original_module" not in name)
    size = states_1TD.shape[-1]
    length: Tensor = states_1TD[0, -1].float().norm() * weight_1D.float().norm() / size**0.5
    return length.item()
