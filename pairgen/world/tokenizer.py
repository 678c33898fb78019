"""The world's tokenizer: byte-level BPE of 512 tokens, so any text can be written and read back.

Digits, option labels and verdicts are tokens of their own. As with Llama's tokenizers both the chat
template and the plain call put `<bos>` first, so text that was rendered and then encoded again has
two: the world catches that mistake in whatever uses it.
"""

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pairgen.parsers import CATEGORIES
from pairgen.world import corpus

SPECIALS = ("<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>")
PIECES = r" ?\([A-Ba-e]\)| ?\[\[[AB]\]\]|[0-9]| ?\p{L}+|\s+|[^\s\p{L}0-9]+"
TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
<assistant>{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
{%- else -%}
<{{ message.role }}>{{ message.content }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<assistant>{%- endif -%}
"""


def build_tokenizer(vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """The tokenizer, trained on the world's own conversations; the same bytes at every call."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(_sentences(), trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIALS), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    ))
    bos = raw.token_to_id("<bos>")
    raw.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
        extra_special_tokens=["<system>", "<user>", "<assistant>"], chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False, model_max_length=512,
    )


def _sentences() -> Iterator[str]:
    """Enough of every mode for each of its words to become one token, and the names of all categories."""
    rng = random.Random(0)
    for _ in range(30):
        for turns in corpus.batch(rng):
            yield "\n".join(part for turn in turns for part in turn)
    yield from CATEGORIES * 20
